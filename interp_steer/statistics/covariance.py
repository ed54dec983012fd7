"""Shrink covariance matrices, and raise them to a power."""

from __future__ import annotations

import torch
from einops import einsum, reduce
from jaxtyping import Float64
from torch import Tensor


def oas(covariance: Float64[Tensor, "*unit d d"], n: int) -> Float64[Tensor, "*unit d d"]:
    """Shrink a covariance to a multiple of the identity (Chen et al. 2010, OAS, equation 23)::

        (1 - r) S + r (tr S / d) I,   r = (a + b) / ((n + 1) (a - b / d)),   at most 1
        a = tr S^2 / d^2,  b = (tr S / d)^2

    The share ``r`` depends on the moments only. It is never zero, so the result can be inverted.
    The form for large ``d``, as in scikit-learn.

    Args:
        covariance: one or many.
        n: the number of independent tokens that the covariance was computed from.

    Returns:
        The same shape; the identity where nothing varies, which prefers no direction.
    """
    d = covariance.shape[-1]
    scale = reduce(covariance.diagonal(dim1=-2, dim2=-1), "... d -> ...", "mean")[..., None, None]
    energy = (covariance**2).mean(dim=(-2, -1), keepdim=True)
    excess = (n + 1) * (energy - scale**2 / d)
    share = torch.where(excess > 0, (energy + scale**2) / excess.clamp(min=1e-300), 1.0)
    share = share.clamp(max=1.0)
    identity = torch.eye(d, dtype=covariance.dtype, device=covariance.device).expand_as(covariance)
    return torch.where(
        scale > 0, (1 - share) * covariance + share * scale * identity, identity.clone()
    )


def power(matrix: Float64[Tensor, "*unit d d"], exponent: float) -> Float64[Tensor, "*unit d d"]:
    """Raise a symmetric positive matrix to a power, such as its root or inverse root."""
    values, axes = torch.linalg.eigh(matrix)
    return einsum(axes, values**exponent, axes, "... a k, ... k, ... b k -> ... a b")
