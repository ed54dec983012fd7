"""Shares of an effect: how far of the way from one estimate to another a third one is."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import brentq

from interp_steer.errors import StatisticsError
from interp_steer.statistics.checks import Values
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.resampling import resampled_means


def share_between(value: Interval, start: Interval, end: Interval) -> Interval:
    """``(value - start) / (end - start)``: 0 at ``start``, 1 at ``end``, and beyond either.

    A share ``r`` is in the interval when 0 is in that of ``value - (1 - r) start - r end``. The
    interval of a sum is Zou and Donner's (2008), by the method of variance estimates recovery: the
    distance from an estimate to an end of its interval stands for its error on that side, so that a
    share near 0 or 1 keeps the lopsided interval that it has. Inverting it so is Newcombe's MOVER-R
    (2016); of errors that are even on both sides it is Fieller's interval. The three estimates are
    taken as independent; of the same prompts they agree more than that, and the interval is rather
    too wide than too narrow.

    Args:
        value: an estimate, such as the share of answers that obey under an edit.
        start: another, such as the share that obeys without the instruction.
        end: a third, such as the share that obeys with it; the intervals are of one level.

    Raises:
        StatisticsError: when ``end`` may be ``start``: a share of what may be nothing is no number.

    Example:
        >>> from interp_steer.statistics.intervals import wilson
        >>> str(share_between(wilson(12, 24), wilson(0, 24), wilson(24, 24)))
        '0.500 [0.290, 0.710]'
    """
    far = end.value - start.value
    if far < 0:
        return share_between(*(_negative(one) for one in (value, start, end)))
    if far <= math.hypot(start.high - start.value, end.value - end.low):
        raise StatisticsError(
            f"{start} and {end} may be the same, so that a share of the way between them is no "
            "number; say so, or measure more prompts"
        )
    share = (value.value - start.value) / far

    def gap(r: float, side: int) -> float:
        """The lower (-1) or upper (1) end of the interval of the sum."""
        parts = ((1.0, value), (r - 1, start), (-r, end))
        centre = sum(factor * part.value for factor, part in parts)
        reach = math.hypot(*(_reach(part, factor * side) for factor, part in parts))
        return centre + side * reach

    ends = []
    for side in (-1, 1):  # the sum falls as the share grows: its lower end is 0 below the share
        step = 1.0
        while gap(share + side * step, side) * gap(share, side) > 0:
            step *= 2
        found = brentq(gap, share, share + side * step, args=(side,), xtol=1e-9)
        ends.append(float(found))  # type: ignore[arg-type]
    n = min(part.n for part in (value, start, end))
    return Interval(share, min(ends[0], share), max(ends[1], share), n, "MOVER 95%")


def _negative(one: Interval) -> Interval:
    return Interval(-one.value, -one.high, -one.low, one.n, one.method)


def _reach(part: Interval, factor: float) -> float:
    """How far a multiple of an estimate reaches above itself."""
    return factor * (part.high - part.value if factor > 0 else part.low - part.value)


def ratio_of_means(
    numerator: Values, denominator: Values, *, seed: int = 0, draws: int = 1000
) -> Interval:
    """A mean over another of the same prompts, with a bootstrap over the prompts.

    Args:
        numerator: a number for each prompt, such as what an edit adds to a log-probability.
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
