"""Several vectors together: angles between the subspaces they span, what they share, their rank.

All of it is of directions alone. Where several vectors are compared, scale them to length 1 first
(``torch.nn.functional.normalize``), unless a longer one is to count for more.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.linalg import subspace_angles
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.errors import VectorError


def principal_angles(
    one: Float[Tensor, "a d"], other: Float[Tensor, "b _"]
) -> Float64[Tensor, " angle"]:
    """Principal angles between the subspaces that two sets of vectors span, as scipy finds them.

    The first is the least angle that a direction of one subspace makes with a direction of the
    other; each of the next is the least one orthogonal to those before (Bjorck and Golub 1973).

    Args:
        one: vectors that span the one subspace, a row each; they need not be orthogonal.
        other: vectors that span the other.

    Returns:
        ``min(a, b)`` angles in radians, the smallest first, each in [0, pi/2].

    Raises:
        VectorError: for vectors of different widths, that are not finite, or that depend on one
            another and so span less than there are of them.

    Example:
        >>> axes = torch.eye(3)
        >>> principal_angles(axes[:2], axes[1:])
        tensor([0.0000, 1.5708], dtype=torch.float64)
    """
    if one.shape[1] != other.shape[1]:
        raise VectorError(
            f"vectors of widths {one.shape[1]} and {other.shape[1]} have no angles; give vectors "
            "of one model and component"
        )
    sides = [_independent(side).T.numpy() for side in (one, other)]
    return torch.from_numpy(np.sort(subspace_angles(*sides)))


def shared_part(vectors: Float[Tensor, "*draw vector d"]) -> Float64[Tensor, "*draw vector"]:
    """Cosine of each vector with the mean direction of all the others (leave-one-out).

    Its square is the share of a vector's squared norm that lies along what the others have in
    common. The others are scaled to length 1 before their mean is taken, so that no long one leads.

    Args:
        vectors: two or more, a row each.

    Returns:
        A number in [-1, 1] for each vector; 0 in the mean for directions that are independent.

    Raises:
        VectorError: for fewer than two vectors.

    Example:
        >>> shared_part(torch.eye(2))
        tensor([0., 0.], dtype=torch.float64)
    """
    if vectors.shape[-2] < 2:
        raise VectorError(
            f"{vectors.shape[-2]} vector has no others to share with; give two or more"
        )
    unit = normalize(vectors.double(), dim=-1)
    others = unit.sum(dim=-2, keepdim=True) - unit
    return torch.cosine_similarity(unit, others, dim=-1)


def _independent(vectors: Float[Tensor, "a d"]) -> Float64[Tensor, "a d"]:
    """The vectors at length 1, none of which is a sum of others."""
    unit = normalize(vectors.detach().double().cpu(), dim=-1)
    # What float32 cannot tell from a sum of the others is one, whatever the dtype it comes in.
    if not unit.isfinite().all() or int(torch.linalg.matrix_rank(unit, rtol=1e-6)) < len(unit):
        raise VectorError(
            f"{len(unit)} vectors of width {unit.shape[1]} are not finite or depend on one "
            "another, and span no subspace of as many dimensions; leave some out"
        )
    return unit
