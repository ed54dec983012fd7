"""What other pairs would have given: a vector's reliability, by resampling and by halves.

A difference in means over ``n`` pairs is the mean of their differences ``d_i = h_i - h'_i``. With
``mu`` the vector that infinitely many such pairs would give, and ``Sigma`` the covariance of the
differences of single pairs, it is ``v = mu + e``, the error ``e`` having the covariance
``Sigma / n``. Its **reliability** is the share of its squared length that is no error::

    rho_n = |mu|^2 / (|mu|^2 + tr(Sigma) / n)

Two vectors, of ``n`` pairs each that neither has seen of the other, have a cosine of about
``rho_n``; one of them has a cosine of about ``sqrt(rho_n)`` with ``mu``. "About" because a mean
cosine is read as a ratio of means, which is right where the error fills many dimensions, so that
its length hardly varies. Reliability grows with the number of pairs by the formula of Spearman and
Brown (1910), :func:`spearman_brown`.

Everything is computed from the ``d_i``, which one pass keeps (``capture(..., keep_rows=True)``,
:func:`interp_steer.capture.pair_differences.differences`). Draws are rows of weights over the pairs, all
multiplied at once, and rows wider than there are pairs of them are first turned into axes of their
own, which keeps every inner product: what is held is no larger than draws times pairs.

Pairs that share something, such as the phrasings of one query, are no independent pairs. Where
``groups`` names what each pair shares, whole groups are drawn, halved and swapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.capture.pair_differences import Groups, exact_rows, grouped
from interp_steer.errors import VectorError
from interp_steer.statistics.intervals import Interval, jackknife_interval, left_out
from interp_steer.statistics.resampling import draw_weights


@dataclass(frozen=True)
class BootstrapCosine:
    """How far a vector might lie from that of infinitely many pairs, by resampling its own."""

    resampled: Interval
    """Cosine of the vectors of resampled pairs with the vector itself. It flatters: the vector
    counts as free of error, and a vector that is nothing but error still has 0.71 here."""
    population: Interval
    """Cosine of the vector with that of infinitely many pairs; an end at 0 says that not even its
    sign is sure."""


def bootstrap_cosine(
    rows: Float[Tensor, "pair d"],
    *,
    groups: Groups = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> BootstrapCosine:
    """Cosine of a vector with that of infinitely many pairs, by a bootstrap of the pairs.

    The error ``e`` of the vector ``v = mu + e`` turns it as far as it lies across ``mu``::

        cos(v, mu)^2 = 1 - |e across mu|^2 / |v|^2

    The bootstrap has vectors ``v* = v + e*``, whose errors are drawn as that of ``v`` was. The
    cosine that is usually given, ``cos(v*, v)``, has ``v`` in the place of ``mu``, as if the length
    of ``v`` were all signal: with ``|v|^2 = |mu|^2 + |e|^2`` it is near ``1 / sqrt(1 + x)`` where
    ``cos(v, mu)`` is near ``sqrt(1 - x)``, ``x`` being ``|e|^2 / |v|^2``. The population cosine is
    taken by the formula above, with ``|e*|^2 n / (n - 1)`` for the length that is not known; its
    interval holds the middle of the draws. Which part of the error lies across ``mu`` is not known
    either, and all of it is counted: where pairs differ above all in how far they move along
    ``mu``, the cosine comes out too low.

    Args:
        rows: the differences of single pairs, see :func:`interp_steer.capture.pair_differences.differences`.
        groups: see the module.
        draws: how many resamples.
        seed: of the resampling.
        level: confidence level, in (0, 1).

    Raises:
        VectorError: for rows that are not finite or have no mean, groups that do not go with them,
            or fewer than four of them.

    Example:
        >>> noise = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
        >>> found = bootstrap_cosine(noise)
        >>> round(found.resampled.value, 1), found.population.low
        (0.7, 0.0)
    """
    exact, (group, n) = exact_rows(rows), grouped(len(rows), groups)
    weights = _means(draw_weights(n, draws, seed)[:, group])
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
        low, high = np.quantile(drawn.numpy(), [(1 - level) / 2, (1 + level) / 2]).tolist()
        method = f"bootstrap percentile {100 * level:g}%"
        return Interval(float(value), min(low, float(value)), max(high, float(value)), n, method)

    return BootstrapCosine(
        resampled=interval(resampled.mean(), resampled),
        population=interval((1 - lost.mean()).clamp(min=0).sqrt(), (1 - lost).clamp(min=0).sqrt()),
    )


@dataclass(frozen=True)
class SplitHalf:
    """How alike the vectors of two halves of the pairs are."""

    half: Interval
    """Mean cosine of the vectors of two halves, as measured."""
    whole: Interval
    """The reliability of the vector of all pairs: what two vectors of as many pairs would have.
    ``2 c / (1 + c)`` of the halves' (Spearman-Brown); 0 where those do not agree at all."""
    population: Interval
    """Its root: the cosine with the vector of infinitely many pairs."""


def split_half(
    rows: Float[Tensor, "pair d"],
    *,
    groups: Groups = None,
    splits: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> SplitHalf:
    """How alike the vectors of two random halves of the pairs are, in the mean over many splits.

    The step from half of the pairs to all of them is Spearman and Brown's, which assumes what the
    module says: pairs that are drawn independently and alike, so that the halves' errors have
    nothing in common, and errors in many dimensions. Intervals are those of a jackknife over pairs;
    how far the splits lie apart says nothing of other pairs.

    Args:
        rows: the differences of single pairs, see :func:`interp_steer.capture.pair_differences.differences`.
        groups: see the module.
        splits: how many random splits.
        seed: of the splits.
        level: confidence level, in (0, 1).

    Raises:
        VectorError: for rows that are not finite, groups that do not go with them, or fewer than
            four of them.

    Example:
        >>> same = torch.ones(8, 5)
        >>> split_half(same).whole.value
        1.0
    """
    exact, (group, n) = exact_rows(rows), grouped(len(rows), groups)
    whole, without = _halved(exact[None], group, n, splits, seed)
    half = jackknife_interval(float(whole), without[:, 0, 0].tolist(), n, (-1.0, 1.0), level)

    def stepped(root: float) -> Interval:
        def at(cosine: float) -> float:
            return spearman_brown(max(cosine, 0.0), n / (n // 2)) ** root

        return replace(half, value=at(half.value), low=at(half.low), high=at(half.high))

    return SplitHalf(half, stepped(1.0), stepped(0.5))


def spearman_brown(reliability: float, times: float | int) -> float:
    """The reliability of ``times`` as many pairs: ``k r / (1 + (k - 1) r)`` (Spearman, Brown 1910).

    Args:
        reliability: of some number of pairs, in [0, 1].
        times: how many times that number; below 1 for fewer.

    Raises:
        VectorError: for a reliability outside of [0, 1], or a number of times that is not positive.

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
    """How many pairs have a vector within a cosine of that of infinitely many, by Spearman-Brown.

    Args:
        reliability: of ``n`` pairs, in [0, 1].
        n: how many those are.
        cosine: that is wanted, in (0, 1).

    Returns:
        The number, not rounded; infinite where the reliability is 0.

    Raises:
        VectorError: for numbers outside of these ranges.

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
    """How alike the vectors of one property under several conditions are."""

    between: Interval
    """Mean cosine of the vectors of two conditions, each of another half of the pairs."""
    ceiling: Interval
    """What it would be if the conditions had the same vector: the root of the product of the
    cosines that the halves of either condition have."""
    ratio: Interval
    """The first over the second: the cosine of the conditions' vectors of infinitely many pairs
    (Spearman 1904, correction for attenuation). It may come out above 1 by chance."""


def agreement(
    rows: Float[Tensor, "condition pair d"],
    *,
    groups: Groups = None,
    splits: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """How alike one property's vectors are under conditions, such as phrasings or models.

    Two conditions that share their queries share the queries' error too, which makes their vectors
    more alike than they are. Here one condition is read from one half of the pairs and the other
    from the other half, in the mean over many splits, beside the halves of one condition.

    Args:
        rows: the differences of the same pairs under two conditions or more.
        groups: see the module; of the pairs.
        splits: how many random splits.
        seed: of the splits.
        level: confidence level, in (0, 1).

    Returns:
        Means over all couples of conditions. Where a condition's halves do not agree at all, the
        ceiling is 0 and the ratio undefined.

    Raises:
        VectorError: for a single condition, or as :func:`split_half`.
    """
    if len(rows) < 2:
        raise VectorError(f"{len(rows)} condition agrees with no other; give two or more")
    exact, (group, n) = exact_rows(rows), grouped(rows.shape[1], groups)
    whole, without = _halved(exact, group, n, splits, seed)
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)

    def numbers(cosines: Float64[Tensor, "*left condition condition"]) -> list[Tensor]:
        own = cosines.diagonal(dim1=-2, dim2=-1).clamp(min=0)
        between = cosines[..., first, second]
        ceiling = (own[..., first] * own[..., second]).sqrt()
        return [each.mean(dim=-1) for each in (between, ceiling, between / ceiling)]

    reach = ((-1.0, 1.0), (0.0, 1.0), (-np.inf, np.inf))
    return Agreement(
        *(
            jackknife_interval(float(value), each.tolist(), n, within, level)
            for value, each, within in zip(numbers(whole), numbers(without), reach, strict=True)
        )
    )


def _means(times: Float64[Tensor, "draw pair"]) -> Float64[Tensor, "draw pair"]:
    """How much each pair weighs in the mean of pairs that are drawn so often."""
    return times / times.sum(dim=1, keepdim=True)


def _halved(
    rows: Float64[Tensor, "condition pair d"],
    group: Int64[Tensor, " pair"],
    n: int,
    splits: int,
    seed: int,
) -> tuple[Float64[Tensor, "condition condition"], Float64[Tensor, "left condition condition"]]:
    """Cosines of conditions, each of another half; of all groups, and with some left out in turn.

    The same random order halves the groups whichever are left out, so that what differs is due to
    those alone.
    """
    if splits < 1:
        raise VectorError(f"{splits} splits make no halves; draw at least one")
    order = torch.from_numpy(np.random.default_rng([seed, n]).random((splits, n)))

    def cosines(kept: Int64[Tensor, " kept"]) -> Float64[Tensor, "condition condition"]:
        shuffled = kept[order[:, kept].argsort(dim=1)]
        size = len(kept) // 2
        units = []
        for half in (shuffled[:, :size], shuffled[:, size : 2 * size]):
            times = torch.zeros_like(order).scatter(1, half, 1.0)[:, group]
            each = einsum(_means(times), rows, "split pair, condition pair d -> split condition d")
            units.append(normalize(each, dim=-1))
        one, other = units
        found = einsum(one, other, "split a d, split b d -> a b") / splits
        return (found + found.T) / 2

    everything = cosines(torch.arange(n))
    return everything, torch.stack([cosines(torch.from_numpy(kept)) for kept in left_out(n)])
