"""Fit steering vectors, by estimators over the moments of the two sides of a contrast set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.arguments import check_list
from interp_steer.capture.activations import capture_moments
from interp_steer.capture.contrast_moments import ContrastMoments, capture_contrast
from interp_steer.capture.moments import Moments
from interp_steer.capture.options import DEFAULT_OPTIONS, CaptureOptions
from interp_steer.contrast.contrast_set import ContrastSet, take_split
from interp_steer.errors import CaptureError, VectorError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.loading import check_model
from interp_steer.vectors import estimators
from interp_steer.vectors.algebra import inner_product, unit_directions
from interp_steer.vectors.card import Card
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.stepped_vector import SteppedVector

__all__ = [
    "Card",
    "SteeringVector",
    "SteppedVector",
    "difference_in_means",
    "estimate",
    "fit",
    "fit_along",
    "fit_steps",
]


def fit(
    model: HookedLM,
    pairs: ContrastSet,
    *,
    component: str = "resid_post",
    layers: Sequence[int] | None = None,
    position: str | int = "last",
    estimator: str = "difference_in_means",
    max_new_tokens: int = 64,
    options: CaptureOptions = DEFAULT_OPTIONS,
) -> SteeringVector:
    """Fit a steering vector at every layer in one pass (paper A, section 2).

    Args:
        model: the model whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        layers: the layers to read; all when not given.
        position: the position to read: ``"last"``, an index, ``"all"``, or ``"generated"``, the
            model's own answers to both sides (see :func:`interp_steer.capture.capture_moments`).
        estimator: ``"difference_in_means"``, ``"pca"``, ``"pca_centred"``, ``"lda"`` or
            ``"whitened"``; :mod:`interp_steer.vectors.estimators` has the formulas. All but the
            first keep ``d x d`` numbers a site.
        max_new_tokens: the most tokens of a generated answer.
        options: batch sizes, checkpoints and the callback. ``options.checkpoint`` is a folder,
            which is made where it is missing; an interrupted fit continues from there.

    Returns:
        The vector, on the CPU in float32.

    Raises:
        VectorError: for an unknown estimator, an estimator that needs pairs at a position whose
            tokens are not paired, or activations that are not finite.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.
        CaptureError: for positions that a prompt does not have, or a folder that cannot be made.

    Example:
        >>> steer = fit(model, pairs).at(5).project()
    """
    estimators.get_estimator(estimator)  # refuses an unknown name before the model is run
    check_model(model)
    pairs = take_split(pairs, "fit")
    sites = model.sites(component, layers)
    needs = {
        "second_moments": estimator in estimators.SECOND_MOMENTS,
        "paired": estimator in estimators.PAIRED,
    }
    prefix = None
    if options.checkpoint is not None:
        key = [model.fingerprint, pairs.hash, *map(str, sites), position, options.batch_size]
        key += [max_new_tokens] * (position == "generated")
        key += [need for need, needed in needs.items() if needed]
        folder = _make_folder(options.checkpoint)
        prefix = folder / hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    sides = capture_contrast(
        model,
        pairs,
        sites,
        position,
        **needs,
        max_new_tokens=max_new_tokens,
        options=replace(options, checkpoint=prefix),
    )
    return estimate(
        sides, estimator, name=pairs.name, data_hash=pairs.hash, model=model, split=pairs.split
    )


def _make_folder(path: str | Path) -> Path:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptureError(
            f"{path} cannot be made to keep moments in ({error}); give another folder"
        ) from error
    return Path(path)


def fit_steps(
    model: HookedLM,
    pairs: ContrastSet,
    *,
    component: str = "z",
    layers: Sequence[int] | None = None,
    n_steps: int = 30,
    answers: tuple[Sequence[str], Sequence[str]] | None = None,
    batch_size: int = 32,
) -> SteppedVector:
    """Fit a direction for each generated step, at every layer in one pass (paper B, section 2).

    Args:
        model: the model whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        layers: the layers to read; all when not given.
        n_steps: the most steps, ``M`` of the paper.
        answers: the answers to the prompts with the property, and the answers to the prompts
            without it; the model's own greedy answers when not given.
        batch_size: the most prompts in a batch.

    Returns:
        The vector, on the CPU in float32, with a direction for each step at which answers of both
        sides were still running.

    Raises:
        CaptureError: for answers that do not go with the pairs, or ``n_steps`` below 1.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.

    Example:
        >>> stepped = fit_steps(model, pairs, n_steps=4)
        >>> steer = stepped.shift(1.5, ist.schedules.diminishing(4))
    """
    check_list("answers", answers, CaptureError)
    check_model(model)
    pairs = take_split(pairs, "fit")
    sites = model.sites(component, layers)
    present, absent = (
        capture_moments(
            model,
            getattr(pairs, side),
            sites,
            "generated",
            answers=None if answers is None else answers[number],
            max_new_tokens=n_steps,
            options=CaptureOptions(batch_size=batch_size),
        )
        for number, side in enumerate(("present", "absent"))
    )
    steps = min(len(present.count), len(absent.count))
    directions = torch.stack(
        [present.mean[site][:steps] - absent.mean[site][:steps] for site in present.sites], dim=1
    )
    return SteppedVector(
        directions=directions.float(),
        counts=torch.stack([present.count[:steps], absent.count[:steps]]),
        layers=tuple(site.layer for site in present.sites),
        card=_make_card(
            model,
            pairs.name,
            component=component,
            position="generated",
            estimator="difference_in_means",
            n=present.prompts,
            data_hash=pairs.hash,
            split=pairs.split,
        ),
    )


def difference_in_means(
    present: Moments,
    absent: Moments,
    *,
    name: str,
    data_hash: str,
    model: HookedLM,
    split: str | None = None,
) -> SteeringVector:
    """Return the difference in means of two captured sides (paper A, section 2)::

        v_l = mean h_l - mean h'_l,    z_l = <mean h_l, u_l>

    Args:
        present: moments of the prompts with the property, at one component; steps are pooled.
        absent: moments of the prompts without it.
        name: the property that the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.
        split: the split of the contrast set that the pairs are from, for the card.

    Raises:
        VectorError: for moments of different sites, positions or models.
    """
    sides = ContrastMoments(present, absent)
    return estimate(
        sides, "difference_in_means", name=name, data_hash=data_hash, model=model, split=split
    )


def estimate(
    sides: ContrastMoments,
    estimator: str,
    *,
    name: str,
    data_hash: str,
    model: HookedLM,
    split: str | None = None,
) -> SteeringVector:
    """Compute a vector from both sides by an estimator.

    The vector's target is the mean projection of the prompts with the property, its baseline is the
    mean of the prompts without the property, and its length is the distance of the two means along
    the direction. One capture serves every estimator.

    Args:
        sides: captured at one component, with the moments that the estimator needs.
        estimator: see :func:`fit`.
        name: the property that the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.
        split: the split of the contrast set that the pairs are from, for the card.

    Raises:
        VectorError: for an unknown estimator, sides of another model or several components, or
            sides without the differences that the estimator needs.
        CaptureError: for sides without the second moments that the estimator needs.

    Example:
        >>> sides = capture_contrast(model, pairs.fit, second_moments=True, paired=True)
        >>> sides_of = dict(name=pairs.name, data_hash=pairs.fit.hash, model=model)
        >>> both = [estimate(sides, each, **sides_of) for each in ("pca", "lda")]
    """
    compute_direction = estimators.get_estimator(estimator)
    directions = [compute_direction(sides, site) for site in sides.sites]
    return _make_vector(
        sides, directions, estimator, name=name, data_hash=data_hash, model=model, split=split
    )


def fit_along(
    sides: ContrastMoments,
    directions: Float[Tensor, " layer *shape"],
    estimator: str,
    *,
    name: str,
    data_hash: str,
    model: HookedLM,
    split: str | None = None,
) -> SteeringVector:
    """Compute the part of the mean shift along given directions, such as the weights of a probe.

    Args:
        sides: captured at one component.
        directions: a direction for each site of the sides, of any length and either sign.
        estimator: the name of the method, for the card.
        name: the property that the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.
        split: the split of the contrast set that the pairs are from, for the card.

    Raises:
        VectorError: for sides of another model or several components, or another number of
            directions than of sites.
    """
    if len(directions) != len(sides.sites):
        raise VectorError(
            f"{len(directions)} directions for {len(sides.sites)} sites; give one for each"
        )
    parts = [
        estimators.shift_along(sides.shift(site), direction.reshape(sides.shift(site).shape))
        for site, direction in zip(sides.sites, directions, strict=True)
    ]
    return _make_vector(
        sides, parts, estimator, name=name, data_hash=data_hash, model=model, split=split
    )


def _make_vector(
    sides: ContrastMoments,
    directions: Sequence[Float64[Tensor, "*shape"]],
    estimator: str,
    *,
    name: str,
    data_hash: str,
    model: HookedLM,
    split: str | None,
) -> SteeringVector:
    """Return the vector of directions whose lengths are those of the mean shift along them."""
    present = sides.present
    if present.fingerprint != model.fingerprint:
        raise VectorError(
            f"the moments are of {present.model} (weights {present.fingerprint}), not of "
            f"{model.describe()} (weights {model.fingerprint}); capture this model"
        )
    components = {site.component for site in sides.sites}
    if len(components) != 1:
        raise VectorError(
            f"the moments are of {len(components)} components ({', '.join(sorted(components))}); "
            "capture one component for each vector"
        )
    with_it, without = (
        torch.cat([side.mean[site] for site in sides.sites]) for side in (present, sides.absent)
    )
    raw = torch.stack(list(directions)).float()
    return SteeringVector(
        directions=raw,
        targets=inner_product(with_it, unit_directions(raw)).float(),
        layers=tuple(site.layer for site in sides.sites),
        card=_make_card(
            model,
            name,
            component=components.pop(),
            position=present.positions,
            estimator=estimator,
            n=present.prompts,
            data_hash=data_hash,
            split=split,
        ),
        baseline=without.float(),
    )


def _make_card(model: HookedLM, name: str, **fitted: Any) -> Card:
    """Return the card of a vector that was fitted on the contrast set of that name."""
    return Card(
        name=name,
        contrast=name,
        identity=ModelIdentity.of(model),
        **fitted,
    )
