"""Count the dimensions that a set of vectors fills, by the entropy of its singular values.

There are two such numbers, which differ for every spectrum that is not flat. With ``s_k`` the
singular values of the matrix that has the vectors as rows:

============================== ===================================== ==============================
function                       weights                               source
============================== ===================================== ==============================
`effective_rank`               ``p_k = s_k / sum_j s_j``             Roy and Vetterli (2007)
`effective_rank_of_variance`   ``p_k = s_k^2 / sum_j s_j^2``         the same formula, applied to
                                                                     the second moment of the rows
============================== ===================================== ==============================

Both are ``exp(-sum_k p_k log p_k)``. Squaring the singular values gives the largest of them more
weight, so the second number is never larger than the first. Compare numbers of one kind only, and
only between sets of the same size.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.errors import VectorError


def effective_rank(vectors: Float[Tensor, "*draw vector d"]) -> Float64[Tensor, "*draw"]:
    """Return the effective rank of a set of vectors (Roy and Vetterli 2007).

    It is the exponential of the Shannon entropy of the normalised singular values::

        p_k = s_k / sum_j s_j,    rank = exp(-sum_k p_k log p_k)

    The rank is 1 for vectors along one line and ``n`` for ``n`` orthogonal vectors of equal length.
    It grows with the number of vectors, so compare only sets of the same size.

    Args:
        vectors: a row for each vector; longer vectors count for more.

    Raises:
        VectorError: when all vectors are zero, or a vector is not finite.

    Example:
        >>> effective_rank(torch.eye(5))
        tensor(5.0000, dtype=torch.float64)
    """
    if not vectors.isfinite().all() or not rearrange(vectors, "... v d -> ... (v d)").any(-1).all():
        raise VectorError(
            f"vectors of shape {tuple(vectors.shape)} are all zero or not finite and have no rank; "
            "leave those out"
        )
    values = torch.linalg.svdvals(vectors.double())
    weights = values / values.sum(dim=-1, keepdim=True)
    return torch.special.entr(weights).sum(dim=-1).exp()


def effective_rank_of_variance(rows: Float[Tensor, "row d"]) -> float:
    """Return the effective rank of the second moment of rows: the rank of their variance.

    It is the exponential of the Shannon entropy of the squared singular values::

        p_k = s_k^2 / sum_j s_j^2,    rank = exp(-sum_k p_k log p_k)

    ``p_k`` are the :func:`energy_shares`. The rank is 1 for rows along one line, ``k`` for rows
    that fill ``k`` directions evenly, and at most the number of rows: compare only sets of the same
    size.

    Args:
        rows: such as the differences of single pairs. Subtract their mean for the rank of their
            covariance.

    Raises:
        VectorError: for an empty set, or rows that are all zero.

    Example:
        >>> round(effective_rank_of_variance(torch.eye(5)), 6)
        5.0
    """
    return float(_exponential_of_entropy(energy_shares(rows)))


def effective_rank_of_gram(gram: Float64[Tensor, "row row"]) -> float:
    """Return :func:`effective_rank_of_variance` of rows, given all their inner products.

    Args:
        gram: the inner product of every two rows.

    Returns:
        The rank; 1 where all rows are zero.
    """
    energy = torch.linalg.eigvalsh(gram).clamp(min=0)
    total = energy.sum()
    return float(_exponential_of_entropy(energy / total)) if total > 0 else 1.0


def energy_shares(rows: Float[Tensor, "row d"]) -> Float64[Tensor, " component"]:
    """Return the share of the rows' squared length along each of their principal axes.

    With ``s_k`` the singular values of the rows, ``p_k = s_k^2 / sum_j s_j^2``. For rows less their
    mean this is the explained variance of a PCA. For rows as they are, the first axis is the line
    through the origin that lies nearest to them.

    Args:
        rows: such as the differences of single pairs.

    Returns:
        ``min(row, d)`` shares, the largest first, which sum to 1.

    Raises:
        VectorError: for an empty set, or rows that are all zero.
    """
    check_rows(rows)
    energy = torch.linalg.svdvals(rows.double()) ** 2
    return energy / energy.sum()


def check_rows(rows: Float[Tensor, "row d"]) -> None:
    """Refuse rows that fill no dimensions.

    Raises:
        VectorError: for an empty set, or rows that are all zero.
    """
    if not rows.numel() or not rows.any():
        raise VectorError(
            f"rows of shape {tuple(rows.shape)} are all zero and fill no dimensions; give "
            "differences of pairs that differ"
        )


def _exponential_of_entropy(shares: Float64[Tensor, " component"]) -> Float64[Tensor, ""]:
    return torch.special.entr(shares).sum().exp()
