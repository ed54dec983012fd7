"""Choose the layer of a sweep: by the paper's rule, or by a rule with a statistical test."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from interp_steer.errors import ScoringError
from interp_steer.statistics.intervals import Interval, wilson
from interp_steer.statistics.paired import mcnemar

RULES = ("paper", "interval")

LEVEL = 0.05
"""The p-value of McNemar's exact test below which two layers differ."""


@dataclass(frozen=True)
class Candidate:
    """One layer of a sweep, or no steering at all, on the prompts of the sweep."""

    layer: int | None
    """The layer that is steered; None for the unsteered model."""
    accuracy: Interval
    """Share of answers that follow the instruction, with its Wilson interval."""
    degenerate: float
    """Share of degenerate answers."""
    sound: tuple[bool, ...]
    """Whether each answer succeeds and is neither degenerate nor garbled, in the order of the
    prompts' keys."""


@dataclass(frozen=True)
class Choice:
    """The layer that a rule chooses, with the candidates that it was chosen from."""

    rule: str
    layer: int | None
    """None when the rule prefers the unsteered model."""
    accuracy: Interval
    candidates: tuple[Candidate, ...]
    plateau: tuple[int, ...] = ()
    """Layers that do not differ from the best under the interval rule; empty under the paper's."""


def summarise_candidates(records: pl.DataFrame, column: str = "strict") -> tuple[Candidate, ...]:
    """Summarise the records of one sweep: the unsteered model first, then its layers in order.

    Args:
        records: rows with ``layer`` (null where unsteered), ``key``, ``degenerate`` and
            ``column``, and perhaps ``garbled``, all of one instruction, and all instructed or all
            not.
        column: the column that counts as success.

    Raises:
        ScoringError: when a column is missing, the rows mix instructions, or instructed rows and
            others, a layer was not run on the same prompts as the others, or the unsteered model
            is missing.
    """
    groups = _group_by_layer(records, column)
    summaries = []
    for layer, rows in groups.items():
        degenerate = rows["degenerate"].fill_null(False)
        broken = degenerate
        if "garbled" in rows.columns:
            broken = degenerate | rows["garbled"].fill_null(False)
        summaries.append(
            Candidate(
                layer=layer,
                accuracy=wilson(int(rows[column].sum()), rows.height),
                degenerate=float(degenerate.sum()) / rows.height,
                sound=tuple((rows[column] & ~broken).to_list()),
            )
        )
    return tuple(summaries)


def _group_by_layer(records: pl.DataFrame, column: str) -> dict[int | None, pl.DataFrame]:
    """Group the rows by layer, in the order of their keys, the unsteered model first."""
    missing = [name for name in ("layer", "key", "degenerate", column) if name not in records]
    if missing:
        raise ScoringError(
            f"the records have no {' and no '.join(missing)} (they have "
            f"{', '.join(records.columns)}); give the records of a sweep, to which with_fluency "
            "adds degenerate"
        )
    for name in ("instruction", "instructed"):
        if name in records.columns and records[name].n_unique() > 1:
            values = sorted(map(str, records[name].unique()))
            raise ScoringError(
                f"a layer is chosen on one {name!r} at a time, not on {', '.join(values)}; "
                "filter the records first"
            )
    groups = {
        group["layer"][0]: group.sort("key")
        for group in records.partition_by("layer", maintain_order=True)
    }
    if None not in groups:
        raise ScoringError("the sweep has no unsteered rows (layer null); add Cell('none') to it")
    keys = groups[None]["key"].to_list()
    for layer, rows in groups.items():
        if rows["key"].to_list() != keys:
            raise ScoringError(
                f"layer {layer} was run on {rows.height} prompts and the unsteered model on "
                f"{len(keys)}, or on others; run every cell on the same prompts, once each"
            )
    order = sorted(groups, key=lambda layer: -1 if layer is None else layer)
    return {layer: groups[layer] for layer in order}


def select_layer(
    records: pl.DataFrame, rule: str = "paper", *, tolerated: float = 0.0, column: str = "strict"
) -> Choice:
    """Choose the layer to steer at.

    ``"paper"`` (Stolfo et al. 2025, section 3 and the published code): the accuracy of a layer
    whose share of degenerate answers exceeds ``tolerated`` counts as zero; the first maximum wins,
    the unsteered model standing before the shallowest layer.

    ``"interval"``: degenerate and garbled answers count as failures, so that each such answer costs
    the same. The plateau is the set of layers that do not differ from the best layer by an exact
    McNemar test at :data:`LEVEL`. The rule chooses the middle of the plateau's longest run of
    neighbouring layers, the shallower of two middles. When the best layer does not differ from the
    unsteered model, None is chosen.

    Args:
        records: of one instruction, and all instructed or all not; see
            :func:`summarise_candidates`.
        rule: one of :data:`RULES`.
        tolerated: the paper's threshold: 0 for instruction-tuned models, the unsteered share for
            base models.
        column: the column that counts as success.

    Raises:
        ScoringError: for an unknown rule or records that cannot be compared.

    Example:
        >>> grid = [ist.Cell("none"), ist.Cell("steered", vector.at(5).project(), 5)]
        >>> records = ist.sweep(model, grid, pairs.select, max_new_tokens=8)
        >>> records = ist.sweeps.with_fluency(records, reference=model)
        >>> select_layer(records, "interval").plateau  # no layer differs on so few prompts
        ()
    """
    layers = summarise_candidates(records, column)
    if rule == "paper":
        if records["degenerate"].has_nulls():
            raise ScoringError(
                "the paper's rule needs degenerate for every answer, and some answers were cut by "
                "an early verdict; use rule='interval', which counts these answers as failures, or "
                "sweep without early verdicts"
            )
        return _choose_first_maximum(layers, tolerated)
    if rule == "interval":
        return _choose_middle_of_plateau(layers)
    raise ScoringError(
        f"{rule!r} is not a rule to choose a layer by; choose one of {', '.join(RULES)}"
    )


def is_improvable(records: pl.DataFrame, *, column: str = "strict") -> bool:
    """Check whether the ``"interval"`` rule could choose a layer that never fails.

    When the unsteered model seldom fails, no layer can differ from it on so many prompts.

    Args:
        records: the unsteered rows of a sweep; see :func:`summarise_candidates`.
        column: the column that counts as success.

    Raises:
        ScoringError: for records that cannot be compared.
    """
    plain, *_ = summarise_candidates(records, column)
    return mcnemar([True] * len(plain.sound), plain.sound).p_value < LEVEL


def stability(
    records: pl.DataFrame,
    *,
    tolerated: float = 0.0,
    column: str = "strict",
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[int | None, float]:
    """Estimate how often the paper's rule would choose each layer on prompts of the same kind.

    The prompts of the sweep are resampled with replacement, and the rule chooses again.

    Args:
        records: see :func:`select_layer`.
        tolerated: see :func:`select_layer`.
        column: the column that counts as success.
        n_resamples: the number of draws.
        seed: of the draws.

    Returns:
        The share of draws in which each layer is chosen (None for the unsteered model); the shares
        add up to 1.
    """
    groups = _group_by_layer(records, column)
    success = np.array([rows[column].to_list() for rows in groups.values()], dtype=float)
    broken = np.array(
        [rows["degenerate"].fill_null(False).to_list() for rows in groups.values()], dtype=float
    )
    n = success.shape[1]
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    counted = success[:, drawn].mean(-1)
    counted[broken[:, drawn].mean(-1) > tolerated] = 0.0
    times = np.bincount(counted.argmax(0), minlength=len(groups))  # argmax: the first of equals
    return {layer: float(t) / n_resamples for layer, t in zip(groups, times, strict=True)}


def _choose_first_maximum(candidates: tuple[Candidate, ...], tolerated: float) -> Choice:
    def counted(candidate: Candidate) -> float:
        return 0.0 if candidate.degenerate > tolerated else candidate.accuracy.value

    best = max(
        candidates, key=counted
    )  # max() keeps the first of equals, as the paper's argmax does
    return Choice("paper", best.layer, best.accuracy, candidates)


def _choose_middle_of_plateau(candidates: tuple[Candidate, ...]) -> Choice:
    plain, *layers = candidates

    best = max(layers, key=lambda candidate: sum(candidate.sound), default=plain)
    gain = mcnemar(best.sound, plain.sound)
    if gain.only_a <= gain.only_b or gain.p_value >= LEVEL:
        return Choice("interval", None, plain.accuracy, candidates)
    level = [c for c in layers if mcnemar(best.sound, c.sound).p_value >= LEVEL]

    order = [candidate.layer for candidate in layers]
    runs: list[list[Candidate]] = [[level[0]]]
    for before, after in pairwise(level):
        if order.index(after.layer) == order.index(before.layer) + 1:
            runs[-1].append(after)
        else:
            runs.append([after])
    run = max(runs, key=len)
    chosen = run[(len(run) - 1) // 2]
    plateau = tuple(candidate.layer for candidate in level if candidate.layer is not None)
    return Choice("interval", chosen.layer, chosen.accuracy, candidates, plateau)
