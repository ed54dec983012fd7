"""Steer a model with vectors of another model, and compare with own vectors and random maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

import interp_steer as ist
from analyses.kit.answer_options import AnswerOptions
from analyses.kit.operations import Steerer, SteeringSpec
from interp_steer.statistics import compare, holm, mcnemar, mean_of, share_of
from interp_steer.sweeps import BROKEN, breaks_instruction, with_divergence, with_fluency

Vectors = Mapping[str, ist.SteeringVector]
"""Vectors by where they were read."""

OWN = "own vector"
RANDOM = "random map"
RANDOM_VECTOR = "random vector, mapped"

CONTROLS = {RANDOM: "mcnemar_p", RANDOM_VECTOR: "mcnemar_p_vector"}
"""Controls of mapped vectors, with the names of their p-values: the same vector through random
maps, and random vectors through the same map."""

UNMAPPED = ("none", "instruction", OWN, *CONTROLS)
"""Settings other than mapped vectors."""


def name_mapped(kind: str, asking: str) -> str:
    """Return the setting's name for vectors through a kind of map, fitted on a set of prompts."""
    return f"{kind}, {asking}"


@dataclass(frozen=True)
class Steering(AnswerOptions):
    """Options for steering the target."""

    operations: tuple[str, ...] = (
        "add:1residual@generated",
        "add:1residual@generated*exponential(0.8)",
        "add:1.5residual@generated*exponential(0.9)",
    )
    """Operations, of which the best is chosen on the select split:
    [READ/]HOW[:STRENGTH][@POSITIONS][*SCHEDULE]; see layer_sweep. All vectors of an instruction
    have the coefficient of the target's own vector."""
    n_select: int = 10
    """Prompts on which the layer and the operation of each vector are chosen."""
    n_test: int = 48
    """Held-out prompts on which results are reported."""
    n_random_steered: int = 2
    """Number of random maps, and of random vectors through the fitted map, that steer. The layer
    and the operation of each are chosen separately."""
    max_new_tokens: int = 32
    """Maximum number of new tokens of an answer."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Return where vectors are read and maps are fitted."""
        return tuple(dict.fromkeys(SteeringSpec.parse(text).read for text in self.operations))


@dataclass(frozen=True)
class Contender:
    """Vectors of one instruction and one setting."""

    setting: str
    vectors: Vectors
    draw: int | None = None


@dataclass(frozen=True)
class Choice:
    """The layer and the operation at which a contender is best on the select split."""

    layer: int
    operation: str
    sound: int
    """Number of answers that follow the instruction and are neither degenerate nor garbled."""


def choose_and_steer(
    target: ist.HookedLM,
    reference: ist.HookedLM,
    pairs: ist.ContrastSet,
    contenders: Sequence[Contender],
    config: Steering,
    options: Mapping[str, Any],
) -> tuple[pl.DataFrame, list[Choice]]:
    """Choose a layer and an operation for each contender, and answer the test split.

    Args:
        target: the model that is steered.
        reference: the model whose perplexity detects degenerate answers.
        pairs: the pairs of the instruction, with their splits.
        contenders: the vectors, the target's own vectors first.
        config: the operations that are tried.
        options: options of :func:`interp_steer.sweep`.

    Returns:
        The records of the test split, with ``sound``; and the choices, in the order of contenders.
    """
    steerer = Steerer(
        {
            read: ist.StrengthCalibrator(target, own, pairs.select.absent)
            for read, own in contenders[0].vectors.items()
        }
    )

    def make_cell(contender: Contender, layer: int, operation: str) -> ist.Cell:
        along = contender.vectors[SteeringSpec.parse(operation).read]
        steering = steerer.steering(layer, operation, lambda _: along)
        return ist.Cell(
            contender.setting, steering, layer=layer, draw=contender.draw, operation=operation
        )

    plain = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    tried = [
        make_cell(contender, layer, operation)
        for contender in contenders
        for operation in config.operations
        for layer in steerer.layers
    ]
    swept = ist.sweep(target, [*plain, *tried], pairs.select, settled=breaks_instruction, **options)
    searched = add_sound(with_fluency(swept, reference))
    choices = [_choose_best(searched, contender) for contender in contenders]
    chosen = [
        make_cell(contender, choice.layer, choice.operation)
        for contender, choice in zip(contenders, choices, strict=True)
    ]
    answers = ist.sweep(target, [*plain, *chosen], pairs.test, **options)
    damaged = with_divergence(answers, target, [*plain, *chosen], pairs.test)
    return add_sound(with_fluency(damaged, reference)), choices


def add_sound(records: pl.DataFrame) -> pl.DataFrame:
    """Add ``sound``: whether an answer follows the instruction and reads as text.

    An answer that was stopped early has failed; whether it is degenerate is unknown.
    """
    return records.with_columns((pl.col("strict") & ~BROKEN).alias("sound"))


def _choose_best(searched: pl.DataFrame, contender: Contender) -> Choice:
    """Return the cell with the most sound answers, the first among equals."""
    own = searched.filter(
        (pl.col("setting") == contender.setting) & pl.col("draw").eq_missing(pl.lit(contender.draw))
    )
    cells = own.group_by("operation", "layer", maintain_order=True).agg(pl.col("sound").sum())
    best = cells.row(int(cells["sound"].arg_max() or 0), named=True)
    return Choice(best["layer"], best["operation"], int(best["sound"]))


def summarise_answers(records: pl.DataFrame) -> dict[str, object]:
    """Return the outcomes of each setting, and the tests of mapped vectors against controls.

    Each mapped vector is tested against each draw of a control by McNemar's test, and the largest
    p-value is reported; over instructions and maps, p-values are corrected by Holm's method.
    """
    summary: dict[str, object] = {}
    tests: dict[tuple[str, str], dict[str, float]] = {
        (named, outcome): {} for named in CONTROLS.values() for outcome in ("strict", "sound")
    }
    for (name,), rows in records.group_by("instruction", maintain_order=True):
        for (setting,), answers in rows.group_by("setting", maintain_order=True):
            key = f"{make_key(str(setting))}.{name}"
            for outcome in ("strict", "sound"):
                summary[f"{outcome}.{key}"] = share_of(answers, outcome)
            divergence = mean_of(answers, "kl")
            if divergence and setting != "none":
                summary[f"kl.{key}"] = divergence
        for setting in rows["setting"].unique(maintain_order=True):
            if setting in UNMAPPED:
                continue
            key = f"{make_key(setting)}.{name}"
            gain = compare(rows, RANDOM, setting, "strict")
            if gain:
                summary[f"gain.{key}"] = gain.difference
            for control, named in CONTROLS.items():
                for outcome in ("strict", "sound"):
                    if p_values := compute_p_values(rows, setting, control, outcome):
                        tests[named, outcome][key] = max(p_values)
    for (named, outcome), p_values in tests.items():
        adjusted = holm(list(p_values.values())) if p_values else []
        for (key, p), corrected in zip(p_values.items(), adjusted, strict=True):
            summary[f"{named}.{outcome}.{key}"] = p
            summary[f"{named}_holm.{outcome}.{key}"] = corrected
    return summary


def make_key(setting: str) -> str:
    """Return a setting as it is written in summary keys."""
    return setting.replace(", ", "_").replace(" ", "_")


def compute_p_values(rows: pl.DataFrame, setting: str, control: str, outcome: str) -> list[float]:
    """Return McNemar's p-value against each draw of a control; 1 if the setting is not better."""
    mine = _sort_outcomes(rows.filter(pl.col("setting") == setting), outcome)
    p_values = []
    for _, draw in rows.filter(pl.col("setting") == control).group_by("draw", maintain_order=True):
        test = mcnemar(mine, _sort_outcomes(draw, outcome))
        p_values.append(test.p_value if test.only_a > test.only_b else 1.0)
    return p_values


def _sort_outcomes(rows: pl.DataFrame, outcome: str) -> list[bool]:
    return rows.sort("key")[outcome].to_list()
