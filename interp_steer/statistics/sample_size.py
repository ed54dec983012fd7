"""Find how many examples an estimate needs until the estimate is certain."""

from __future__ import annotations

from collections.abc import Mapping

from interp_steer.statistics.intervals import Interval

STABLE_COSINE = 0.9
"""Cosine above which a vector of some examples counts as the same as the vector of all examples."""


def find_stable_size(
    points: Mapping[int, Interval], threshold: float = STABLE_COSINE
) -> int | None:
    """Find the smallest number of examples from which on every interval is above a threshold.

    Args:
        points: the interval of the estimate by the number of examples.
        threshold: the lower end of the interval must be above this value.

    Returns:
        The number of examples; None when the interval of the largest number is not above the
        threshold.
    """
    return next(
        (n for n in points if all(i.low > threshold for m, i in points.items() if m >= n)), None
    )
