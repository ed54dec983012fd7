"""Shares of an effect: differences and ratios of estimates, with intervals.

From the intervals of the parts, by the method of variance estimates recovery (MOVER; Zou and Donner
2008): the distance from an estimate to an end of its interval stands for its error on that side, so
that a share near 0 or 1 keeps the lopsided interval that it has. Parts are taken as independent;
where they are of the same prompts they agree more than that, and the interval is rather too wide
than too narrow. Where a number is known for each prompt, :func:`ratio_of_means` resamples prompts.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from interp_steer.statistics import Interval, StatisticsError, Values
from interp_steer.subspaces import resampled_means

METHOD = "MOVER 95%"


def difference(before: Interval, after: Interval) -> Interval:
    """``after - before``, with Zou and Donner's interval (2008).

    Args:
        before: an estimate.
        after: another, with an interval of the same level.

    Example:
        >>> before, after = Interval(0.2, 0.1, 0.3, 40, ""), Interval(0.7, 0.4, 0.8, 40, "")
        >>> str(difference(before, after))
        '0.500 [0.184, 0.641]'
    """
    value = after.value - before.value
    down = math.hypot(after.value - after.low, before.high - before.value)
    up = math.hypot(after.high - after.value, before.value - before.low)
    return Interval(value, value - down, value + up, min(before.n, after.n), METHOD)


def ratio(numerator: Interval, denominator: Interval) -> Interval:
    """``numerator / denominator``, with Newcombe's interval (2016, MOVER-R).

    A ratio ``r`` is in the interval when 0 is in that of ``numerator - r denominator``; Fieller's
    interval is the same of estimates whose errors are even on both sides.

    Args:
        numerator: an estimate of either sign.
        denominator: one whose interval lies above 0, of the same level.

    Raises:
        StatisticsError: for a denominator whose interval does not lie above 0: a share of what may
            be nothing is no number.

    Example:
        >>> str(ratio(Interval(0.5, 0.4, 0.6, 40, ""), Interval(1.0, 0.9, 1.0, 40, "")))
        '0.500 [0.400, 0.618]'
    """
    if not denominator.low > 0:
        raise StatisticsError(
            f"a share of {denominator} is no number, since that may be nothing; say so, or measure "
            "more prompts"
        )
    top, whole = numerator.value, denominator.value
    low = _lower_end(top, numerator.low, denominator)
    high = -_lower_end(-top, -numerator.high, denominator)
    n = min(numerator.n, denominator.n)
    return Interval(top / whole, low, high, n, METHOD)


def _lower_end(top: float, low: float, whole: Interval) -> float:
    """The lower end of ``top / whole``: the lesser root ``r`` of ``(top - r whole)^2 = (top -
    low)^2 + r^2 (whole - end)^2``, the end being that which the sign of the root takes."""
    end = whole.high if low >= 0 else whole.low
    constant, leading = low * (2 * top - low), end * (2 * whole.value - end)
    root = math.sqrt(max((top * whole.value) ** 2 - constant * leading, 0.0))
    if low >= 0:  # the same root, written so that a leading coefficient of 0 does no harm
        return constant / (top * whole.value + root) if constant else 0.0
    return (top * whole.value - root) / leading


def ratio_of_means(
    numerator: Values, denominator: Values, *, seed: int = 0, draws: int = 1000
) -> Interval:
    """A mean over another of the same prompts, with a bootstrap over the prompts.

    Args:
        numerator: a number for each prompt.
        denominator: another, in the same order.
        seed: of the resampling.
        draws: how many resamples.

    Raises:
        StatisticsError: for no prompts, lists of different lengths, or a denominator that is not
            above 0 in 97.5 % of the resamples.

    Example:
        >>> str(ratio_of_means([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]))
        '0.500 [0.500, 0.500]'
    """
    if len(numerator) != len(denominator) or not len(numerator):
        raise StatisticsError(
            f"{len(numerator)} and {len(denominator)} numbers have no ratio of means; give one of "
            "each for every prompt"
        )
    both = torch.tensor([list(numerator), list(denominator)], dtype=torch.float64).T
    means = resampled_means(both, draws, seed).numpy()
    if np.quantile(means[:, 1], 0.025) <= 0:
        raise StatisticsError(
            f"the mean of the denominator is {both[:, 1].mean():.3g} and may be nothing, so that a "
            "share of it is no number; say so, or measure more prompts"
        )
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    value = float(both[:, 0].mean() / both[:, 1].mean())
    n = len(both)
    return Interval(value, min(float(low), value), max(float(high), value), n, "bootstrap 95%")
