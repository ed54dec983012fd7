"""The smallest number of examples from which on an estimate is certain."""

from __future__ import annotations

from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.sample_size import find_stable_size


def _points(**lows: float) -> dict[int, Interval]:
    return {int(n[1:]): Interval(low + 0.01, low, low + 0.02, 0, "") for n, low in lows.items()}


def test_a_number_counts_only_if_all_larger_ones_do() -> None:
    points = _points(n2=0.3, n5=0.95, n10=0.7, n20=0.93, n40=0.97)
    assert find_stable_size(points) == 20
    assert find_stable_size(points, 0.6) == 5
    assert find_stable_size(points, 0.96) == 40


def test_without_such_a_number_there_is_none() -> None:
    assert find_stable_size(_points(n2=0.3, n5=0.95, n10=0.9)) is None
