"""Ask for several properties of one answer in words, and check answers for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

import interp_steer as ist
from analyses.kit.instruction_sets import arguments, instruction_id
from analyses.languages import base
from figures.style.settings import language_name
from interp_steer.contrast import Pair
from interp_steer.contrast.instructions import LANGUAGE
from interp_steer.errors import OptionError
from interp_steer.scoring import ifeval
from interp_steer.sweeps import BROKEN, Cell, with_divergence, with_fluency

CASES: Mapping[str, Callable[[str], bool]] = {
    "change_case:english_lowercase": str.islower,
    "change_case:english_capital": str.isupper,
}
"""Tests of the letters in IFEval's casing instructions, without IFEval's test of the language."""

Combination = tuple[str, ...]
"""Names of properties."""


@dataclass(frozen=True, eq=False)
class Setup:
    """Models, questions and options of the composition."""

    model: ist.HookedLM
    reference: ist.HookedLM
    code: str
    """The language to steer towards."""
    questions: ist.ContrastSet
    """The questions of the select and the test split."""
    in_words: Mapping[str, ist.ContrastSet]
    """For each property, pairs that ask for it in words; the language comes first."""
    options: Mapping[str, Any]

    @property
    def language(self) -> str:
        """Return the name of the first property, the language."""
        return next(iter(self.in_words))

    @property
    def names(self) -> list[str]:
        """Return the names of all properties."""
        return list(self.in_words)


def ask_in_words(
    instructions: Mapping[str, str], code: str, seed: int, *, select: int, test: int
) -> dict[str, ist.ContrastSet]:
    """Make pairs that ask for each property in words, to ask the same of other questions.

    Args:
        instructions: the properties other than the language, by their short names.
        code: the language, which comes first.
        seed: seed of the draw of wordings.
        select: the number of wordings in the select split.
        test: the number of wordings in the test split.
    """
    parsed = {language_name(code): (LANGUAGE, {"language": code})} | {
        short: (instruction_id(name), arguments(name)) for short, name in instructions.items()
    }
    sizes = {"fit": 0, "select": select, "test": test}
    return {
        name: ist.world.instruction(known, where=where, seed=seed, **sizes)
        for name, (known, where) in parsed.items()
    }


def draw_separate_pairs(name: str, pairs: ist.ContrastSet, n: int, seed: int) -> ist.ContrastSet:
    """Draw pairs to fit a property on; none of their queries is asked of the steered model.

    Raises:
        OptionError: where too few pairs are left.
    """
    asked = {pair.query for pair in pairs if pair.split != "fit"}
    candidates = ist.world.instruction(
        instruction_id(name),
        where=arguments(name),
        seed=seed,
        fit=n + len(asked),
        select=0,
        test=0,
    )
    left = tuple(pair for pair in candidates if pair.query not in asked)[:n]
    if len(left) < n:
        raise OptionError(
            f"{name} has {len(left)} pairs whose queries are in neither the select nor the test "
            f"split, and {n} are needed; give a smaller --n-fit, --n-select or --n-test"
        )
    return ist.ContrastSet(candidates.name, left)


def answer_cells(
    setup: Setup, names: Combination, split: str, cells: Sequence[Cell], damage: bool = False
) -> pl.DataFrame:
    """Answer under some cells, unsteered, and with the properties requested in words.

    Args:
        setup: the models and the questions.
        names: the properties that are steered towards.
        split: the split of the questions.
        cells: the cells that steer.
        damage: whether ``kl`` is measured.

    Returns:
        Records with a column for each property, ``all`` (all named properties), ``sound``,
        ``properties`` (their names, joined by " + ") and ``schedule``.
    """
    grid = [Cell("none"), Cell("instruction", instructed=True), *cells]
    pairs = ask_for_all(setup, names, split)
    records = ist.sweep(setup.model, grid, pairs, score=check_properties, **setup.options)
    if damage:
        records = with_divergence(records, setup.model, grid, pairs)
    records = with_fluency(base.with_language(records, setup.code), setup.reference)
    columns = dict(zip(ids_of(setup), setup.names, strict=True))
    return (
        records.rename({known: name for known, name in columns.items() if known != LANGUAGE})
        .rename({"operation": "schedule", "in_language": setup.language})
        .with_columns(
            pl.lit(" + ".join(names)).alias("properties"),
            pl.all_horizontal(*names).alias("all"),
            (pl.all_horizontal(*names) & ~BROKEN).alias("sound"),
        )
    )


def ids_of(setup: Setup) -> list[str]:
    """Return the id of each property."""
    return [pairs[0].instruction_ids[0] for pairs in setup.in_words.values()]


def ask_for_all(setup: Setup, names: Combination, split: str) -> ist.ContrastSet:
    """Make requests of a split that ask for the named properties in words.

    Every answer can be checked for every property, not only for the named ones.
    """
    pairs_of_property = {name: getattr(pairs, split) for name, pairs in setup.in_words.items()}
    requests = []
    for number, pair in enumerate(getattr(setup.questions, split)):
        by_name = {name: pairs[number % len(pairs)] for name, pairs in pairs_of_property.items()}
        words = " ".join(by_name[name].instruction_text for name in names)
        requests.append(
            Pair(
                query=pair.query,
                present=f"{pair.query} {words}",
                absent=pair.absent,
                split=split,
                phrasing=f"{' '.join(by_name[name].phrasing for name in names)} ({split})",
                instruction_ids=tuple(ids_of(setup)),
                kwargs=tuple(pair.kwargs[0] for pair in by_name.values()),
                key=pair.key,
            )
        )
    return ist.ContrastSet(" + ".join(names), tuple(requests))


def check_properties(pair: Pair, completion: ist.Completion) -> dict[str, Any]:
    """Check an answer for each property other than the language, by its id."""
    return {
        known: CASES[known](completion.text)
        if known in CASES
        else ifeval.verify(completion.text, (known,), (given,)).strict
        for known, given in zip(pair.instruction_ids, pair.kwargs, strict=True)
        if known != LANGUAGE
    }
