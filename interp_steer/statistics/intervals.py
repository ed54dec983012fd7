"""Compute intervals for the numbers that a run reports.

Shares have Wilson intervals, other means have a bootstrap, and statistics that a bootstrap would
shift have a jackknife. The distributions and resampling are scipy's. Every function refuses empty,
mismatched or non-finite input rather than return a plausible number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy import stats

from interp_steer.errors import StatisticsError
from interp_steer.statistics.checks import (
    Values,
    check_booleans,
    check_finite,
    check_level,
    check_same_length,
    format_percent,
)

Statistic = str | Callable[..., Any]
"""The statistic to bootstrap: "mean", "median", or a function of an array that takes ``axis``."""

Method = Literal["percentile", "basic", "BCa"]
"""How an interval is computed from the resamples."""

_METHODS = get_args(Method)


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Example:
        >>> str(wilson(77, 100))
        '0.770 [0.678, 0.842]'
    """

    value: float
    """The estimate."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    n: int
    """The number of independent observations: prompts, pairs, or clusters."""
    method: str
    """The method of the interval, such as ``"wilson 95%"``."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Interval:
        """Build an interval from a record with its value, low and high, and possibly n and
        method."""
        value, low, high = (record[end] for end in ("value", "low", "high"))
        return cls(value, low, high, record.get("n", 0), record.get("method", "95%"))

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return the Wilson score interval of a share (Wilson 1927), as `scipy` computes it.

    Args:
        successes: how many of the ``n`` succeeded.
        n: the number of trials.
        level: confidence level, in (0, 1).

    Returns:
        The share with its interval, always inside [0, 1].

    Raises:
        StatisticsError: for ``n`` of 0, or more successes than trials.
    """
    check_level(level)
    if n <= 0 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise StatisticsError(
            f"{successes} successes of {n} are not a share; counts must be 0 <= successes <= n"
        )
    bounds = stats.binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    value = successes / n
    # Rounding may leave a bound of an extreme share slightly on the wrong side of the share.
    low, high = min(float(bounds.low), value), max(float(bounds.high), value)
    return Interval(value, low, high, int(n), f"wilson {format_percent(level)}")


def share(outcomes: Values, level: float = 0.95) -> Interval:
    """Return the share of successes with its Wilson interval.

    Args:
        outcomes: one boolean per prompt.
        level: confidence level, in (0, 1).

    Returns:
        See `wilson`.

    Raises:
        StatisticsError: for an empty list, or outcomes other than true and false.
    """
    values = check_booleans(outcomes, "outcomes")
    return wilson(int(values.sum()), len(values), level)


def bootstrap(
    values: Values,
    statistic: Statistic = "mean",
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
    method: Method = "percentile",
) -> Interval:
    """Bootstrap interval of a statistic of independent values.

    Args:
        values: one number per prompt; for paired settings, their differences.
        statistic: ``"mean"``, ``"median"``, or a function that takes an array and ``axis``.
        level: confidence level, in (0, 1).
        seed: of the resampling; the same seed gives the same interval.
        n_resamples: how many resamples.
        method: ``"percentile"``, or ``"basic"`` or ``"BCa"`` (bias-corrected, accelerated).

    Returns:
        The statistic with its interval; of zero width when all values are equal.

    Raises:
        StatisticsError: on no value, a value that is not finite, or a statistic that is not; on an
            unknown statistic or method, or no resamples.
    """
    check_level(level)
    if method not in _METHODS or n_resamples < 1:
        raise StatisticsError(
            f"{n_resamples} resamples by method {method!r}; draw at least 1, by one of "
            f"{', '.join(_METHODS)}"
        )
    data = check_finite(values, "values")
    function = _get_statistic(statistic)
    value = float(function(data, axis=-1))
    label = f"bootstrap {method} {format_percent(level)}"
    if data.min() == data.max():  # every resample is the sample; BCa would divide by zero
        return Interval(value, value, value, len(data), label)
    bounds = stats.bootstrap(
        (data,),
        function,
        n_resamples=n_resamples,
        confidence_level=level,
        method=method,
        rng=np.random.default_rng(seed),
        vectorized=True,
        axis=-1,
    ).confidence_interval
    if not (math.isfinite(value) and math.isfinite(bounds.low) and math.isfinite(bounds.high)):
        raise StatisticsError(
            f"{statistic} of {len(data)} values has no finite {method} interval; "
            'use method="percentile" or more values'
        )
    return Interval(value, float(bounds.low), float(bounds.high), len(data), label)


def bootstrap_mean(
    values: Values,
    clusters: Values | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
) -> Interval:
    """Bootstrap a mean, resampling whole clusters where values come in clusters.

    Several completions of one query, or one query under several phrasings, are not independent:
    resampling them one by one gives an interval that is too narrow. With ``clusters`` the queries
    are resampled, and each query brings all its values. The interval is that of percentiles.

    Args:
        values: one number per completion; for paired settings, their differences.
        clusters: the query (any hashable label) of each value; ``None`` for independent values.
        level: confidence level, in (0, 1).
        seed: of the resampling.
        n_resamples: the number of resamples.

    Returns:
        The mean of all values; ``n`` counts clusters.

    Raises:
        StatisticsError: for an empty list, a value that is not finite, or clusters of another
            length.
    """
    if clusters is None:
        return bootstrap(values, "mean", level, seed, n_resamples)
    check_level(level)
    if n_resamples < 1:
        raise StatisticsError(f"{n_resamples} resamples make no interval; draw at least 1")
    data = check_finite(values, "values")
    check_same_length(data, clusters, "values", "clusters")
    labels: dict[Any, int] = {}
    index = np.array([labels.setdefault(label, len(labels)) for label in clusters])
    totals = np.bincount(index, weights=data)
    sizes = np.bincount(index)
    draws = np.random.default_rng(seed).integers(len(sizes), size=(n_resamples, len(sizes)))
    means = totals[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    method = f"bootstrap by cluster {format_percent(level)}"
    return Interval(float(data.mean()), float(low), float(high), len(sizes), method)


def jackknife_subsets(n: int, groups: int = 32) -> list[np.ndarray]:
    """Return the examples that stay when groups of ``n`` examples are left out in turn.

    Args:
        n: the number of examples.
        groups: the most groups; their sizes differ by at most one.

    Returns:
        For each group, the indices of all other examples, rising.

    Raises:
        StatisticsError: for fewer than two examples.
    """
    if n < 2:
        raise StatisticsError(f"a jackknife needs two examples or more, got {n}")
    groups = min(n, groups)
    return [np.flatnonzero(np.arange(n) % groups != group) for group in range(groups)]


def jackknife_interval(
    value: float,
    without: Values,
    n: int,
    within: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
) -> Interval:
    """Return an estimate with its delete-a-group jackknife interval (Efron and Stein 1981).

    For statistics that resampling with replacement would shift, such as ranks, lengths, and cosines
    of halves: an example that is drawn twice adds no information.

    Args:
        value: the statistic of all examples.
        without: the statistic without each group of :func:`jackknife_subsets` in turn.
        n: the number of examples.
        within: the range of the statistic; the interval is cut to it.
        level: confidence level, in (0, 1).

    Returns:
        The estimate; nan throughout where one of the statistics is not finite.

    Raises:
        StatisticsError: for a level outside (0, 1).
    """
    check_level(level)
    method = f"jackknife {format_percent(level)}"
    values = np.asarray(list(without), dtype=np.float64)
    if not (math.isfinite(value) and np.isfinite(values).all()):
        return Interval(math.nan, math.nan, math.nan, n, method)
    error = math.sqrt((len(values) - 1) * values.var())
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    low, high = max(within[0], value - half), min(within[1], value + half)
    return Interval(value, min(low, value), max(high, value), n, method)


def jackknife(
    statistic: Callable[[np.ndarray], float],
    n: int,
    within: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
) -> Interval:
    """Return a statistic of ``n`` examples with its delete-a-group jackknife interval.

    Args:
        statistic: computes the statistic of some examples from their indices.
        n: the number of examples.
        within: the range of the statistic; the interval is cut to it.
        level: confidence level, in (0, 1).

    Raises:
        StatisticsError: for fewer than two examples.
    """
    without = [statistic(subset) for subset in jackknife_subsets(n)]
    return jackknife_interval(statistic(np.arange(n)), without, n, within, level)


def leave_one_out_interval(value: float, without: Sequence[float]) -> Interval:
    """Return a share with a 95 % jackknife interval of normal errors, one example left out in turn.

    :func:`jackknife_interval` uses Student's distribution instead, which is wider for few examples.

    Args:
        value: the share of all examples, in [0, 1].
        without: the share without each example in turn, two or more.
    """
    mean = sum(without) / len(without)
    squares = sum((share - mean) ** 2 for share in without)
    reach = 1.96 * math.sqrt((len(without) - 1) / len(without) * squares)
    low, high = max(0.0, value - reach), min(1.0, value + reach)
    return Interval(value, low, high, len(without), "jackknife 95%")


def percentile_interval(value: float, draws: np.ndarray, n: int, level: float = 0.95) -> Interval:
    """Return an estimate with the percentiles of its bootstrap draws, which hold the estimate.

    Args:
        value: the estimate.
        draws: the estimate of each bootstrap draw.
        n: the number of examples.
        level: confidence level, in (0, 1).
    """
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    method = f"bootstrap percentile {format_percent(level)}"
    return Interval(value, min(low, value), max(high, value), n, method)


def _get_statistic(statistic: Statistic) -> Callable[..., Any]:
    if not isinstance(statistic, str):
        return statistic
    known: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}
    if statistic not in known:
        raise StatisticsError(
            f"unknown statistic {statistic!r}; pass {', '.join(known)}, or a function taking axis"
        )
    return known[statistic]
