"""Angles between activations and between directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.errors import VectorError
from interp_steer.steering_vector import SteeringVector


def cosine_to_others(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
    """Mean cosine similarity of each row to all the other rows.

    Args:
        rows: one activation per prompt, at least two.

    Returns:
        One number in [-1, 1] per row; their mean is the mean over all pairs of different rows.

    Raises:
        VectorError: for fewer than two rows.
    """
    if len(rows) < 2:
        raise VectorError(f"{len(rows)} row has no others to compare with; capture two or more")
    unit = normalize(rows.double(), dim=-1)
    cosines = einsum(unit, unit, "a d_model, b d_model -> a b")
    return (cosines.sum(dim=1) - cosines.diagonal()) / (len(rows) - 1)


def cosine_of_pairs(
    one: Float[Tensor, "row d_model"], other: Float[Tensor, "row d_model"]
) -> Float[Tensor, " row"]:
    """Cosine similarity of each row of ``one`` to the same row of ``other``."""
    return torch.cosine_similarity(one.double(), other.double(), dim=-1)


def cosine_map(vectors: Sequence[SteeringVector], layer: int) -> Float[Tensor, "vector vector"]:
    """Cosine similarity between steering vectors at one layer.

    Args:
        vectors: vectors of one model.
        layer: where they are compared.

    Returns:
        A symmetric matrix with ones on its diagonal.

    Raises:
        VectorError: when there are none, they are of different models, or one lacks the layer.
    """
    if not vectors:
        raise VectorError("there are no vectors to compare; give at least one")
    index = vectors[0].layers.index(vectors[0].at(layer).source.layer)
    rows = [torch.stack([one.cosine(other)[index] for other in vectors]) for one in vectors]
    return torch.stack(rows)
