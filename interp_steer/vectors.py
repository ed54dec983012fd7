"""Fit steering vectors: estimators over the moments of the two sides of a contrast set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from interp_steer.capture import capture
from interp_steer.cards import Card
from interp_steer.errors import VectorError
from interp_steer.model import HookedLM
from interp_steer.moments import Moments
from interp_steer.pairs import ContrastSet
from interp_steer.sites import Site
from interp_steer.steering_vector import SteeringVector, inner_product, unit_directions

__all__ = ["Card", "SteeringVector", "difference_in_means", "fit"]


def fit(
    model: HookedLM,
    pairs: ContrastSet,
    *,
    component: str = "resid_post",
    layers: Sequence[int] | None = None,
    position: str | int = "last",
    estimator: str = "difference_in_means",
    batch_size: int = 32,
    checkpoints: str | Path | None = None,
) -> SteeringVector:
    """Fit a steering vector, every layer in one pass (paper A, section 2).

    Args:
        model: whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.sites.COMPONENTS`.
        layers: which layers; all when not given.
        position: where in the prompt: ``"last"``, an index, or ``"all"`` (see ``ist.capture``).
        estimator: ``"difference_in_means"``.
        batch_size: the most prompts in a batch.
        checkpoints: a folder for the moments as they grow, from which a fit that was stopped goes
            on.

    Returns:
        The vector, on the CPU in float32.

    Raises:
        VectorError: for an unknown estimator, or activations that are not finite.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.

    Example:
        >>> pairs = contrast.instruction("change_case:english_lowercase")
        >>> fit(model, pairs).at(5).project()
    """
    if estimator != "difference_in_means":
        raise VectorError(f"estimator {estimator!r} is unknown; use 'difference_in_means'")
    if pairs.split == "all":
        pairs = pairs.fit
    chosen = range(model.n_layers) if layers is None else layers
    sites = [Site(component, layer) for layer in chosen]
    kept: dict[str, Path | None] = dict.fromkeys(("present", "absent"))
    if checkpoints is not None:
        what = [model.fingerprint, pairs.hash, *map(str, sites), position, batch_size]
        name = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
        kept = {side: Path(checkpoints) / f"{name}.{side}.safetensors" for side in kept}
    present, absent = (
        capture(
            model,
            getattr(pairs, side),
            sites,
            position,
            batch_size=batch_size,
            checkpoint=checkpoint,
        )
        for side, checkpoint in kept.items()
    )
    return difference_in_means(present, absent, name=pairs.name, data_hash=pairs.hash, model=model)


def difference_in_means(
    present: Moments, absent: Moments, *, name: str, data_hash: str, model: HookedLM
) -> SteeringVector:
    """``v_l = mean h_l - mean h'_l`` and ``z_l = <mean h_l, u_l>`` (paper A, section 2).

    Args:
        present: moments of the prompts with the property, at one component; steps are pooled.
        absent: moments of the prompts without it.
        name: what the vector stands for.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.

    Raises:
        VectorError: when the moments are of other sites, positions or models.
    """
    for what in ("fingerprint", "positions", "sites"):
        mine, theirs = getattr(present, what), getattr(absent, what)
        if mine != theirs:
            raise VectorError(
                f"the two sides have {what} {mine} and {theirs}; capture both with the same model, "
                "sites and positions"
            )
    if present.fingerprint != model.fingerprint:
        raise VectorError(
            f"the moments are of {present.model} (weights {present.fingerprint}), not of "
            f"{model.describe()} (weights {model.fingerprint}); capture this model"
        )
    components = {site.component for site in present.sites}
    if len(components) != 1:
        raise VectorError(
            f"the moments are of {len(components)} components ({', '.join(sorted(components))}); "
            "capture one component for each vector"
        )
    with_it, without = (
        torch.cat([side.pooled().mean[site] for site in present.sites])
        for side in (present, absent)
    )
    directions = (with_it - without).float()
    return SteeringVector(
        directions=directions,
        targets=inner_product(with_it, unit_directions(directions)).float(),
        layers=tuple(site.layer for site in present.sites),
        card=Card(
            name=name,
            model=model.name,
            fingerprint=model.fingerprint,
            n_layers=model.n_layers,
            d_model=model.d_model,
            component=components.pop(),
            position=present.positions,
            estimator="difference_in_means",
            n=present.prompts,
            data_hash=data_hash,
            revision=model.revision,
        ),
        baseline=without.float(),
    )
