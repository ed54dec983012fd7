"""Compute inner products, norms and unit lengths of directions, layer by layer."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def inner_product(a: Tensor, b: Tensor) -> Float[Tensor, " layer"]:
    """The inner product at each layer, at ``z`` over all heads together, in float64."""
    a, b = (rearrange(side.double(), "layer ... -> layer (...)") for side in (a, b))
    return einsum(a, b, "layer component, layer component -> layer")


def _norms(directions: Tensor) -> Float[Tensor, " layer"]:
    return inner_product(directions, directions).sqrt()


def unit_directions(directions: Float[Tensor, " layer *shape"]) -> Float[Tensor, " layer *shape"]:
    """The directions at length 1, in float64; zero where a direction is zero."""
    norms = _norms(directions)
    return directions.double() / _along(torch.where(norms == 0, 1.0, norms), directions)


def _along(per_layer: Float[Tensor, " layer"], like: Tensor) -> Tensor:
    """A number for each layer, shaped to multiply ``like``."""
    return per_layer.reshape(-1, *[1] * (like.ndim - 1))
