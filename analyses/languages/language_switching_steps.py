"""Steer to one of several languages, or switch between two, and measure the effect by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

import interp_steer as ist
from interp_steer.interventions import Schedule
from interp_steer.scoring import detect
from interp_steer.statistics import bootstrap_mean, share

FEWEST = 3
"""Minimum number of answers at a step for which shares are reported."""


@dataclass(frozen=True, eq=False)
class Steerer:
    """The vectors of all languages, each with its strength.

    Args:
        vectors: the vector of each language, by its code.
        strengths: the strength of each language.
        schedule: the schedule of all languages.
    """

    vectors: Mapping[str, ist.SteppedVector]
    strengths: Mapping[str, float]
    schedule: Schedule

    @property
    def mean_strength(self) -> float:
        """Return the mean of the strengths."""
        return sum(self.strengths.values()) / len(self.strengths)

    def to(self, code: str, share: float = 1.0, seed: int | None = None) -> ist.Intervention:
        """Steer to a language, or not at all to a language without a vector.

        Args:
            code: the language.
            share: the share of its strength.
            seed: seed of a random direction that replaces its vector.
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

    def switch(self, source: str, target: str, at: int) -> ist.Intervention:
        """Steer to one language before a step, and to another from that step on.

        Args:
            source: code of the first language; a language without a vector is not steered to.
            target: code of the second language.
            at: the step of the switch, where the schedule starts again.
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
    """Detect the language of the word that each token belongs to, from the words around it.

    Args:
        model: the model whose tokens they are.
        tokens: the tokens of an answer.
        window: the number of words that are examined together.
        known: codes of the possible languages.

    Returns:
        A code for each token; None where the language is undecided.
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
    """Return, by step, the share of running answers whose word is in each language of a switch."""
    codes = steps["switch"][0].split("-")
    rows = []
    for (at, step), answers in steps.sort("switched_at", "step").group_by(
        "switched_at", "step", maintain_order=True
    ):
        for code in codes if len(answers) >= FEWEST else ():
            interval = share([said == code for said in answers["language"]])
            rows.append((step, code, interval.value, interval.low, interval.high, at))
    types = {"step": pl.Int64, "language": pl.String}
    types |= dict.fromkeys(("share", "low", "high"), pl.Float64) | {"switched_at": pl.Int64}
    return pl.DataFrame(rows, types, orient="row")


def switch_numbers(steps: pl.DataFrame) -> dict[str, object]:
    """Count the answers that switch to the other language, and the steps that they take.

    ``before`` and ``after`` are the shares of answers in a language up to the switch and from it
    on, among answers that reach the switch. ``lag`` is in steps, among answers that switch.
    """
    summary: dict[str, object] = {}
    for (switch, at), steps_of_switch in steps.filter(pl.col("switched_at").is_not_null()).group_by(
        "switch", "switched_at", maintain_order=True
    ):
        source, target = str(switch).split("-")
        answers = (
            steps_of_switch.group_by("key", maintain_order=True)
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
            summary[f"{part}_in_{code}.{where}"] = share([said == code for said in answers[part]])
        late = (answers["first"].drop_nulls() - int(at)).to_list()  # type: ignore[arg-type]
        if late:
            summary[f"lag.{where}"] = bootstrap_mean(late)
    return summary
