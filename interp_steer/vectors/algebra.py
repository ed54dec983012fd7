"""Compute inner products, norms and unit lengths of directions, layer by layer."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def inner_product(a: Tensor, b: Tensor) -> Float[Tensor, " layer"]:
    """Compute the inner product at each layer, at ``z`` over all heads together, in float64."""
    a, b = (rearrange(side.double(), "layer ... -> layer (...)") for side in (a, b))
    return einsum(a, b, "layer component, layer component -> layer")


def compute_norms(directions: Tensor) -> Float[Tensor, " layer"]:
    return inner_product(directions, directions).sqrt()


def unit_directions(directions: Float[Tensor, " layer *shape"]) -> Float[Tensor, " layer *shape"]:
    """Return the directions at length 1, in float64; zero where a direction is zero."""
    norms = compute_norms(directions)
    return directions.double() / expand_layers(torch.where(norms == 0, 1.0, norms), directions)


def expand_layers(per_layer: Float[Tensor, " layer"], like: Tensor) -> Tensor:
    """Reshape a number for each layer so that it multiplies ``like``."""
    return per_layer.reshape(-1, *[1] * (like.ndim - 1))
