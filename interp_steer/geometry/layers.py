"""Describe a vector at each layer: how its pairs' differences spread, how well it separates the two
sides, and how near it lies to what the head reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from einops import einsum, reduce
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize
from transformer_lens.tools.analysis.projection_kernel import orthonormal_subspace

from interp_steer.errors import VectorError
from interp_steer.geometry.ranks import check_rows, effective_rank_of_gram
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.statistics.checks import format_percent
from interp_steer.statistics.intervals import Interval, jackknife, percentile_interval
from interp_steer.statistics.separation import resampled_auroc
from interp_steer.vectors.steering_vector import SteeringVector

TOKENS_AT_ONCE = 16384
"""The rows of the unembedding that are read at a time."""


def cosine_between_layers(vector: SteeringVector) -> Float[Tensor, "layer layer"]:
    """Compute ``<u_k, u_l>`` for every two layers of one vector.

    Args:
        vector: at a component whose width does not change with the layer.

    Returns:
        A symmetric matrix with ones on its diagonal, in the order of ``vector.layers``.

    Raises:
        VectorError: when the vector is zero at a layer.

    Example:
        >>> cosine_between_layers(vector).shape
        torch.Size([8, 8])
    """
    unit = vector.unit.double().flatten(1)
    return einsum(unit, unit, "a component, b component -> a b").float()


# ---------------------------------------------------------------------------- dimensions
@dataclass(frozen=True)
class Spread:
    """The spread of the differences of single pairs about the vector that is their mean, at one
    layer."""

    effective_rank: Interval
    """The :func:`~interp_steer.geometry.ranks.effective_rank_of_variance` of the differences: 1
    when all of them point along one line."""
    scatter_rank: Interval
    """The same rank of the differences less their mean: the dimensions of what single pairs
    add."""
    along_mean: Interval
    """``|mean d|^2 / mean |d|^2``, the share of the differences' squared length that is the vector;
    ``n`` differences of random sign would have ``1/n``."""
    relative_norm: Interval
    """``|mean d| / sqrt(mean |h'|^2)``: the vector in units of the residual stream's length."""


def spread(
    present: Float[Tensor, "row d"], absent: Float[Tensor, "row d"], *, level: float = 0.95
) -> Spread:
    """Measure how nearly the differences ``d_i = h_i - h'_i`` of single pairs are one direction.

    Intervals are those of a jackknife over the pairs (Efron and Stein 1981), leaving out at most 32
    groups in turn. Resampling with replacement would make ranks too low and lengths too large.

    Args:
        present: an activation per pair, with the property.
        absent: an activation per pair, without it, in the same order.
        level: confidence level, in (0, 1).

    Raises:
        VectorError: for sides of different shapes, fewer than three pairs, or differences that are
            all zero.

    Example:
        >>> present, absent = torch.ones(5, 3), torch.zeros(5, 3)
        >>> round(spread(present, absent).effective_rank.value, 6)
        1.0
    """
    if present.shape != absent.shape or len(present) < 3:
        raise VectorError(
            f"the sides have shapes {tuple(present.shape)} and {tuple(absent.shape)}; give the "
            "same pairs on both, three or more"
        )
    differences = present.double() - absent.double()
    check_rows(differences)
    gram = einsum(differences, differences, "a d, b d -> a b")
    lengths = reduce(absent.double() ** 2, "row d -> row", "sum")

    def rank(pairs: np.ndarray) -> float:
        return effective_rank_of_gram(gram[pairs][:, pairs])

    def scatter_rank(pairs: np.ndarray) -> float:
        inner = gram[pairs][:, pairs]
        across = inner.mean(dim=0, keepdim=True)
        return effective_rank_of_gram(inner - across - across.T + inner.mean())

    def along_mean(pairs: np.ndarray) -> float:
        inner = gram[pairs][:, pairs]
        return float(inner.mean() / inner.diagonal().mean())

    def relative_norm(pairs: np.ndarray) -> float:
        return float((gram[pairs][:, pairs].mean().clamp(min=0) / lengths[pairs].mean()).sqrt())

    n = len(differences)
    return Spread(
        effective_rank=jackknife(rank, n, (1.0, float(n)), level),
        scatter_rank=jackknife(scatter_rank, n, (1.0, float(n)), level),
        along_mean=jackknife(along_mean, n, (0.0, 1.0), level),
        relative_norm=jackknife(relative_norm, n, (0.0, float("inf")), level),
    )


# ---------------------------------------------------------------------------- two sides
@dataclass(frozen=True)
class Discrimination:
    """The separation of prompts with a property from others by the projection on one direction."""

    overlap: Interval
    """The area that the densities of the two sides share: 1 for equal densities, 0 for disjoint
    ones."""
    auroc: Interval
    """The probability that a prompt with the property projects further than one without; ties count
    half."""
    d_prime: Interval
    """The distance of the means in units of the root mean square of the two standard deviations."""


def discrimination(
    present: Float[Tensor, " pair"],
    absent: Float[Tensor, " pair"],
    *,
    seed: int = 0,
    level: float = 0.95,
    n_resamples: int = 1000,
) -> Discrimination:
    """Measure how well a projection separates two sides, with a bootstrap over pairs::

        overlap = integral min(f, g)                     (Weitzman 1970)
        AUROC   = P(p > a) + P(p = a) / 2
        d'      = (mean p - mean a) / sqrt((var p + var a) / 2)

    ``f`` and ``g`` are kernel densities of one Gaussian bandwidth, Scott's for the spread within
    the sides. Project prompts that the direction was not fitted on: the sides of fitted prompts lie
    too far apart.

    Args:
        present: the projections with the property, such as ``<h_i, u>``.
        absent: the projections without the property, in the same order of pairs.
        seed: of the resampling.
        level: confidence level, in (0, 1).
        n_resamples: the number of resamples.

    Returns:
        The three measures. Where a side does not vary, ``d'`` may be infinite or undefined.

    Raises:
        VectorError: for sides of different lengths, or fewer than two pairs.

    Example:
        >>> far = discrimination(torch.randn(40) + 50, torch.randn(40))
        >>> far.auroc.value, round(far.overlap.value, 6)
        (1.0, 0.0)
    """
    if len(present) != len(absent) or len(present) < 2:
        raise VectorError(
            f"{len(present)} projections with the property and {len(absent)} without; give both "
            "sides of the same pairs, two or more"
        )
    p, a = present.double(), absent.double()
    n = len(p)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    # The first row is the sample itself; a resample is how often it holds each pair.
    times = torch.from_numpy(np.concatenate([np.ones((1, n)), draws]))

    (mean_p, var_p), (mean_a, var_a) = (_moments(times, side) for side in (p, a))
    d_prime = (mean_p - mean_a) / ((var_p + var_a) / 2).sqrt()
    return Discrimination(
        overlap=_percentile_interval(_overlap(p, a, times), level, n),
        auroc=_percentile_interval(resampled_auroc(p, a, times), level, n),
        d_prime=_percentile_interval(d_prime, level, n),
    )


def _moments(
    times: Float64[Tensor, "draw n"], values: Float64[Tensor, " n"]
) -> tuple[Float64[Tensor, " draw"], Float64[Tensor, " draw"]]:
    """Compute mean and unbiased variance of each resample."""
    n = len(values)
    centred = values - values.mean()  # avoids cancellation of the square of a large mean
    mean = einsum(times, centred, "draw n, n -> draw") / n
    square = einsum(times, centred**2, "draw n, n -> draw") / n
    return mean + values.mean(), (square - mean**2).clamp(min=0) * n / (n - 1)


def _overlap(
    p: Float64[Tensor, " n"], a: Float64[Tensor, " n"], times: Float64[Tensor, "draw n"]
) -> Float64[Tensor, " draw"]:
    within = float(((p.var() + a.var()) / 2).sqrt())
    if within == 0.0:  # neither side varies: the densities are equal or disjoint
        return torch.full((len(times),), float(p[0] == a[0]), dtype=torch.float64)
    bandwidth = within * len(p) ** -0.2
    reach = 4 * bandwidth  # a kernel is negligible beyond
    if max(p.min() - a.max(), a.min() - p.max()) > 2 * reach:
        return torch.zeros(len(times), dtype=torch.float64)
    both = torch.cat([p, a])
    at = torch.arange(float(both.min() - reach), float(both.max() + reach), bandwidth / 4).double()
    densities = []
    for side in (p, a):
        kernel = torch.exp(-0.5 * ((at[:, None] - side) / bandwidth) ** 2)
        density = einsum(kernel, times, "point n, draw n -> draw point")
        densities.append(density / density.sum(dim=1, keepdim=True))
    return torch.minimum(*densities).sum(dim=1)


def _percentile_interval(draws: Float64[Tensor, " draw"], level: float, n: int) -> Interval:
    """Return the first of the draws, with the percentiles of the finite ones among the others."""
    value, resamples = float(draws[0]), draws[1:].numpy()
    if not np.isfinite(value):
        return Interval(value, value, value, n, f"bootstrap percentile {format_percent(level)}")
    return percentile_interval(value, resamples[np.isfinite(resamples)], n, level)


# ---------------------------------------------------------------------------- unembedding
def unembedding_angle(model: HookedLM, vector: SteeringVector, top: int = 10) -> pl.DataFrame:
    """Measure how near a vector lies to the nearest rows of the unembedding.

    With ``w_t`` the unembedding of token ``t``: the largest ``|<u_l, w_t>| / |w_t|``, and the share
    ``|P u_l|^2`` of the unit direction that lies in the span of the ``top`` nearest rows. The rows
    are chosen for their nearness, so a random direction has a share too: compare with
    ``vector.like_random(seed)``. As in :func:`interp_steer.geometry.cosines.vocabulary`, the gains
    of the final norm are left out.

    Args:
        model: the model that the vector was fitted on.
        vector: a vector at a component of the residual stream's width.
        top: the number of rows that span the space, at least one.

    Returns:
        Columns ``layer``, ``token`` (the nearest), ``cosine`` (signed) and ``share``.

    Raises:
        VectorError: for a vector of another model, a vector at ``z``, or more rows than the
            vocabulary or the width of the residual stream.
    """
    vector.check(model)
    if vector.card.component == "z":
        raise VectorError(
            f"{vector} is in the space of the heads, which write through the output projection; "
            "fit one at resid_post, attn_out or mlp_out"
        )
    head = model.bridge.W_U.detach()
    if not 1 <= top <= min(head.shape):
        raise VectorError(
            f"top is {top}; the unembedding of {model.describe()} has {head.shape[1]} rows of "
            f"width {head.shape[0]}: give a number from 1 to {min(head.shape)}"
        )
    unit = vector.unit.float().to(head.device)
    cosines = torch.cat(
        [
            einsum(unit, normalize(part.float(), dim=0), "layer d, d token -> layer token")
            for part in head.split(TOKENS_AT_ONCE, dim=1)
        ],
        dim=1,
    )
    rows = []
    for layer, direction, of_layer in zip(vector.layers, unit, cosines, strict=True):
        nearest = of_layer.abs().topk(top).indices
        basis = orthonormal_subspace(normalize(head[:, nearest].float(), dim=0)).basis
        inside = einsum(basis.float(), direction, "d k, d -> k")
        token = model.tokenizer.decode([int(nearest[0])])
        rows.append((layer, token, float(of_layer[nearest[0]]), float((inside**2).sum())))
    return pl.DataFrame(rows, schema=["layer", "token", "cosine", "share"], orient="row")
