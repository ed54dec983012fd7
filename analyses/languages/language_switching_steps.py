"""Steering to one of several languages, or from one to another on the way, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

import interp_steer as ist
from interp_steer.interventions.schedules import Schedule
from interp_steer.scoring.language import detect
from interp_steer.statistics.intervals import bootstrap_mean, share

FEWEST = 3
"""Answers that a step needs, to have a share."""


@dataclass(frozen=True, eq=False)
class Steerer:
    """The vectors of all languages, each with its strength.

    Args:
        vectors: by the code of the language.
        strengths: of each.
        schedule: of all of them.
    """

    vectors: Mapping[str, ist.SteppedVector]
    strengths: Mapping[str, float]
    schedule: Schedule

    @property
    def mean_strength(self) -> float:
        """The mean of the strengths."""
        return sum(self.strengths.values()) / len(self.strengths)

    def to(self, code: str, share: float = 1.0, seed: int | None = None) -> ist.Intervention:
        """Steer to a language, or not at all to one without a vector.

        Args:
            code: of the language.
            share: of its strength.
            seed: of a random direction in place of its vector.
        """
        if code not in self.vectors:
            return ist.unsteered
        vector = self.vectors[code]
        vector = vector if seed is None else vector.like_random(seed)
        return vector.shift(share * self.strengths[code], self.schedule)

    def along(self, vector: ist.SteppedVector, code: str | None = None) -> ist.Intervention:
        """Steer along a sum of vectors, with the strength of a language or the mean of all."""
        strength = self.mean_strength if code is None else self.strengths[code]
        return vector.shift(strength, self.schedule)

    def switched(self, source: str, target: str, at: int) -> ist.Intervention:
        """Steer to one language before a step, and to another from it on.

        Args:
            source: code of the first language; nothing steers to one without a vector.
            target: code of the second.
            at: the step, where the schedule begins anew.
        """
        weights = self.schedule.weights

        def weight(step: int) -> float:
            return weights[min(step, len(weights) - 1)]

        before = ist.schedules.of(lambda i: weight(i) if i < at else 0.0, at + 1)
        after = ist.schedules.of(lambda i: weight(i - at) if i >= at else 0.0, at + len(weights))
        parts = ((source, before), (target, after))
        return ist.compose(replace(self, schedule=schedule).to(code) for code, schedule in parts)


def languages_by_step(
    model: ist.HookedLM, tokens: Sequence[int], window: int, known: Sequence[str]
) -> list[str | None]:
    """The language of the word that each token belongs to, by the words around it.

    Args:
        model: whose tokens they are.
        tokens: of an answer.
        window: how many words are looked at together.
        known: codes of the languages that they may be in.

    Returns:
        A code for each token; none where it is not decided.
    """
    words = model.decode(list(tokens)).split()
    reach = window // 2
    of_word = [
        detect(" ".join(words[max(0, at - reach) : at + reach + 1]), known)
        for at in range(len(words))
    ]
    places = [len(model.decode(list(tokens[: at + 1])).split()) - 1 for at in range(len(tokens))]
    return [of_word[min(max(at, 0), len(words) - 1)] if words else None for at in places]


def word_shares(steps: pl.DataFrame) -> pl.DataFrame:
    """Share of answers whose word at a step is in each language of a switch, as answers run."""
    codes = steps["switch"][0].split("-")
    rows = []
    for (at, step), each in steps.sort("switched_at", "step").group_by(
        "switched_at", "step", maintain_order=True
    ):
        for code in codes if len(each) >= FEWEST else ():
            found = share([said == code for said in each["language"]])
            rows.append((step, code, found.value, found.low, found.high, at))
    types = {"step": pl.Int64, "language": pl.String}
    types |= dict.fromkeys(("share", "low", "high"), pl.Float64) | {"switched_at": pl.Int64}
    return pl.DataFrame(rows, types, orient="row")


def switch_numbers(steps: pl.DataFrame) -> dict[str, object]:
    """How many answers go over to the other language, and after how many steps.

    ``before`` and ``after`` count answers by the language that they are in up to the switch and
    from it on, of those that reach it; ``lag`` is in steps, of answers that go over.
    """
    found: dict[str, object] = {}
    for (switch, at), each in steps.filter(pl.col("switched_at").is_not_null()).group_by(
        "switch", "switched_at", maintain_order=True
    ):
        source, target = str(switch).split("-")
        answers = (
            each.group_by("key", maintain_order=True)
            .agg(
                pl.col("before").first(),
                pl.col("after").first(),
                pl.col("step")
                .filter((pl.col("step") >= at) & (pl.col("language") == target))
                .min()
                .alias("first"),
                pl.col("step").max().alias("last"),
            )
            .filter(pl.col("last") >= at)
        )
        if answers.is_empty():
            continue
        where = f"{switch}.{at}"
        for part, code in (("before", source), ("after", target), ("after", source)):
            found[f"{part}_in_{code}.{where}"] = share([said == code for said in answers[part]])
        late = (answers["first"].drop_nulls() - int(at)).to_list()  # type: ignore[arg-type]
        if late:
            found[f"lag.{where}"] = bootstrap_mean(late)
    return found
