"""Choosing the layer of a sweep: by the paper's rule, and by one that knows its own uncertainty."""

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
"""What p-value of McNemar's exact test tells two layers apart."""


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
    """The layer that a rule chooses, with what it was chosen on."""

    rule: str
    layer: int | None
    """None when the rule prefers the unsteered model."""
    accuracy: Interval
    summarise_candidates: tuple[Candidate, ...]
    plateau: tuple[int, ...] = ()
    """Layers that the interval rule cannot tell from the best; empty under the paper's rule."""


def summarise_candidates(records: pl.DataFrame, column: str = "strict") -> tuple[Candidate, ...]:
    """Summarise the records of one sweep: the unsteered model first, then its layers in order.

    Args:
        records: rows with ``layer`` (null where unsteered), ``key``, ``degenerate`` and
            ``column``, and ``garbled`` where it is known, all of one instruction and one way of
            asking.
        column: what counts as success.

    Raises:
        ScoringError: when a column is missing, the rows mix instructions or ways of asking, a layer
            was not run on the same prompts as the others, or the unsteered model is missing.
    """
    groups = _group_by_layer(records, column)
    found = []
    for layer, rows in groups.items():
        degenerate = rows["degenerate"].fill_null(False)
        broken = degenerate
        if "garbled" in rows.columns:
            broken = degenerate | rows["garbled"].fill_null(False)
        found.append(
            Candidate(
                layer=layer,
                accuracy=wilson(int(rows[column].sum()), rows.height),
                degenerate=float(degenerate.sum()) / rows.height,
                sound=tuple((rows[column] & ~broken).to_list()),
            )
        )
    return tuple(found)


def _group_by_layer(records: pl.DataFrame, column: str) -> dict[int | None, pl.DataFrame]:
    """The rows of each layer in the order of their keys, the unsteered model first."""
    missing = [name for name in ("layer", "key", "degenerate", column) if name not in records]
    if missing:
        raise ScoringError(
            f"the records have no {' and no '.join(missing)} (they have "
            f"{', '.join(records.columns)}); a sweep leaves them, and with_fluency adds degenerate"
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
                f"{len(keys)}, or on others; every cell needs the same prompts, once each"
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

    ``"interval"``: a degenerate answer counts as a failure, and so does a garbled one, so that a
    layer pays for as many as it has and not for one as for all. The plateau are the layers that an
    exact McNemar test at :data:`LEVEL` cannot tell from the best one; the middle of the plateau's
    longest run of neighbouring layers is chosen, the shallower of two middles. When the best layer
    itself cannot be told from the unsteered model, None is chosen.

    Args:
        records: of one instruction and one way of asking; see :func:`summarise_candidates`.
        rule: one of :data:`RULES`.
        tolerated: the paper's threshold: 0 for instruction-tuned models, the unsteered share for
            base models.
        column: what counts as success.

    Raises:
        ScoringError: for an unknown rule or records that cannot be compared.

    Example:
        >>> select_layer(records, "interval").layer  # doctest: +SKIP
        4
    """
    found = summarise_candidates(records, column)
    if rule == "paper":
        if records["degenerate"].has_nulls():
            raise ScoringError(
                "the paper's rule needs to know of every answer whether it is degenerate, and some "
                "were cut by an early verdict; use rule='interval', which lets them count as "
                "failures, or sweep without early verdicts"
            )
        return _choose_first_maximum(found, tolerated)
    if rule == "interval":
        return _choose_middle_of_plateau(found)
    raise ScoringError(
        f"{rule!r} is not a rule to choose a layer by; choose one of {', '.join(RULES)}"
    )


def is_improvable(records: pl.DataFrame, *, column: str = "strict") -> bool:
    """Whether the ``"interval"`` rule could choose a layer, were there one that never fails.

    Where the unsteered model fails too seldom, nothing can be told from it on as many prompts.

    Args:
        records: the unsteered rows of a sweep; see :func:`summarise_candidates`.
        column: what counts as success.

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
    """How often the paper's rule would choose each layer on other prompts of the same kind.

    The prompts of the sweep are drawn anew, with replacement, and the rule chooses again.

    Args:
        records: see :func:`select_layer`.
        tolerated: see :func:`select_layer`.
        column: what counts as success.
        n_resamples: how often.
        seed: of the draws.

    Returns:
        The share of draws in which each layer is chosen, None being the unsteered model; they add
        up to 1.
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


def _choose_first_maximum(found: tuple[Candidate, ...], tolerated: float) -> Choice:
    def counted(candidate: Candidate) -> float:
        return 0.0 if candidate.degenerate > tolerated else candidate.accuracy.value

    best = max(found, key=counted)  # max() keeps the first of equals, as the paper's argmax does
    return Choice("paper", best.layer, best.accuracy, found)


def _choose_middle_of_plateau(found: tuple[Candidate, ...]) -> Choice:
    plain, *layers = found

    best = max(layers, key=lambda candidate: sum(candidate.sound), default=plain)
    gain = mcnemar(best.sound, plain.sound)
    if gain.only_a <= gain.only_b or gain.p_value >= LEVEL:
        return Choice("interval", None, plain.accuracy, found)
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
    return Choice("interval", chosen.layer, chosen.accuracy, found, plateau)
