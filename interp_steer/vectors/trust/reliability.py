"""Estimate the reliability of a vector, by resampling pairs and by comparing halves of them.

A difference in means over ``n`` pairs is the mean of their differences ``d_i = h_i - h'_i``. With
``mu`` the vector that infinitely many such pairs would give, and ``Sigma`` the covariance of the
differences of single pairs, the difference in means is ``v = mu + e``, with an error ``e`` of
covariance ``Sigma / n``. The **reliability** of ``v`` is the share of its squared length that is
not error::

    rho_n = |mu|^2 / (|mu|^2 + tr(Sigma) / n)

Two vectors of ``n`` independent pairs each have a cosine of about ``rho_n``, and either has a
cosine of about ``sqrt(rho_n)`` with ``mu``. These are approximations, because a mean cosine is
taken as a ratio of means; they are good when the error fills many dimensions, so that its length
hardly varies. Reliability grows with the number of pairs by the formula of Spearman and Brown
(1910), :func:`spearman_brown`.

Everything is computed from the ``d_i``, which one pass with ``keep_rows=True`` keeps (see
:func:`interp_steer.capture.pair_differences.differences`). Draws are rows of weights over the
pairs, all multiplied at once. Rows that are wider than their number are first turned into new axes,
which keeps every inner product, so memory grows with draws times pairs.

Pairs that share something, such as the phrasings of one query, are not independent. Where
``groups`` gives a label to each pair, whole groups are drawn, halved and swapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.capture.pair_differences import Groups, exact_rows, number_groups
from interp_steer.errors import VectorError
from interp_steer.statistics.intervals import (
    Interval,
    jackknife_interval,
    jackknife_subsets,
    percentile_interval,
)
from interp_steer.statistics.resampling import draw_weights


@dataclass(frozen=True)
class BootstrapCosine:
    """The cosine of a vector with the vector of infinitely many pairs, by resampling its pairs."""

    resampled: Interval
    """The cosine of the vectors of resampled pairs with the vector. This number is too optimistic:
    it treats the vector as free of error, and a vector of pure error still has 0.71 here."""
    population: Interval
    """The cosine of the vector with the vector of infinitely many pairs. A lower end of 0 says that
    not even the sign of the vector is certain."""


def bootstrap_cosine(
    rows: Float[Tensor, "pair d"],
    *,
    groups: Groups = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> BootstrapCosine:
    """Estimate the cosine of a vector with that of infinitely many pairs, by a bootstrap of the
    pairs.

    The error ``e`` of the vector ``v = mu + e`` turns the vector by the part of ``e`` across
    ``mu``::

        cos(v, mu)^2 = 1 - |e across mu|^2 / |v|^2

    The bootstrap has vectors ``v* = v + e*``, whose errors are drawn like the error of ``v``. The
    usual bootstrap cosine, ``cos(v*, v)``, puts ``v`` in the place of ``mu``, as if the length of
    ``v`` were all signal: with ``|v|^2 = |mu|^2 + |e|^2`` and ``x = |e|^2 / |v|^2``, it is near ``1
    / sqrt(1 + x)`` where ``cos(v, mu)`` is near ``sqrt(1 - x)``. The population cosine uses the
    formula above, with ``|e*|^2 n / (n - 1)`` in place of the unknown length; its interval holds
    the middle of the draws. The part of the error across ``mu`` is unknown too, so all of the error
    is counted: where pairs differ mainly in how far they move along ``mu``, the cosine is too low.

    Args:
        rows: the differences of single pairs, see
            :func:`interp_steer.capture.pair_differences.differences`.
        groups: a label for each pair; see the module.
        draws: the number of resamples.
        seed: of the resampling.
        level: confidence level, in (0, 1).

    Raises:
        VectorError: for rows that are not finite or have the mean zero, groups that do not go with
            them, or fewer than four groups.

    Example:
        >>> noise = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
        >>> cosine = bootstrap_cosine(noise)
        >>> round(cosine.resampled.value, 1), cosine.population.low
        (0.7, 0.0)
    """
    exact, (group, n) = exact_rows(rows), number_groups(len(rows), groups)
    weights = _normalise_weights(draw_weights(n, draws, seed)[:, group])
    vector = exact.mean(dim=0)
    length = vector.norm()
    if not length:
        raise VectorError(
            f"{len(exact)} differences have the mean zero, which has no direction; give other pairs"
        )
    moved = einsum(weights, exact, "draw pair, pair d -> draw d") - vector
    error = einsum(moved, moved, "draw d, draw d -> draw")
    along = einsum(moved, vector, "draw d, d -> draw") / length
    resampled = (length + along) / (length**2 + 2 * length * along + error).sqrt()
    lost = error / length**2 * (n / (n - 1))

    def interval(value: Tensor, drawn: Float64[Tensor, " draw"]) -> Interval:
        return percentile_interval(float(value), drawn.numpy(), n, level)

    return BootstrapCosine(
        resampled=interval(resampled.mean(), resampled),
        population=interval((1 - lost.mean()).clamp(min=0).sqrt(), (1 - lost).clamp(min=0).sqrt()),
    )


@dataclass(frozen=True)
class SplitHalf:
    """The cosine of the vectors of two halves of the pairs, and the reliability that follows."""

    half: Interval
    """The mean cosine of the vectors of two halves, as measured."""
    whole: Interval
    """The reliability of the vector of all pairs: the expected cosine of two vectors of as many
    pairs. It is ``2 c / (1 + c)`` of the halves' cosine ``c`` (Spearman-Brown), and 0 for ``c``
    below 0."""
    population: Interval
    """The root of the reliability: the cosine with the vector of infinitely many pairs."""


def split_half(
    rows: Float[Tensor, "pair d"],
    *,
    groups: Groups = None,
    splits: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> SplitHalf:
    """Compare the vectors of two random halves of the pairs, in the mean over many splits.

    The extrapolation from half of the pairs to all of them is Spearman and Brown's. It assumes
    pairs that are drawn independently from one distribution, so that the halves' errors are
    independent, and errors in many dimensions. Intervals are those of a jackknife over pairs; the
    spread over splits says nothing about other pairs.

    Args:
        rows: the differences of single pairs, see
            :func:`interp_steer.capture.pair_differences.differences`.
        groups: a label for each pair; see the module.
        splits: the number of random splits.
        seed: of the splits.
        level: confidence level, in (0, 1).

    Raises:
        VectorError: for rows that are not finite, groups that do not go with them, or fewer than
            four groups.

    Example:
        >>> same = torch.ones(8, 5)
        >>> round(split_half(same).whole.value, 6)
        1.0
    """
    exact, (group, n) = exact_rows(rows), number_groups(len(rows), groups)
    whole, without = _compare_halves(exact[None], group, n, splits, seed)
    half = jackknife_interval(float(whole), without[:, 0, 0].tolist(), n, (-1.0, 1.0), level)

    def stepped(root: float) -> Interval:
        def at(cosine: float) -> float:
            return spearman_brown(max(cosine, 0.0), n / (n // 2)) ** root

        return replace(half, value=at(half.value), low=at(half.low), high=at(half.high))

    return SplitHalf(half, stepped(1.0), stepped(0.5))


def spearman_brown(reliability: float, times: float | int) -> float:
    """Return the reliability of ``times`` as many pairs (Spearman, Brown 1910).

    With ``r`` the reliability and ``k`` the number of times, it is ``k r / (1 + (k - 1) r)``.

    Args:
        reliability: of some number of pairs, in [0, 1].
        times: the factor on that number; below 1 for fewer pairs.

    Raises:
        VectorError: for a reliability outside [0, 1], or a factor that is not positive.

    Example:
        >>> spearman_brown(0.5, 3)
        0.75
    """
    if not 0 <= reliability <= 1 + 1e-9 or times <= 0:
        raise VectorError(
            f"a reliability of {reliability} at {times} times as many pairs; give one from 0 to 1, "
            "and a positive number"
        )
    return times * reliability / (1 + (times - 1) * reliability)


def pairs_needed(reliability: float, n: int, cosine: float = 0.9) -> float:
    """Return how many pairs give a vector within a cosine of that of infinitely many
    (Spearman-Brown).

    Args:
        reliability: of ``n`` pairs, in [0, 1].
        n: the number of those pairs.
        cosine: the cosine to reach, in (0, 1).

    Returns:
        The number of pairs, not rounded; infinite for a reliability of 0.

    Raises:
        VectorError: for numbers outside these ranges.

    Example:
        >>> pairs_needed(0.81, 20)
        20.0
    """
    if not (0 <= reliability <= 1 and n > 0 and 0 < cosine < 1):
        raise VectorError(
            f"a reliability of {reliability} of {n} pairs and a cosine of {cosine}: give one from "
            "0 to 1, a positive number, and a cosine between 0 and 1"
        )
    if reliability == 0:
        return float("inf")
    wanted = cosine**2
    return round(n * wanted / (1 - wanted) * (1 - reliability) / reliability, 9)


@dataclass(frozen=True)
class Agreement:
    """The cosine of the vectors of one property under several conditions."""

    between: Interval
    """The mean cosine of the vectors of two conditions, each computed from a different half of the
    pairs."""
    ceiling: Interval
    """The expected cosine if the conditions had the same vector: the root of the product of the two
    conditions' cosines between halves."""
    ratio: Interval
    """The first number over the second: the cosine of the conditions' vectors of infinitely many
    pairs (Spearman 1904, correction for attenuation). It may exceed 1 by chance."""


def agreement(
    rows: Float[Tensor, "condition pair d"],
    *,
    groups: Groups = None,
    splits: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Compare one property's vectors under several conditions, such as phrasings or models.

    Two conditions that share their queries also share the queries' error, which inflates the cosine
    of their vectors. Therefore one condition is read from one half of the pairs and the other
    condition from the other half, in the mean over many splits. The halves of one condition are
    compared too.

    Args:
        rows: the differences of the same pairs under two conditions or more.
        groups: a label for each pair; see the module.
        splits: the number of random splits.
        seed: of the splits.
        level: confidence level, in (0, 1).

    Returns:
        Means over all couples of conditions. For a condition whose halves do not agree at all, the
        ceiling is 0 and the ratio is undefined.

    Raises:
        VectorError: for a single condition, or as :func:`split_half`.
    """
    if len(rows) < 2:
        raise VectorError(f"{len(rows)} condition cannot be compared with others; give two or more")
    exact, (group, n) = exact_rows(rows), number_groups(rows.shape[1], groups)
    whole, without = _compare_halves(exact, group, n, splits, seed)
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)

    def numbers(cosines: Float64[Tensor, "*left condition condition"]) -> list[Tensor]:
        own = cosines.diagonal(dim1=-2, dim2=-1).clamp(min=0)
        between = cosines[..., first, second]
        ceiling = (own[..., first] * own[..., second]).sqrt()
        return [values.mean(dim=-1) for values in (between, ceiling, between / ceiling)]

    reach = ((-1.0, 1.0), (0.0, 1.0), (-np.inf, np.inf))
    return Agreement(
        *(
            jackknife_interval(float(value), without_group.tolist(), n, within, level)
            for value, without_group, within in zip(
                numbers(whole), numbers(without), reach, strict=True
            )
        )
    )


def _normalise_weights(times: Float64[Tensor, "draw pair"]) -> Float64[Tensor, "draw pair"]:
    """Return the weight of each pair in the mean of pairs that are drawn so many times."""
    return times / times.sum(dim=1, keepdim=True)


def _compare_halves(
    rows: Float64[Tensor, "condition pair d"],
    group: Int64[Tensor, " pair"],
    n: int,
    splits: int,
    seed: int,
) -> tuple[Float64[Tensor, "condition condition"], Float64[Tensor, "left condition condition"]]:
    """Compute cosines of conditions, each from a different half: of all groups, and without some.

    The same random order halves the groups whichever groups are left out, so differences between
    the results are due to the groups that were left out.
    """
    if splits < 1:
        raise VectorError(f"{splits} splits are too few; draw at least one")
    order = torch.from_numpy(np.random.default_rng([seed, n]).random((splits, n)))

    def cosines(groups: Int64[Tensor, " some"]) -> Float64[Tensor, "condition condition"]:
        shuffled = groups[order[:, groups].argsort(dim=1)]
        size = len(groups) // 2
        units = []
        for half in (shuffled[:, :size], shuffled[:, size : 2 * size]):
            times = torch.zeros_like(order).scatter(1, half, 1.0)[:, group]
            weights = _normalise_weights(times)
            vectors = einsum(weights, rows, "split pair, condition pair d -> split condition d")
            units.append(normalize(vectors, dim=-1))
        first, second = units
        mean = einsum(first, second, "split a d, split b d -> a b") / splits
        return (mean + mean.T) / 2

    everything = cosines(torch.arange(n))
    return everything, torch.stack(
        [cosines(torch.from_numpy(kept)) for kept in jackknife_subsets(n)]
    )
