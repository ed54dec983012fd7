"""Make steering vectors orthogonal to one another, so that they do not interfere."""

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


def orthogonalise(vectors: Sequence[SteeringVector]) -> list[SteeringVector]:
    """Return the vectors with their directions made orthogonal to one another, layer by layer.

    The orthogonalisation is symmetric (Loewdin 1950), so the order of the vectors does not matter:
    with ``U`` the unit directions as rows, ``(U U^T)^(-1/2) U`` is the set of orthonormal
    directions that is nearest to them. Norms are kept. The new targets are the mean projections, on
    the new directions, of the prompts with the property. For a difference in means, the mean
    activation of those prompts is the sum of the baseline and the direction.

    Args:
        vectors: of one model, component and layers.

    Returns:
        The vectors in the same order. A vector without a baseline, or of another estimator than the
        difference in means, has no targets.

    Raises:
        VectorError: for an empty list, vectors that do not go together, or directions that depend
            on one another.
    """
    if not vectors:
        raise VectorError("the list of vectors to make orthogonal is empty; give at least one")
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
    return [_turn(vector, apart[:, index]) for index, vector in enumerate(vectors)]


def _turn(vector: SteeringVector, unit: Float64[Tensor, "layer d"]) -> SteeringVector:
    """Return a vector of the same norms along other directions, with its targets along those."""
    unit = unit.reshape(vector.directions.shape)
    norms = vector.norms.double().reshape(-1, *[1] * (vector.directions.ndim - 1))
    targets = None
    if vector.baseline is not None and vector.card.estimator == "difference_in_means":
        present = vector.baseline.double() + vector.directions.double()
        targets = inner_product(present, unit).float()
    card = replace(vector.card, name=f"{vector.name} (orthogonal)", reliability=None)
    return replace(vector, directions=(unit * norms).float(), targets=targets, card=card)
