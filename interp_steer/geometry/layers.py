"""What a vector is like at each layer: how many dimensions, how far the sides are apart, what the
head reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from einops import einsum, reduce
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import normalize
from transformer_lens.tools.analysis.projection_kernel import orthonormal_subspace

from interp_steer.errors import VectorError
from interp_steer.geometry.ranks import check_rows, effective_rank_of_gram
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.statistics.intervals import Interval, jackknife_interval, left_out
from interp_steer.vectors.steering_vector import SteeringVector

TOKENS_AT_ONCE = 16384
"""Rows of the unembedding that are read at a time."""


def cosine_between_layers(vector: SteeringVector) -> Float[Tensor, "layer layer"]:
    """``<u_k, u_l>`` for every two layers of one vector.

    Args:
        vector: at a component whose width does not change with the layer.

    Returns:
        A symmetric matrix with ones on its diagonal, in the order of ``vector.layers``.

    Raises:
        VectorError: when the vector is zero at a layer.

    Example:
        >>> cosine_between_layers(ist.fit(model, pairs))[4, 5]  # doctest: +SKIP
    """
    unit = vector.unit.double().flatten(1)
    return einsum(unit, unit, "a component, b component -> a b").float()


# ---------------------------------------------------------------------------- dimensions
@dataclass(frozen=True)
class Spread:
    """How the differences of single pairs lie about the vector that is their mean, at one layer."""

    effective_rank: Interval
    """Of the differences as they are: 1 when all of them point along one line."""
    scatter_rank: Interval
    """Of the differences less their mean: the dimensions of what single pairs add."""
    along_mean: Interval
    """``|mean d|^2 / mean |d|^2``, the share of their squared length that is the vector; ``1/n`` is
    what ``n`` differences of random sign would have."""
    relative_norm: Interval
    """``|mean d| / sqrt(mean |h'|^2)``: the vector in units of the residual stream's length."""


def spread(
    present: Float[Tensor, "row d"], absent: Float[Tensor, "row d"], *, level: float = 0.95
) -> Spread:
    """How nearly the differences ``d_i = h_i - h'_i`` of single pairs are one direction.

    Intervals are those of a jackknife over the pairs (Efron and Stein 1981), 32 groups of them at
    most being left out in turn: resampling with replacement would make ranks too low and lengths
    too large.

    Args:
        present: an activation per pair, with the property.
        absent: an activation per pair, without it, in the same order.
        level: confidence level, in (0, 1).

    Raises:
        VectorError: for sides of different shapes, fewer than three pairs, or differences that are
            all zero.

    Example:
        >>> spread(h, without).effective_rank.value  # doctest: +SKIP
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

    def rank(kept: Int[Tensor, " kept"]) -> float:
        return effective_rank_of_gram(gram[kept][:, kept])

    def scatter_rank(kept: Int[Tensor, " kept"]) -> float:
        inner = gram[kept][:, kept]
        across = inner.mean(dim=0, keepdim=True)
        return effective_rank_of_gram(inner - across - across.T + inner.mean())

    def along_mean(kept: Int[Tensor, " kept"]) -> float:
        inner = gram[kept][:, kept]
        return float(inner.mean() / inner.diagonal().mean())

    def relative_norm(kept: Int[Tensor, " kept"]) -> float:
        return float((gram[kept][:, kept].mean().clamp(min=0) / lengths[kept].mean()).sqrt())

    n = len(differences)
    return Spread(
        effective_rank=_jackknife(n, rank, level, 1.0, float(n)),
        scatter_rank=_jackknife(n, scatter_rank, level, 1.0, float(n)),
        along_mean=_jackknife(n, along_mean, level, 0.0, 1.0),
        relative_norm=_jackknife(n, relative_norm, level, 0.0, float("inf")),
    )


def _jackknife(
    n: int,
    statistic: Callable[[Int[Tensor, " kept"]], float],
    level: float,
    least: float,
    most: float,
) -> Interval:
    """A statistic of ``n`` examples with its jackknife interval, cut to where it can lie."""
    without = [statistic(torch.from_numpy(kept)) for kept in left_out(n)]
    return jackknife_interval(statistic(torch.arange(n)), without, n, (least, most), level)


# ---------------------------------------------------------------------------- two sides
@dataclass(frozen=True)
class Discrimination:
    """How well the projection on one direction tells prompts with a property from those without."""

    overlap: Interval
    """Area that the densities of the two sides share: 1 when they are the same, 0 apart."""
    auroc: Interval
    """Chance that a prompt with the property projects further than one without; half for ties."""
    d_prime: Interval
    """Distance of the means in units of the root mean square of the two standard deviations."""


def discrimination(
    present: Float[Tensor, " pair"],
    absent: Float[Tensor, " pair"],
    *,
    seed: int = 0,
    level: float = 0.95,
    n_resamples: int = 1000,
) -> Discrimination:
    """Tell two sides apart by a projection of each pair, with a bootstrap over pairs::

        overlap = integral min(f, g)                     (Weitzman 1970)
        AUROC   = P(p > a) + P(p = a) / 2
        d'      = (mean p - mean a) / sqrt((var p + var a) / 2)

    ``f`` and ``g`` are kernel densities of one Gaussian bandwidth, Scott's for the spread within
    the sides. Project prompts that the direction was not fitted on: on those that it was, the sides
    lie too far apart.

    Args:
        present: the projections with the property, such as ``<h_i, u>``.
        absent: those without, in the same order of pairs.
        seed: of the resampling.
        level: confidence level, in (0, 1).
        n_resamples: how many resamples.

    Returns:
        Where a side does not vary, ``d'`` may be infinite or undefined.

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

    above = (p[:, None] > a).double() + 0.5 * (p[:, None] == a).double()
    auroc = einsum(times, above, times, "draw p, p a, draw a -> draw") / n**2
    (mean_p, var_p), (mean_a, var_a) = (_moments(times, side) for side in (p, a))
    d_prime = (mean_p - mean_a) / ((var_p + var_a) / 2).sqrt()
    return Discrimination(
        overlap=_percentiles(_overlap(p, a, times), level, n),
        auroc=_percentiles(auroc, level, n),
        d_prime=_percentiles(d_prime, level, n),
    )


def _moments(
    times: Float64[Tensor, "draw n"], values: Float64[Tensor, " n"]
) -> tuple[Float64[Tensor, " draw"], Float64[Tensor, " draw"]]:
    """Mean and unbiased variance of each resample."""
    n = len(values)
    centred = values - values.mean()  # or else the square of a large mean would cancel
    mean = einsum(times, centred, "draw n, n -> draw") / n
    square = einsum(times, centred**2, "draw n, n -> draw") / n
    return mean + values.mean(), (square - mean**2).clamp(min=0) * n / (n - 1)


def _overlap(
    p: Float64[Tensor, " n"], a: Float64[Tensor, " n"], times: Float64[Tensor, "draw n"]
) -> Float64[Tensor, " draw"]:
    within = float(((p.var() + a.var()) / 2).sqrt())
    if within == 0.0:  # neither side varies: they share everything or nothing
        return torch.full((len(times),), float(p[0] == a[0]), dtype=torch.float64)
    bandwidth = within * len(p) ** -0.2
    reach = 4 * bandwidth  # beyond it a kernel is nothing
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


def _percentiles(draws: Float64[Tensor, " draw"], level: float, n: int) -> Interval:
    """The first of the draws, with the percentiles of the others."""
    value, resamples = float(draws[0]), draws[1:].numpy()
    method = f"bootstrap percentile {100 * level:g}%"
    if not np.isfinite(value):
        return Interval(value, value, value, n, method)
    resamples = resamples[np.isfinite(resamples)]
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(float(low), value), max(float(high), value), n, method)


# ---------------------------------------------------------------------------- unembedding
def unembedding_angle(model: HookedLM, vector: SteeringVector, top: int = 10) -> pl.DataFrame:
    """How near a vector lies to what the head reads: the nearest rows of the unembedding.

    With ``w_t`` the unembedding of token ``t``, the largest ``|<u_l, w_t>| / |w_t|``, and the share
    ``|P u_l|^2`` of the unit direction that lies in the span of the ``top`` nearest rows. Rows are
    chosen to be near, so that a random direction has a share too: compare with
    ``vector.like_random(seed)``. As in :func:`interp_steer.geometry.cosines.vocabulary` the gains of the
    final norm are left out.

    Args:
        model: that the vector was fitted on.
        vector: at a component of the residual stream's width.
        top: how many rows span the space, at least one.

    Returns:
        Columns ``layer``, ``token`` (the nearest), ``cosine`` (signed) and ``share``.

    Raises:
        VectorError: for a vector of another model, one at ``z``, or more rows than the vocabulary
            or the residual stream has room for.
    """
    vector.check(model)
    if vector.card.component == "z":
        raise VectorError(
            f"{vector} lives in the heads, which write through the output projection; "
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
    for layer, direction, each in zip(vector.layers, unit, cosines, strict=True):
        nearest = each.abs().topk(top).indices
        basis = orthonormal_subspace(normalize(head[:, nearest].float(), dim=0)).basis
        inside = einsum(basis.float(), direction, "d k, d -> k")
        token = model.tokenizer.decode([int(nearest[0])])
        rows.append((layer, token, float(each[nearest[0]]), float((inside**2).sum())))
    return pl.DataFrame(rows, schema=["layer", "token", "cosine", "share"], orient="row")
