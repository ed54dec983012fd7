"""Carry vectors from one model to another, by maps between residual streams fitted on shared texts.

Two models read the same texts, and at each layer a map is fitted from the activations ``x`` of the
source to the activations ``y`` of the target::

    y  =  (x - mean x) W + mean y

An activation goes through the whole affine map. A direction is a difference of two activations, so
it goes through ``W`` alone. The texts need not show the property of a vector. But a map cannot
carry a direction along which the texts never vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from interp_steer.contrast.pair import Prompt
from interp_steer.errors import TransferError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.statistics.effect_shares import ratio_of_means
from interp_steer.statistics.intervals import Interval
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.transfer.linear_maps import KINDS, Candidate, squared_errors
from interp_steer.vectors.transfer.paired_activations import SharedTexts, capture_pairs
from interp_steer.vectors.transfer.residual_map import ResidualMap

__all__ = [
    "PENALTIES",
    "ResidualMap",
    "SharedTexts",
    "fit_map",
    "fit_map_on",
    "map_vector",
    "r_squared",
    "capture_pairs",
]

PENALTIES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The penalties that are tried, in units of the mean variance of an activation's coordinate."""


def fit_map(
    source: HookedLM,
    target: HookedLM,
    prompts: Sequence[Prompt],
    kind: str = "ridge",
    *,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
    **capture: Any,
) -> ResidualMap:
    """Fit a map from the residual stream of one model to that of another.

    Args:
        source: the model that vectors come from.
        target: the model that vectors are carried to.
        prompts: prompts that both models read. Use prompts on which no vector is fitted or
            reported.
        kind: ``"procrustes"``, ``"ridge"``, ``"cca"``, or the control ``"identity"``.
        penalties: the penalties to choose from, layer by layer, on held-out prompts.
        seed: of the deal of the prompts to the fit, select and test splits.
        capture: keywords of :func:`interp_steer.vectors.transfer.paired_activations.capture_pairs`:
            ``position``, ``component``, ``layers``, ``answers``, ``max_new_tokens``, ``options``.

    Raises:
        TransferError: for an unknown kind, penalties below 0, too few prompts, and as
            :func:`interp_steer.vectors.transfer.paired_activations.capture_pairs`.

    Example:
        >>> requests = [f"Tell me about the {thing}." for thing in ("castle", "fox", "sea", "wind")]
        >>> carry = fit_map(model, model, requests, layers=[(5, 5)])
        >>> len(carry.quality)
        1
    """
    _check_kind(kind, penalties)
    texts = replace(capture_pairs(source, target, prompts, **capture), seed=seed)
    return fit_map_on(texts, kind, penalties=penalties)


def fit_map_on(
    texts: SharedTexts, kind: str = "ridge", *, penalties: Sequence[float] = PENALTIES
) -> ResidualMap:
    """Fit a map on activations that were captured before; see :func:`fit_map`.

    The map is fitted on the fit split of the prompts. Its penalty and rank are chosen on the select
    split, and its quality is that of the test split.

    Args:
        texts: the activations of both models on the same texts.
        kind: see :func:`fit_map`.
        penalties: see :func:`fit_map`.

    Raises:
        TransferError: for an unknown kind or penalties below 0, or activations that are all alike.
    """
    _check_kind(kind, penalties)
    fitted, select = texts.split("fit"), texts.split("select")
    chosen: list[Candidate] = []
    means: list[tuple[Tensor, Tensor]] = []
    for here, there in texts.layers:
        x, y = texts.source_rows[here].double(), texts.target_rows[there].double()
        means.append((x[fitted].mean(dim=0), y[fitted].mean(dim=0)))
        x, y = x - means[-1][0], y - means[-1][1]
        if not (x[fitted].any() and y[fitted].any()):
            raise TransferError(
                f"the activations of layer {here} of {texts.source} or {there} of {texts.target} "
                f"are all alike on {int(fitted.sum())} rows; give prompts that differ, or read at "
                "another layer or position"
            )
        chosen.append(
            min(
                KINDS[kind](x[fitted], y[fitted], penalties),
                key=lambda one: float(squared_errors(x[select], y[select], one.weights).sum()),
            )
        )
    made = ResidualMap(
        kind=kind,
        source=texts.source,
        target=texts.target,
        component=texts.component,
        position=texts.position,
        layers=texts.layers,
        weights=torch.stack([one.weights for one in chosen]).float(),
        source_mean=torch.stack([mean for mean, _ in means]).float(),
        target_mean=torch.stack([mean for _, mean in means]).float(),
        n=len(set(texts.prompt[fitted].tolist())),
        data_hash=texts.data_hash,
        penalties=tuple(one.penalty for one in chosen),
        ranks=tuple(one.rank for one in chosen),
    )
    return replace(made, quality=r_squared(made, texts))


def map_vector(
    vector: SteeringVector,
    source: HookedLM,
    target: HookedLM,
    prompts: Sequence[Prompt],
    kind: str = "ridge",
    **options: Any,
) -> SteeringVector:
    """Carry a vector from one model to another, by a map that is fitted for it.

    Args:
        vector: a vector of the source.
        source: the model that the vector was fitted on.
        target: the model to steer.
        prompts: see :func:`fit_map`; read at the vector's position, unless ``position`` is given.
        kind: see :func:`fit_map`.
        options: keywords of :func:`fit_map`.

    Raises:
        VectorError: for a vector of another model.
        TransferError: as :func:`fit_map`.

    Example:
        >>> requests = [f"Tell me about the {thing}." for thing in ("castle", "fox", "sea", "wind")]
        >>> carried = map_vector(vector, model, model, requests, layers=[(5, 5)])
        >>> carried.layers
        (5,)
    """
    vector.check(source)
    position = vector.card.position
    where = {
        "position": int(position) if position.lstrip("-").isdigit() else position,
        "component": vector.card.component,
    }
    return fit_map(source, target, prompts, kind, **where | options)(vector)


def r_squared(made: ResidualMap, texts: SharedTexts, split: str = "test") -> tuple[Interval, ...]:
    """Measure how well a map predicts the target's activations, at each of its layers.

    ``1 - sum |y - y'|^2 / sum |y - mean y|^2`` over the rows of the prompts in a split, with the
    map's own ``mean y``: 0 for a map that always predicts the mean, below 0 for a worse map.
    Intervals are those of a bootstrap of the prompts.

    Args:
        made: a map, which may be a control.
        texts: the activations of the map's two models on the same texts, at its layers.
        split: ``"fit"``, ``"select"`` or ``"test"``.

    Raises:
        TransferError: for texts of other models or layers.
    """
    ends = (made.source.fingerprint, made.target.fingerprint)
    if ends != (texts.source.fingerprint, texts.target.fingerprint) or not set(made.layers) <= set(
        texts.layers
    ):
        raise TransferError(
            f"{made} (layers {list(made.layers)}) cannot be evaluated on activations of "
            f"{texts.source} and {texts.target} at layers {list(texts.layers)}; capture "
            "activations of the map's own models at its layers"
        )
    held = texts.split(split)
    numbers, place = texts.prompt[held].unique(return_inverse=True)
    intervals = []
    for row, (here, there) in enumerate(made.layers):
        x = texts.source_rows[here][held].double()
        y = texts.target_rows[there][held].double()
        left = (y - made.activations(x, there)).square().sum(dim=1)
        whole = (y - made.target_mean[row].double()).square().sum(dim=1)
        sums = torch.zeros(len(numbers), 2, dtype=torch.float64)
        sums.index_add_(0, place, torch.stack([left, whole], dim=1))
        lost = ratio_of_means(sums[:, 0].tolist(), sums[:, 1].tolist(), seed=texts.seed)
        ends = (1 - lost.value, 1 - lost.high, 1 - lost.low)
        intervals.append(Interval(*ends, lost.n, lost.method))
    return tuple(intervals)


def _check_kind(kind: str, penalties: Sequence[float]) -> None:
    if kind not in KINDS:
        raise TransferError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    if not penalties or not min(penalties) >= 0:
        raise TransferError(
            f"penalties {tuple(penalties)} must be numbers from 0 up, at least one; 1 stands for "
            "the mean variance"
        )
