"""Several properties of one answer: asking for them in words, and checking all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

import interp_steer as ist
from analyses.kit.instruction_sets import arguments, instruction_id
from analyses.languages import base
from figures.style.settings import language_name
from interp_steer.contrast.instructions.registry import LANGUAGE
from interp_steer.contrast.pair import Pair
from interp_steer.errors import RunError
from interp_steer.scoring import ifeval
from interp_steer.sweeps.damage import BROKEN, with_divergence, with_fluency
from interp_steer.sweeps.grid import Cell

CASES: Mapping[str, Callable[[str], bool]] = {
    "change_case:english_lowercase": str.islower,
    "change_case:english_capital": str.isupper,
}
"""What IFEval's checkers ask of the letters, without what they ask of the language."""

Combination = tuple[str, ...]
"""Names of properties."""


@dataclass(frozen=True, eq=False)
class Setup:
    """What answers are given to, and scored by."""

    model: ist.HookedLM
    reference: ist.HookedLM
    code: str
    """The language that is steered to."""
    questions: ist.ContrastSet
    """Of the select and the test split."""
    said: Mapping[str, ist.ContrastSet]
    """Each property asked for in words, the language first."""
    options: Mapping[str, Any]

    @property
    def language(self) -> str:
        """What the first property is called."""
        return next(iter(self.said))

    @property
    def names(self) -> list[str]:
        """All properties."""
        return list(self.said)


def in_words(
    instructions: Mapping[str, str], code: str, seed: int, *, select: int, test: int
) -> dict[str, ist.ContrastSet]:
    """Each property asked for in words, to ask the same of other questions.

    Args:
        instructions: the properties but the language, by their short names.
        code: of the language, which comes first.
        seed: of the draw of words.
        select, test: how many ways of asking each split has.
    """
    asked = {language_name(code): (LANGUAGE, {"language": code})} | {
        short: (instruction_id(name), arguments(name)) for short, name in instructions.items()
    }
    sizes = {"fit": 0, "select": select, "test": test}
    return {
        name: ist.world.instruction(known, where=where, seed=seed, **sizes)
        for name, (known, where) in asked.items()
    }


def apart(name: str, pairs: ist.ContrastSet, n: int, seed: int) -> ist.ContrastSet:
    """The pairs that a property is fitted on, which ask nothing that the steered model is asked.

    Raises:
        RunError: where too few are left.
    """
    asked = {pair.query for pair in pairs if pair.split != "fit"}
    drawn = ist.world.instruction(
        instruction_id(name),
        where=arguments(name),
        seed=seed,
        fit=n + len(asked),
        select=0,
        test=0,
    )
    left = tuple(pair for pair in drawn if pair.query not in asked)[:n]
    if len(left) < n:
        raise RunError(
            f"{name} has {len(left)} pairs that ask nothing of the select and the test split, and "
            f"{n} are asked for; give a smaller --n-fit, --n-select or --n-test"
        )
    return ist.ContrastSet(drawn.name, left)


def answered(
    setup: Setup, names: Combination, split: str, cells: Sequence[Cell], damage: bool = False
) -> pl.DataFrame:
    """Answers under some cells, beside none and what words do; see ``all`` and ``sound``.

    Args:
        setup: what is asked.
        names: the properties that are steered towards.
        split: of the questions.
        cells: that steer.
        damage: whether ``kl`` is measured.

    Returns:
        Records with a column for each property, ``all`` (those named), ``sound``, ``properties``
        (their names, joined by " + ") and ``schedule``.
    """
    grid = [Cell("none"), Cell("instruction", instructed=True), *cells]
    pairs = requests(setup, names, split)
    records = ist.sweep(setup.model, grid, pairs, score=checked, **setup.options)
    if damage:
        records = with_divergence(records, setup.model, grid, pairs)
    found = with_fluency(base.with_language(records, setup.code), setup.reference)
    columns = dict(zip(ids_of(setup), setup.names, strict=True))
    return (
        found.rename({known: name for known, name in columns.items() if known != LANGUAGE})
        .rename({"operation": "schedule", "in_language": setup.language})
        .with_columns(
            pl.lit(" + ".join(names)).alias("properties"),
            pl.all_horizontal(*names).alias("all"),
            (pl.all_horizontal(*names) & ~BROKEN).alias("sound"),
        )
    )


def ids_of(setup: Setup) -> list[str]:
    """The id of each property."""
    return [pairs[0].instruction_ids[0] for pairs in setup.said.values()]


def requests(setup: Setup, names: Combination, split: str) -> ist.ContrastSet:
    """The questions of a split, asking in words for the properties named.

    An answer can be verified against every property, whichever are asked for.
    """
    said = {name: getattr(pairs, split) for name, pairs in setup.said.items()}
    made = []
    for number, pair in enumerate(getattr(setup.questions, split)):
        each = {name: pairs[number % len(pairs)] for name, pairs in said.items()}
        words = " ".join(each[name].instruction_text for name in names)
        made.append(
            Pair(
                query=pair.query,
                present=f"{pair.query} {words}",
                absent=pair.absent,
                split=split,
                phrasing=f"{' '.join(each[name].phrasing for name in names)} ({split})",
                instruction_ids=tuple(ids_of(setup)),
                kwargs=tuple(pair.kwargs[0] for pair in each.values()),
                key=pair.key,
            )
        )
    return ist.ContrastSet(" + ".join(names), tuple(made))


def checked(pair: Pair, completion: ist.Completion) -> dict[str, Any]:
    """Whether an answer has each property but the language, by its id."""
    return {
        known: CASES[known](completion.text)
        if known in CASES
        else ifeval.verify(completion.text, (known,), (given,)).strict
        for known, given in zip(pair.instruction_ids, pair.kwargs, strict=True)
        if known != LANGUAGE
    }
