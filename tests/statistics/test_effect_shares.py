"""Shares of an effect: ends that solve their equations, coverage, and what is no share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.errors import StatisticsError
from interp_steer.statistics.effect_shares import ratio_of_means, share_between
from interp_steer.statistics.intervals import Interval, wilson

finite = st.floats(-3, 3)
error = st.floats(0.01, 0.4)


def estimate(value: float, down: float, up: float) -> Interval:
    return Interval(value, value - down, value + up, 20, "")


def summed(parts: list[tuple[float, Interval]], side: int) -> float:
    """An end of Zou and Donner's interval of a weighted sum, written out."""
    total, squares = 0.0, 0.0
    for factor, part in parts:
        total += factor * part.value
        upwards = (factor > 0) == (side > 0)
        squares += (factor * ((part.high if upwards else part.low) - part.value)) ** 2
    return total + side * squares**0.5


@given(finite, error, error, finite, error, error, st.floats(1, 3), error, error)
@settings(deadline=None)
def test_at_the_ends_of_a_share_the_sum_may_just_be_nothing(v, vd, vu, s, sd, su, far, ed, eu):
    value, start, end = estimate(v, vd, vu), estimate(s, sd, su), estimate(s + far, ed, eu)
    found = share_between(value, start, end)
    assert found.value == pytest.approx((v - s) / far)
    for r, side in ((found.low, -1), (found.high, 1)):
        parts = [(1.0, value), (r - 1, start), (-r, end)]
        assert summed(parts, side) == pytest.approx(0, abs=1e-6 * (1 + abs(r)))
    assert found.low < found.value < found.high


@given(finite, error, error, error, error, error, error)
@settings(deadline=None)
def test_the_way_back_is_the_rest_of_the_way(v, vd, vu, sd, su, ed, eu):
    value, start, end = estimate(v, vd, vu), estimate(0, sd, su), estimate(2, ed, eu)
    there, back = share_between(value, start, end), share_between(value, end, start)
    ends = (1 - back.value, 1 - back.high, 1 - back.low)
    assert (there.value, there.low, there.high) == pytest.approx(ends, abs=1e-6)


def test_between_what_is_certain_the_interval_is_scaled():
    certain = [Interval(x, x, x, 30, "") for x in (1.0, 3.0)]
    found = share_between(estimate(1.4, 0.1, 0.2), *certain)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.2, 0.15, 0.3, 20))


def test_all_or_nothing_of_few_prompts_is_not_certain():
    """Ten of ten lost, and none of ten: neither interval is a point."""
    none, all_of_them = wilson(0, 10), wilson(10, 10)
    lost = share_between(none, all_of_them, none)
    kept = share_between(all_of_them, all_of_them, none)
    assert lost.value == 1 and lost.low < 0.75 and kept.value == 0 and kept.high > 0.25


def test_intervals_hold_what_they_should():
    """Half of an effect is in 95 % intervals as often, the parts being independent."""
    rng = np.random.default_rng(0)
    n, held = 40, 0
    for _ in range(400):
        plain, edited, told = (wilson(int(rng.binomial(n, p)), n) for p in (0.05, 0.45, 0.85))
        found = share_between(edited, plain, told)
        held += found.low <= 0.5 <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_a_share_of_what_may_be_nothing_is_refused():
    with pytest.raises(StatisticsError, match="may be the same"):
        share_between(*(estimate(x, 0.2, 0.2) for x in (0.5, 0.3, 0.4)))
    with pytest.raises(StatisticsError, match="may be zero"):
        ratio_of_means([1.0, 1.0], [1.0, -1.0])
    with pytest.raises(StatisticsError, match="one of each"):
        ratio_of_means([1.0], [1.0, 2.0])


@given(st.lists(st.floats(0.5, 5), min_size=2, max_size=12), st.floats(-2, 2))
@settings(deadline=None, max_examples=30)
def test_a_fixed_share_of_every_prompt_is_certain(whole, share):
    found = ratio_of_means([share * one for one in whole], whole)
    assert (found.low, found.value, found.high) == pytest.approx((share,) * 3, abs=1e-9)
    assert found.n == len(whole)


def test_the_same_seed_gives_the_same_interval():
    moved, whole = [0.1, 0.9, 0.4, 0.2], [1.0, 2.0, 1.0, 1.5]
    assert ratio_of_means(moved, whole, seed=3) == ratio_of_means(moved, whole, seed=3)
    assert ratio_of_means(moved, whole, seed=3) != ratio_of_means(moved, whole, seed=4)
