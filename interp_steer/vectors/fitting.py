"""Fit steering vectors: estimators over the moments of the two sides of a contrast set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.arguments import check_list
from interp_steer.capture.activations import capture_moments
from interp_steer.capture.contrast_moments import ContrastMoments, capture_contrast
from interp_steer.capture.moments import Moments
from interp_steer.contrast.contrast_set import ContrastSet, in_split
from interp_steer.errors import CaptureError, VectorError
from interp_steer.models.hooked_lm import HookedLM
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
    "along",
    "difference_in_means",
    "estimate",
    "fit",
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
    batch_size: int = 32,
    checkpoints: str | Path | None = None,
    on_read: Callable[[int], None] | None = None,
) -> SteeringVector:
    """Fit a steering vector, every layer in one pass (paper A, section 2).

    Args:
        model: whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        layers: which layers; all when not given.
        position: where: ``"last"``, an index, ``"all"``, or ``"generated"``, where the model's own
            answers to both sides are generated (see ``ist.capture``).
        estimator: ``"difference_in_means"``, ``"pca"``, ``"pca_centred"``, ``"lda"`` or
            ``"whitened"``; :mod:`interp_steer.vectors.estimators` has the formulas. Those but the first
            keep ``d x d`` numbers a site.
        max_new_tokens: where those answers are cut.
        batch_size: the most prompts in a batch.
        checkpoints: a folder for the moments as they grow, from which a fit that was stopped goes
            on; made where it is missing.
        on_read: is told how many prompts were read, batch by batch, of either side; what it raises
            ends the fit.

    Returns:
        The vector, on the CPU in float32.

    Raises:
        VectorError: for an unknown estimator, one that needs pairs at a position where tokens have
            none, or activations that are not finite.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.
        CaptureError: for positions that a prompt does not have, or a folder that cannot be made.

    Example:
        >>> pairs = contrast.instruction("change_case:english_lowercase")
        >>> fit(model, pairs).at(5).project()
    """
    estimators.estimator(estimator)  # refuses what is unknown, before anything is run
    check_model(model)
    pairs = in_split(pairs, "fit")
    sites = model.sites(component, layers)
    needs = {
        "second_moments": estimator in estimators.SECOND_MOMENTS,
        "paired": estimator in estimators.PAIRED,
    }
    kept = None
    if checkpoints is not None:
        what = [model.fingerprint, pairs.hash, *map(str, sites), position, batch_size]
        what += [max_new_tokens] * (position == "generated")
        what += [need for need, wanted in needs.items() if wanted]
        kept = _folder(checkpoints) / hashlib.sha256(repr(what).encode()).hexdigest()[:16]
    sides = capture_contrast(
        model,
        pairs,
        sites,
        position,
        **needs,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        checkpoints=kept,
        on_read=on_read,
    )
    return estimate(
        sides, estimator, name=pairs.name, data_hash=pairs.hash, model=model, split=pairs.split
    )


def _folder(path: str | Path) -> Path:
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
        model: whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        layers: which layers; all when not given.
        n_steps: the most steps, ``M`` of the paper.
        answers: to the prompts with the property and to those without; the model's own greedy ones
            when not given.
        batch_size: the most prompts in a batch.

    Returns:
        The vector, on the CPU in float32, as long as answers of both sides were running.

    Raises:
        CaptureError: for answers that do not go with the pairs, or no steps.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.

    Example:
        >>> vector = ist.fit_steps(model, pairs)                              # doctest: +SKIP
        >>> ist.generate(model, prompts, vector.shift(1.5, diminishing(30)))  # doctest: +SKIP
    """
    check_list("answers", answers, CaptureError)
    check_model(model)
    pairs = in_split(pairs, "fit")
    sites = model.sites(component, layers)
    present, absent = (
        capture_moments(
            model,
            getattr(pairs, side),
            sites,
            "generated",
            answers=None if answers is None else answers[number],
            max_new_tokens=n_steps,
            batch_size=batch_size,
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
        card=_card(
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
    """``v_l = mean h_l - mean h'_l`` and ``z_l = <mean h_l, u_l>`` (paper A, section 2).

    Args:
        present: moments of the prompts with the property, at one component; steps are pooled.
        absent: moments of the prompts without it.
        name: what the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.
        split: which split of the contrast set they are, for the card.

    Raises:
        VectorError: when the moments are of other sites, positions or models.
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
    """The vector that an estimator makes of both sides.

    Its target is the mean projection of the prompts with the property, its baseline the mean of
    those without it, and its length how far apart these two are along it. One capture serves every
    estimator.

    Args:
        sides: captured at one component, with what the estimator needs.
        estimator: as for :func:`fit`.
        name: what the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.
        split: which split of the contrast set they are, for the card.

    Raises:
        VectorError: for an unknown estimator, sides of another model or several components, or
            without the differences that the estimator needs.
        CaptureError: without the second moments that it needs.

    Example:
        >>> sides = capture_sides(model, pairs.fit, second_moments=True, paired=True)
        >>> sides_of = dict(name=pairs.name, data_hash=pairs.fit.hash, model=model)
        >>> both = [estimate(sides, each, **sides_of) for each in ("pca", "lda")]
    """
    found = estimators.estimator(estimator)
    directions = [found(sides, site) for site in sides.sites]
    return _of_sides(
        sides, directions, estimator, name=name, data_hash=data_hash, model=model, split=split
    )


def along(
    sides: ContrastMoments,
    directions: Float[Tensor, " layer *shape"],
    estimator: str,
    *,
    name: str,
    data_hash: str,
    model: HookedLM,
    split: str | None = None,
) -> SteeringVector:
    """The part of the mean shift along given directions, such as the weights of a probe.

    Args:
        sides: captured at one component.
        directions: one for each site of the sides, of any length and either sign.
        estimator: what the card calls them.
        name: what the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.
        split: which split of the contrast set they are, for the card.

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
    return _of_sides(
        sides, parts, estimator, name=name, data_hash=data_hash, model=model, split=split
    )


def _of_sides(
    sides: ContrastMoments,
    directions: Sequence[Float64[Tensor, "*shape"]],
    estimator: str,
    *,
    name: str,
    data_hash: str,
    model: HookedLM,
    split: str | None,
) -> SteeringVector:
    """The vector of directions that are as long as the mean shift along them."""
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
        card=_card(
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


def _card(model: HookedLM, name: str, **fitted: Any) -> Card:
    """The card of what was fitted on a contrast set of that name."""
    return Card(
        name=name,
        contrast=name,
        model=model.name,
        fingerprint=model.fingerprint,
        n_layers=model.n_layers,
        d_model=model.d_model,
        revision=model.revision,
        basis=model.basis,
        **fitted,
    )
