"""Compare two settings on the same prompts: McNemar's exact test, paired intervals, Holm's
correction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from interp_steer.errors import StatisticsError
from interp_steer.statistics.checks import Values, check_finite, check_paired, format_percent
from interp_steer.statistics.intervals import Interval, wilson


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test of two settings on the same prompts."""

    p_value: float
    """Two-sided; 1.0 when the settings disagree nowhere."""
    only_a: int
    """Prompts where the first setting succeeds and the second does not."""
    only_b: int
    """Prompts where the second setting succeeds and the first does not."""
    n: int
    """The number of pairs."""


def sign_evidence(wins: Any, losses: Any) -> Any:
    """Return the evidence that one setting beats another, which may be checked after every prompt.

    The evidence is an e-value: the likelihood of the wins and losses under a chance of a win that
    is uniform between a half and 1, divided by their likelihood under a chance of a half. If the
    first setting is not better than the second, the evidence ever reaches ``k`` with a probability
    of at most ``1 / k`` (Ville 1939; Robbins 1970).

    Args:
        wins: how many prompts only the first succeeds on; a number, or an array of them.
        losses: how many prompts only the second succeeds on, of the same shape.

    Returns:
        The evidence, of that shape.

    Example:
        >>> round(float(sign_evidence(10, 0)))
        186
    """
    wins, losses = np.asarray(wins), np.asarray(losses)
    above = special.betainc(losses + 1, wins + 1, 0.5)
    logarithm = (wins + losses + 1) * np.log(2) + special.betaln(wins + 1, losses + 1)
    return np.exp(logarithm) * above


def mcnemar(a: Values, b: Values) -> PairedTest:
    """Test whether two settings succeed equally often on the same prompts: McNemar's exact test.

    Under the null hypothesis each prompt on which the settings disagree is as likely to favour one
    as the other, so the p-value is that of a two-sided binomial test with probability 1/2.

    Args:
        a: outcome per prompt under the first setting.
        b: outcome per prompt under the second, in the same order.

    Returns:
        The test; it is symmetric in its arguments but for ``only_a`` and ``only_b``.

    Raises:
        StatisticsError: on empty or mismatched outcomes, or outcomes other than true and false.
    """
    first, second = check_paired(a, b)
    only_a = int((first & ~second).sum())
    only_b = int((~first & second).sum())
    discordant = only_a + only_b
    p_value = float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    return PairedTest(p_value, only_a, only_b, len(first))


def paired_difference(a: Values, b: Values, level: float = 0.95) -> Interval:
    """Return the difference of two shares on the same prompts, ``share(b) - share(a)``.

    The interval is Newcombe's (1998, method 10): the two Wilson intervals combined with the
    correlation of the outcomes. Inside [-1, 1], and sound for small n and shares near 0 or 1.

    Args:
        a: outcome per prompt under the first setting (the baseline).
        b: outcome per prompt under the second, in the same order.
        level: confidence level, in (0, 1).

    Returns:
        The difference, positive when the second setting succeeds more often.

    Raises:
        StatisticsError: on empty or mismatched outcomes, or outcomes other than true and false.
    """
    first, second = check_paired(a, b)
    n = len(first)
    of_a, of_b = wilson(int(first.sum()), n, level), wilson(int(second.sum()), n, level)
    correlation = _newcombe_phi(first, second)
    value = of_b.value - of_a.value
    below_b, above_b = of_b.value - of_b.low, of_b.high - of_b.value
    below_a, above_a = of_a.value - of_a.low, of_a.high - of_a.value
    reach_down = below_b**2 - 2 * correlation * below_b * above_a + above_a**2
    reach_up = above_b**2 - 2 * correlation * above_b * below_a + below_a**2
    low, high = value - math.sqrt(max(reach_down, 0.0)), value + math.sqrt(max(reach_up, 0.0))
    return Interval(
        value, max(low, -1.0), min(high, 1.0), n, f"newcombe paired {format_percent(level)}"
    )


def holm(p_values: Values) -> list[float]:
    """Correct the p-values of several tests by Holm's step-down method (Holm 1979).

    Args:
        p_values: the p-values of the tests of one family.

    Returns:
        Adjusted p-values in the order given: compare each with the family's level.

    Raises:
        StatisticsError: for an empty list, or a p-value outside [0, 1].
    """
    values = check_finite(p_values, "p_values")
    if values.min() < 0 or values.max() > 1:
        raise StatisticsError(f"p-values must lie in [0, 1], got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted.tolist()


def _newcombe_phi(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the correlation of paired outcomes, with Newcombe's continuity correction when
    positive."""
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_a, only_b = int((first & ~second).sum()), int((~first & second).sum())
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    cross = both * neither - only_a * only_b
    if cross > 0:
        cross = max(cross - n / 2, 0.0)
    return cross / math.sqrt(margins)
