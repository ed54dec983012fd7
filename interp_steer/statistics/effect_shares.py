"""Compute shares of an effect: how far an estimate lies on the way from a second one to a third."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import brentq

from interp_steer.errors import StatisticsError
from interp_steer.statistics.checks import Values
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.resampling import resampled_means


def share_between(value: Interval, start: Interval, end: Interval) -> Interval:
    """Return ``(value - start) / (end - start)``: 0 at ``start``, 1 at ``end``.

    A share ``r`` is in the interval when 0 is in the interval of ``value - (1 - r) start - r end``.
    The interval of that sum is Zou and Donner's (2008), by the method of variance estimates
    recovery: the distance from an estimate to an end of its interval stands for the error on that
    side. A share near 0 or 1 therefore keeps its asymmetric interval. This inversion is Newcombe's
    MOVER-R (2016); for errors that are equal on both sides it is Fieller's interval. The three
    estimates are taken as independent. Estimates from the same prompts agree more than independent
    ones, so the interval is too wide rather than too narrow.

    Args:
        value: an estimate, such as the share of answers that obey under an edit.
        start: another, such as the share that obeys without the instruction.
        end: a third, such as the share that obeys with the instruction; all intervals have one
            level.

    Raises:
        StatisticsError: when ``end`` may equal ``start``, so that the share is not defined.

    Example:
        >>> from interp_steer.statistics.intervals import wilson
        >>> str(share_between(wilson(12, 24), wilson(0, 24), wilson(24, 24)))
        '0.500 [0.290, 0.710]'
    """
    far = end.value - start.value
    if far < 0:
        return share_between(*(_negate(estimate) for estimate in (value, start, end)))
    if far <= math.hypot(start.high - start.value, end.value - end.low):
        raise StatisticsError(
            f"{start} and {end} may be the same, so a share of the way between them is not "
            "defined; report that, or measure more prompts"
        )
    share = (value.value - start.value) / far

    def gap(r: float, side: int) -> float:
        """Return the lower (-1) or upper (1) end of the interval of the sum."""
        parts = ((1.0, value), (r - 1, start), (-r, end))
        centre = sum(factor * part.value for factor, part in parts)
        reach = math.hypot(*(_reach(part, factor * side) for factor, part in parts))
        return centre + side * reach

    ends = []
    for side in (-1, 1):  # the sum falls as the share grows: its lower end is 0 below the share
        step = 1.0
        while gap(share + side * step, side) * gap(share, side) > 0:
            step *= 2
        end_of_share = brentq(gap, share, share + side * step, args=(side,), xtol=1e-9)
        ends.append(float(end_of_share))  # type: ignore[arg-type]
    n = min(part.n for part in (value, start, end))
    return Interval(share, min(ends[0], share), max(ends[1], share), n, "MOVER 95%")


def _negate(estimate: Interval) -> Interval:
    ends = (-estimate.value, -estimate.high, -estimate.low)
    return Interval(*ends, estimate.n, estimate.method)


def _reach(part: Interval, factor: float) -> float:
    """Return how far a multiple of an estimate reaches above itself."""
    return factor * (part.high - part.value if factor > 0 else part.low - part.value)


def mean_change(pairs: Sequence[tuple[Interval, Interval]]) -> Interval:
    """Return the mean change over several parts, from the intervals before and after.

    The interval is by the method of variance estimates recovery (MOVER, Zou and Donner 2008). The
    estimates are taken as independent. Estimates from the same questions agree more than
    independent ones, so the interval is too wide rather than too narrow.

    Args:
        pairs: the estimates before and after, for each part.
    """
    n = len(pairs)
    value = sum(after.value - before.value for before, after in pairs) / n
    down = sum((a.value - a.low) ** 2 + (b.high - b.value) ** 2 for b, a in pairs)
    up = sum((a.high - a.value) ** 2 + (b.value - b.low) ** 2 for b, a in pairs)
    return Interval(value, value - math.sqrt(down) / n, value + math.sqrt(up) / n, n, "MOVER 95%")


def ratio_of_means(
    numerator: Values, denominator: Values, *, seed: int = 0, draws: int = 1000
) -> Interval:
    """Return the ratio of two means over the same prompts, with a bootstrap over the prompts.

    Args:
        numerator: a number for each prompt, such as what an edit adds to a log-probability.
        denominator: another number for each prompt, in the same order.
        seed: of the resampling.
        draws: the number of resamples.

    Raises:
        StatisticsError: for an empty list, lists of different lengths, or a denominator that is not
            above 0 in 97.5 % of the resamples.

    Example:
        >>> str(ratio_of_means([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]))
        '0.500 [0.500, 0.500]'
    """
    if len(numerator) != len(denominator) or not len(numerator):
        raise StatisticsError(
            f"{len(numerator)} and {len(denominator)} numbers are not paired; give one of each for "
            "every prompt"
        )
    both = torch.tensor([list(numerator), list(denominator)], dtype=torch.float64).T
    means = resampled_means(both, draws, seed).numpy()
    if np.quantile(means[:, 1], 0.025) <= 0:
        raise StatisticsError(
            f"the mean of the denominator is {both[:, 1].mean():.3g} and may be zero, so a share "
            "of it is not defined; report that, or measure more prompts"
        )
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    value = float(both[:, 0].mean() / both[:, 1].mean())
    n = len(both)
    return Interval(value, min(float(low), value), max(float(high), value), n, "bootstrap 95%")
