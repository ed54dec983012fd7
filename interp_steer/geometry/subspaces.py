"""Compare several vectors: angles between the subspaces that they span, and what they share.

Everything depends on directions alone. Scale vectors to length 1 first
(``torch.nn.functional.normalize``), unless longer vectors are to count for more.
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
    first: Float[Tensor, "a d"], second: Float[Tensor, "b _"]
) -> Float64[Tensor, " angle"]:
    """Compute the principal angles between the subspaces that two sets of vectors span, by scipy.

    The first is the least angle between a direction of one subspace and a direction of the other.
    Each of the next is the least such angle among the directions that are orthogonal to all earlier
    ones (Bjorck and Golub 1973).

    Args:
        first: vectors that span the first subspace, a row each; they need not be orthogonal.
        second: vectors that span the second subspace.

    Returns:
        ``min(a, b)`` angles in radians, the smallest first, each in [0, pi/2].

    Raises:
        VectorError: for vectors of different widths, vectors that are not finite, or vectors that
            depend on one another.

    Example:
        >>> axes = torch.eye(3)
        >>> principal_angles(axes[:2], axes[1:])
        tensor([0.0000, 1.5708], dtype=torch.float64)
    """
    if first.shape[1] != second.shape[1]:
        raise VectorError(
            f"vectors of widths {first.shape[1]} and {second.shape[1]} have no angles; give "
            "vectors of one model and component"
        )
    sides = [_check_independent(side).T.numpy() for side in (first, second)]
    return torch.from_numpy(np.sort(subspace_angles(*sides)))


def shared_part(vectors: Float[Tensor, "*draw vector d"]) -> Float64[Tensor, "*draw vector"]:
    """Compute the cosine of each vector with the mean direction of all the others (leave-one-out).

    Its square is the share of a vector's squared norm that lies along what the others have in
    common. The others are scaled to length 1 before their mean is taken, so all count the same.

    Args:
        vectors: two or more, a row each.

    Returns:
        A number in [-1, 1] for each vector; the mean for independent directions is 0.

    Raises:
        VectorError: for fewer than two vectors.

    Example:
        >>> shared_part(torch.eye(2))
        tensor([0., 0.], dtype=torch.float64)
    """
    if vectors.shape[-2] < 2:
        raise VectorError(
            f"{vectors.shape[-2]} vector cannot be compared with others; give two or more"
        )
    unit = normalize(vectors.double(), dim=-1)
    others = unit.sum(dim=-2, keepdim=True) - unit
    return torch.cosine_similarity(unit, others, dim=-1)


def _check_independent(vectors: Float[Tensor, "a d"]) -> Float64[Tensor, "a d"]:
    """Return the vectors at length 1, if none of them is a sum of others."""
    unit = normalize(vectors.detach().double().cpu(), dim=-1)
    # A vector that float32 cannot distinguish from a sum of the others counts as that sum, whatever
    # its dtype.
    if not unit.isfinite().all() or int(torch.linalg.matrix_rank(unit, rtol=1e-6)) < len(unit):
        raise VectorError(
            f"{len(unit)} vectors of width {unit.shape[1]} are not finite or depend on one "
            "another, and span no subspace of as many dimensions; leave some out"
        )
    return unit
