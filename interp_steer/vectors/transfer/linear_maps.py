"""Fit linear maps between paired rows: Procrustes, ridge, canonical correlations.

The rows are centred before they come here. A map is a matrix ``W`` that takes a row ``x`` to
``x W``. Every map but the identity is zero along directions in which the rows never vary, because
the rows say nothing about those directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float64
from torch import Tensor

from interp_steer.errors import TransferError

UNSEEN = 1e-12
"""The share of the largest variance below which a direction counts as absent from the rows; float32
rounding leaves about as much."""

PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""The shares of all canonical variates that are tried."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A map, with the penalty and the rank that it was fitted with."""

    weights: Float64[Tensor, "d_source d_target"]
    penalty: float | None = None
    """The penalty, in units of the mean variance over directions; None for a map without a
    penalty."""
    rank: int | None = None
    """The number of canonical variates; None for a map that has none."""


def procrustes(
    x: Float64[Tensor, "row d_source"],
    y: Float64[Tensor, "row d_target"],
    penalties: Sequence[float] = (),
) -> Iterator[Candidate]:
    """Fit a rotation with a scale: ``W = s U V^T``, where ``X^T Y = U S V^T`` (Schoenemann 1966).

    ``U V^T`` has orthonormal rows where the target is the wider and orthonormal columns where the
    target is the narrower. Of all such matrices it has the largest ``<X W, Y>``; for equal widths
    and for a wider target it is also the least-squares solution. ``s`` is the least-squares scale.

    Args:
        x: the rows of the source, centred.
        y: the rows of the target, centred.
        penalties: ignored.
    """
    left, values, right = torch.linalg.svd(_inner_products(x, y), full_matrices=False)
    seen = values > UNSEEN * values.max()
    turn = einsum(left[:, seen], right[seen], "s k, k t -> s t")
    turned = einsum(x, turn, "row s, s t -> row t")
    yield Candidate(turn * (values.sum() / turned.square().sum()))


def ridge(
    x: Float64[Tensor, "row d_source"],
    y: Float64[Tensor, "row d_target"],
    penalties: Sequence[float],
) -> Iterator[Candidate]:
    """Fit least squares with a penalty: ``W = (X^T X + c I)^-1 X^T Y`` (Hoerl and Kennard 1970).

    Args:
        x: the rows of the source, centred.
        y: the rows of the target, centred.
        penalties: each in units of the mean variance, ``c = penalty tr(X^T X) / d``.
    """
    values, axes = _principal_axes(x)
    across = einsum(axes, _inner_products(x, y), "s k, s t -> k t")
    for penalty in penalties:
        shrunk = 1 / (values + penalty * values.sum() / x.shape[1])
        yield Candidate(einsum(axes, shrunk, across, "s k, k, k t -> s t"), penalty)


def cca(
    x: Float64[Tensor, "row d_source"],
    y: Float64[Tensor, "row d_target"],
    penalties: Sequence[float],
) -> Iterator[Candidate]:
    """Map each canonical variate of the source to that of the target (Hotelling 1936).

    With ``C`` the penalised second moments and ``C_x^-1/2 X^T Y C_y^-1/2 = U R V^T``, the map is
    ``C_x^-1/2 U_k V_k^T C_y^1/2``. Unlike a regression, the map does not shrink variates that
    correlate little: it keeps the ``k`` most correlated variates at full length, and drops the
    others.

    Args:
        x: the rows of the source, centred.
        y: the rows of the target, centred.
        penalties: of both second moments (Vinod 1976), in units of their mean variance.
    """
    sides = [_principal_axes(side) for side in (x, y)]
    across = einsum(sides[0][1], _inner_products(x, y), sides[1][1], "s a, s t, t b -> a b")
    for penalty in penalties:
        whiten, colour = (
            (values + penalty * values.sum() / side.shape[1]).sqrt()
            for (values, _), side in zip(sides, (x, y), strict=True)
        )
        white = across / whiten[:, None] / colour
        left, _, right = torch.linalg.svd(white, full_matrices=False)
        for rank in sorted({max(1, round(part * len(right))) for part in PARTS}):
            truncated = einsum(left[:, :rank], right[:rank], "a k, k b -> a b")
            inner = truncated / whiten[:, None] * colour
            weights = einsum(sides[0][1], inner, sides[1][1], "s a, a b, t b -> s t")
            yield Candidate(weights, penalty, rank)


def identity(
    x: Float64[Tensor, "row d_source"],
    y: Float64[Tensor, "row d_target"],
    penalties: Sequence[float] = (),
) -> Iterator[Candidate]:
    """Map each coordinate to the coordinate of the same number: a control.

    Raises:
        TransferError: for widths that differ.
    """
    if x.shape[1] != y.shape[1]:
        raise TransferError(
            f"an identity between residual streams of width {x.shape[1]} and {y.shape[1]} is not "
            "defined; use 'procrustes', 'ridge' or 'cca'"
        )
    yield Candidate(torch.eye(x.shape[1], dtype=torch.float64))


KINDS: dict[str, Callable[..., Iterator[Candidate]]] = {
    "procrustes": procrustes,
    "ridge": ridge,
    "cca": cca,
    "identity": identity,
}
"""The kinds of map. Each function takes rows of both sides and penalties, and yields maps to choose
from by how well they predict other rows."""


def squared_errors(
    x: Float64[Tensor, "row d_source"],
    y: Float64[Tensor, "row d_target"],
    weights: Float64[Tensor, "d_source d_target"],
) -> Float64[Tensor, " row"]:
    """Compute ``|y - x W|^2`` of each row."""
    predicted = einsum(x, weights, "row s, s t -> row t")
    return (y - predicted).square().sum(dim=1)


def _inner_products(
    x: Float64[Tensor, "row d_source"], y: Float64[Tensor, "row d_target"]
) -> Float64[Tensor, "d_source d_target"]:
    return einsum(x, y, "row s, row t -> s t")


def _principal_axes(
    rows: Float64[Tensor, "row d"],
) -> tuple[Float64[Tensor, " axis"], Float64[Tensor, "d axis"]]:
    """Return the principal axes of rows, and the squared length of the rows along each axis.

    Axes along which the rows do not vary are left out.

    Raises:
        TransferError: for rows that are all alike.
    """
    values, axes = torch.linalg.eigh(_inner_products(rows, rows))
    if not values.max() > 0:
        raise TransferError(
            f"the activations of {len(rows)} rows are all alike, so no map can be fitted on them; "
            "give prompts that differ, and read at a layer that sees the difference"
        )
    seen = values > UNSEEN * values.max()
    return values[seen], axes[:, seen]
