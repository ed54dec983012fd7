"""How well a vector that came from another model steers, beside the model's own and random maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

import interp_steer as ist
from analyses.kit.answer_options import AnswerOptions
from analyses.kit.operations import Steerer, SteeringSpec
from interp_steer.statistics.paired import holm, mcnemar
from interp_steer.statistics.records import compare, mean_of, share_of
from interp_steer.sweeps.damage import BROKEN, with_divergence, with_fluency
from interp_steer.sweeps.grid import breaks_instruction

Vectors = Mapping[str, ist.SteeringVector]
"""By where they were read."""

OWN = "own vector"
RANDOM = "random map"
ANOTHER = "random vector, mapped"

CONTROLS = {RANDOM: "mcnemar_p", ANOTHER: "mcnemar_p_vector"}
"""What mapped vectors are tested against: the same vector through random maps, and random vectors
through the same map; and what the p-values are called."""

UNMAPPED = ("none", "instruction", OWN, *CONTROLS)
"""The settings beside which those of mapped vectors stand."""


def mapped(kind: str, asking: str) -> str:
    """The setting of vectors that came through a kind of map, fitted on prompts of a kind."""
    return f"{kind}, {asking}"


@dataclass(frozen=True)
class Steering(AnswerOptions):
    """How the target is steered."""

    operations: tuple[str, ...] = (
        "add:1residual@generated",
        "add:1residual@generated*exponential(0.8)",
        "add:1.5residual@generated*exponential(0.9)",
    )
    """Ways to steer, of which the best is chosen: [READ/]HOW[:STRENGTH][@POSITIONS][*SCHEDULE], see
    layer_sweep. All vectors of an instruction have the coefficient that the target's own has."""
    n_select: int = 10
    """Prompts that the layer and the operation of each vector are chosen on."""
    n_test: int = 48
    """Prompts that are reported."""
    n_random_steered: int = 2
    """Random maps, and random vectors through the map, that steer; each has a layer and an
    operation of its own."""
    max_new_tokens: int = 32
    """Where an answer is cut."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Where vectors are read, and maps are fitted."""
        return tuple(dict.fromkeys(SteeringSpec.parse(text).read for text in self.operations))


@dataclass(frozen=True)
class Contender:
    """Vectors that steer towards one instruction."""

    setting: str
    vectors: Vectors
    draw: int | None = None


@dataclass(frozen=True)
class Choice:
    """Where and how a contender does best on the select split."""

    layer: int
    operation: str
    sound: int
    """Answers that follow the instruction and are neither degenerate nor garbled."""


def steer(
    target: ist.HookedLM,
    reference: ist.HookedLM,
    pairs: ist.ContrastSet,
    contenders: Sequence[Contender],
    config: Steering,
    options: Mapping[str, Any],
) -> tuple[pl.DataFrame, list[Choice]]:
    """Choose a layer and an operation for each contender, and report it on the test split.

    Args:
        target: the model that is steered.
        reference: whose perplexity tells degenerate answers.
        pairs: of the instruction, with their splits.
        contenders: the target's own vectors first.
        config: what is tried.
        options: of :func:`interp_steer.sweep`.

    Returns:
        The records of the test split, with ``sound``; and the choices, in the order of contenders.
    """
    steerer = Steerer(
        {
            read: ist.StrengthCalibrator(target, own, pairs.select.absent)
            for read, own in contenders[0].vectors.items()
        }
    )

    def cell(one: Contender, layer: int, operation: str) -> ist.Cell:
        along = one.vectors[SteeringSpec.parse(operation).read]
        steering = steerer.steering(layer, operation, lambda _: along)
        return ist.Cell(one.setting, steering, layer=layer, draw=one.draw, operation=operation)

    plain = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    tried = [
        cell(one, layer, operation)
        for one in contenders
        for operation in config.operations
        for layer in steerer.layers
    ]
    swept = ist.sweep(target, [*plain, *tried], pairs.select, settled=breaks_instruction, **options)
    searched = with_sound(with_fluency(swept, reference))
    choices = [_best(searched, one) for one in contenders]
    chosen = [
        cell(one, choice.layer, choice.operation)
        for one, choice in zip(contenders, choices, strict=True)
    ]
    answers = ist.sweep(target, [*plain, *chosen], pairs.test, **options)
    damaged = with_divergence(answers, target, [*plain, *chosen], pairs.test)
    return with_sound(with_fluency(damaged, reference)), choices


def with_sound(records: pl.DataFrame) -> pl.DataFrame:
    """Add ``sound``: that an answer follows the instruction and is a text.

    An answer that was cut by an early verdict has failed; whether it is degenerate is not known.
    """
    return records.with_columns((pl.col("strict") & ~BROKEN).alias("sound"))


def _best(searched: pl.DataFrame, one: Contender) -> Choice:
    """The cell with most sound answers, the first of equals."""
    own = searched.filter(
        (pl.col("setting") == one.setting) & pl.col("draw").eq_missing(pl.lit(one.draw))
    )
    cells = own.group_by("operation", "layer", maintain_order=True).agg(pl.col("sound").sum())
    best = cells.row(int(cells["sound"].arg_max() or 0), named=True)
    return Choice(best["layer"], best["operation"], int(best["sound"]))


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """What each setting achieves on each instruction, and tests of mapped vectors against controls.

    Each mapped vector is tested against each random one by McNemar's test, and the largest p-value
    of them is left; over instructions and maps those are corrected by Holm's method.
    """
    found: dict[str, object] = {}
    tests: dict[tuple[str, str], dict[str, float]] = {
        (named, outcome): {} for named in CONTROLS.values() for outcome in ("strict", "sound")
    }
    for (name,), rows in records.group_by("instruction", maintain_order=True):
        for (setting,), each in rows.group_by("setting", maintain_order=True):
            key = f"{key_of(str(setting))}.{name}"
            for outcome in ("strict", "sound"):
                found[f"{outcome}.{key}"] = share_of(each, outcome)
            moved = mean_of(each, "kl")
            if moved and setting != "none":
                found[f"kl.{key}"] = moved
        for setting in rows["setting"].unique(maintain_order=True):
            if setting in UNMAPPED:
                continue
            key = f"{key_of(setting)}.{name}"
            gain = compare(rows, RANDOM, setting, "strict")
            if gain:
                found[f"gain.{key}"] = gain.difference
            for control, named in CONTROLS.items():
                for outcome in ("strict", "sound"):
                    if p_values := against(rows, setting, control, outcome):
                        tests[named, outcome][key] = max(p_values)
    for (named, outcome), p_values in tests.items():
        adjusted = holm(list(p_values.values())) if p_values else []
        for (key, p), corrected in zip(p_values.items(), adjusted, strict=True):
            found[f"{named}.{outcome}.{key}"] = p
            found[f"{named}_holm.{outcome}.{key}"] = corrected
    return found


def key_of(setting: str) -> str:
    """A setting in the name of a number."""
    return setting.replace(", ", "_").replace(" ", "_")


def against(rows: pl.DataFrame, setting: str, control: str, outcome: str) -> list[float]:
    """McNemar's p-value of a setting against each draw of a control, 1 where it does no better."""
    mine = _outcomes(rows.filter(pl.col("setting") == setting), outcome)
    found = []
    for _, each in rows.filter(pl.col("setting") == control).group_by("draw", maintain_order=True):
        test = mcnemar(mine, _outcomes(each, outcome))
        found.append(test.p_value if test.only_a > test.only_b else 1.0)
    return found


def _outcomes(rows: pl.DataFrame, outcome: str) -> list[bool]:
    return rows.sort("key")[outcome].to_list()
