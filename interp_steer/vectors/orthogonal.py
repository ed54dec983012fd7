"""Steering vectors that do not get into each other's way: made orthogonal, none of them first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from einops import einsum
from jaxtyping import Float64
from torch import Tensor

from interp_steer.errors import VectorError
from interp_steer.vectors.algebra import inner_product
from interp_steer.vectors.steering_vector import SteeringVector


def orthogonalised(vectors: Sequence[SteeringVector]) -> list[SteeringVector]:
    """The vectors with their directions made orthogonal to one another, layer by layer.

    Symmetrically (Loewdin 1950), so that no vector comes first: with ``U`` the unit directions as
    rows, ``(U U^T)^(-1/2) U`` is the set of orthonormal directions that is nearest to them. Norms
    are kept. Targets are those of the new directions: the mean projection of prompts with the
    property, whose mean activation is, of a difference in means, the baseline and the direction
    together.

    Args:
        vectors: of one model, component and layers.

    Returns:
        The vectors in the same order; without targets where a vector has no baseline, or another
        estimator than the difference in means.

    Raises:
        VectorError: for no vectors, vectors that do not go together, or directions that depend on
            one another.
    """
    if not vectors:
        raise VectorError("there are no vectors to make orthogonal; give at least one")
    first = vectors[0]
    for other in vectors[1:]:
        first.matched(other)  # refuses what does not go together
    units = torch.stack([vector.unit.double().flatten(1) for vector in vectors], dim=1)
    gram = einsum(units, units, "layer a d, layer b d -> layer a b")
    values, axes = torch.linalg.eigh(gram)
    dependent = [
        layer
        for layer, least in zip(first.layers, values[:, 0].tolist(), strict=True)
        if least < 1e-6
    ]
    if dependent:
        raise VectorError(
            f"the directions of {', '.join(v.name for v in vectors)} depend on one another at "
            f"layers {dependent}; leave one out"
        )
    root = einsum(axes, values.rsqrt(), axes, "layer a k, layer k, layer b k -> layer a b")
    apart = einsum(root, units, "layer a b, layer b d -> layer a d")
    return [_turned(vector, apart[:, index]) for index, vector in enumerate(vectors)]


def _turned(vector: SteeringVector, unit: Float64[Tensor, "layer d"]) -> SteeringVector:
    """A vector of the same norms along other directions, with the targets that it has there."""
    unit = unit.reshape(vector.directions.shape)
    norms = vector.norms.double().reshape(-1, *[1] * (vector.directions.ndim - 1))
    targets = None
    if vector.baseline is not None and vector.card.estimator == "difference_in_means":
        present = vector.baseline.double() + vector.directions.double()
        targets = inner_product(present, unit).float()
    card = replace(vector.card, name=f"{vector.name} (orthogonal)", reliability=None)
    return replace(vector, directions=(unit * norms).float(), targets=targets, card=card)
