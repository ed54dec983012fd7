"""Shares of an effect: ends that solve their equations, coverage, and what is no share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from interp_steer.ratios import difference, ratio, ratio_of_means
from interp_steer.statistics import Interval, StatisticsError, wilson

finite = st.floats(-3, 3)
error = st.floats(0.01, 1)


def estimate(value: float, down: float, up: float) -> Interval:
    return Interval(value, value - down, value + up, 20, "")


def times(factor: float, one: Interval) -> Interval:
    low, high = sorted((factor * one.low, factor * one.high))
    return Interval(factor * one.value, low, high, one.n, "")


@given(finite, error, error, finite, error, error)
@settings(deadline=None)
def test_a_difference_reversed_is_its_negative(a, a_down, a_up, b, b_down, b_up):
    one, other = estimate(a, a_down, a_up), estimate(b, b_down, b_up)
    forth, back = difference(one, other), difference(other, one)
    assert (back.value, back.low, back.high) == (-forth.value, -forth.high, -forth.low)
    assert forth.low < forth.value < forth.high


@given(finite, error, error, st.floats(0.1, 3), st.floats(0.01, 0.9), error)
@settings(deadline=None)
def test_at_the_ends_of_a_ratio_nothing_is_an_end_of_the_difference(n, down, up, d, share, above):
    """The definition of MOVER-R: 0 is an end of the interval of ``n - r d`` at both ends ``r``."""
    top, whole = estimate(n, down, up), estimate(d, share * d, above)
    assume(whole.high < 1.95 * whole.value)  # beyond it an end may be nowhere, as Fieller's
    found = ratio(top, whole)
    assert found.low <= found.value + 1e-12 and found.value <= found.high + 1e-12
    for end, side in ((found.low, "low"), (found.high, "high")):
        gap = getattr(difference(times(end, whole), top), side)
        assert gap == pytest.approx(0, abs=1e-6 * (1 + abs(end)))


def test_of_a_whole_that_is_certain_the_interval_is_scaled():
    found = ratio(estimate(0.4, 0.1, 0.2), Interval(2.0, 2.0, 2.0, 30, ""))
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.2, 0.15, 0.3, 20))


def test_all_or_nothing_of_few_prompts_is_not_certain():
    """Ten of ten lost, and none of ten: neither interval is a point."""
    whole = difference(wilson(0, 10), wilson(10, 10))
    lost = ratio(difference(wilson(0, 10), wilson(10, 10)), whole)
    kept = ratio(difference(wilson(10, 10), wilson(10, 10)), whole)
    assert lost.value == 1 and lost.low < 0.8 and kept.value == 0 and kept.high > 0.2


def test_intervals_hold_what_they_should():
    """Half of an effect is in 95 % intervals at least as often, the parts being independent."""
    rng = np.random.default_rng(0)
    n, held = 40, 0
    for _ in range(400):
        plain, edited, told = (wilson(int(rng.binomial(n, p)), n) for p in (0.05, 0.45, 0.85))
        found = ratio(difference(plain, edited), difference(plain, told))
        held += found.low <= 0.5 <= found.high
    assert 0.93 <= held / 400 <= 1.0


def test_a_share_of_what_may_be_nothing_is_refused():
    with pytest.raises(StatisticsError, match="may be nothing"):
        ratio(estimate(0.5, 0.1, 0.1), estimate(0.3, 0.3, 0.1))
    with pytest.raises(StatisticsError, match="may be nothing"):
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
