"""Intervals and tests: against scipy and worked examples, and what must hold for any data."""

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from interp_steer.errors import StatisticsError
from interp_steer.statistics.intervals import (
    bootstrap,
    bootstrap_mean,
    jackknife,
    jackknife_interval,
    jackknife_subsets,
    leave_one_out_interval,
    percentile_interval,
    share,
    wilson,
)
from interp_steer.statistics.paired import holm, mcnemar, paired_difference

SUCCESSES = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=25)


@settings(deadline=None)
@given(SUCCESSES)
def test_wilson_is_its_closed_form(case):
    successes, n = case
    interval = wilson(successes, n, 0.9)
    z = stats.norm.ppf(0.95)
    p = successes / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert interval.low == pytest.approx(middle - reach, abs=1e-9)
    assert interval.high == pytest.approx(middle + reach, abs=1e-9)
    assert (interval.value, interval.n, interval.method) == (p, n, "wilson 90%")


@settings(deadline=None)
@given(SUCCESSES)
def test_wilson_stays_in_bounds_grows_with_successes_and_mirrors(case):
    successes, n = case
    interval = wilson(successes, n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    mirrored = wilson(n - successes, n)
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)
    if successes < n:
        more = wilson(successes + 1, n)
        assert more.low > interval.low and more.high > interval.high
    wider = wilson(successes, n, 0.99)
    assert wider.low <= interval.low and wider.high >= interval.high


def test_share_counts_lists_arrays_and_columns_alike():
    outcomes = [True, False, True, True]
    expected = wilson(3, 4)
    assert share(outcomes) == share(np.array(outcomes)) == share(pl.Series(outcomes)) == expected
    assert str(expected) == "0.750 [0.301, 0.954]"


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_bootstrap_repeats_covers_and_agrees_with_theory(method):
    values = np.random.default_rng(3).normal(2.0, 1.5, 120)
    interval = bootstrap(values, method=method, seed=1)
    assert interval == bootstrap(values, method=method, seed=1)
    assert interval != bootstrap(values, method=method, seed=2)
    reach = stats.t.ppf(0.975, 119) * values.std(ddof=1) / math.sqrt(120)
    assert interval.low == pytest.approx(values.mean() - reach, abs=0.06)
    assert interval.high == pytest.approx(values.mean() + reach, abs=0.06)
    assert interval.value == pytest.approx(values.mean())


def test_bootstrap_takes_a_median_or_a_function():
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    assert bootstrap(values, "median").value == 3.0
    spread = bootstrap(values, lambda data, axis: np.ptp(data, axis=axis))
    assert (spread.value, spread.high) == (99.0, 99.0)
    with pytest.raises(StatisticsError, match="unknown statistic"):
        bootstrap(values, "mode")


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_a_bootstrap_mean_lies_among_the_values(values):
    interval = bootstrap_mean(values, n_resamples=200)
    slack = 1e-9
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval.n == len(values)


def test_equal_values_leave_an_interval_of_no_width():
    for method in ("percentile", "basic", "BCa"):
        interval = bootstrap([0.5] * 9, method=method)
        assert (interval.low, interval.high) == (0.5, 0.5)
    assert bootstrap([3.0]).value == 3.0


def test_clusters_of_one_are_the_plain_bootstrap():
    values = np.random.default_rng(0).exponential(size=80)
    plain = bootstrap_mean(values, n_resamples=8000)
    clustered = bootstrap_mean(values, list(range(80)), n_resamples=8000)
    assert clustered.value == pytest.approx(plain.value)
    assert clustered.low == pytest.approx(plain.low, abs=0.02)
    assert clustered.high == pytest.approx(plain.high, abs=0.02)


def test_copies_of_a_value_are_no_new_evidence():
    """Five copies of each of thirty values: the clustered interval is that of the thirty."""
    values = np.random.default_rng(0).normal(size=30)
    queries = [f"query {i}" for i in range(30)]
    once = bootstrap_mean(values, queries)
    copied = bootstrap_mean(np.repeat(values, 5), np.repeat(queries, 5))
    assert copied.n == 30
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    naive = bootstrap_mean(np.repeat(values, 5))
    assert naive.high - naive.low < 0.6 * (copied.high - copied.low)


def test_clusters_must_match_the_values():
    with pytest.raises(StatisticsError, match="3 values but 2 clusters"):
        bootstrap_mean([1.0, 2.0, 3.0], ["a", "b"])


@settings(deadline=None)
@given(OUTCOMES)
def test_mcnemar_is_the_exact_binomial_and_symmetric(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    test, mirrored = mcnemar(a, b), mcnemar(b, a)
    assert test.p_value == mirrored.p_value
    assert (test.only_a, test.only_b) == (mirrored.only_b, mirrored.only_a)
    discordant, fewer = test.only_a + test.only_b, min(test.only_a, test.only_b)
    doubled = 2 * sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
    assert test.p_value == pytest.approx(min(doubled, 1.0))
    assert mcnemar(a, a).p_value == 1.0


def test_mcnemar_on_a_worked_example():
    """21 children, one positive only before and seven only after: p = 18/256 (Bentur 2009)."""
    before = [True] * 2 + [False] * 19
    after = [True] + [False] + [True] * 7 + [False] * 12
    test = mcnemar(before, after)
    assert (test.only_a, test.only_b, test.n) == (1, 7, 21)
    assert test.p_value == pytest.approx(18 / 256)
    difference = paired_difference(before, after)
    assert difference.value == pytest.approx(6 / 21)
    assert (difference.low, difference.high) == pytest.approx((0.0256, 0.5069), abs=1e-3)


@settings(deadline=None)
@given(OUTCOMES)
def test_a_paired_difference_is_bounded_and_antisymmetric(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.value == pytest.approx(sum(b) / len(b) - sum(a) / len(a))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


def test_paired_differences_cover_at_their_level():
    """500 simulated experiments of 40 correlated pairs: near 95% of intervals hold the truth."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        a = rng.random(40) < 0.3
        b = np.where(rng.random(40) < 0.5, a, rng.random(40) < 0.7)
        interval = paired_difference(a, b)
        hits += interval.low <= 0.5 * (0.7 - 0.3) <= interval.high
    assert 0.92 < hits / 500 < 0.98


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_keeps_order_and_lies_between_raw_and_bonferroni(p_values, rng):
    adjusted = holm(p_values)
    for raw, corrected in zip(p_values, adjusted, strict=True):
        assert raw <= corrected <= min(1.0, raw * len(p_values)) + 1e-12
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))
    shuffled = list(range(len(p_values)))
    rng.shuffle(shuffled)
    again = holm([p_values[i] for i in shuffled])
    assert again == pytest.approx([adjusted[i] for i in shuffled])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: wilson(1, 0), "are not a share"),
        (lambda: wilson(5, 4), "are not a share"),
        (lambda: wilson(-1, 4), "are not a share"),
        (lambda: wilson(1, 4, 1.5), "level 1.5"),
        (lambda: share([]), "at least one"),
        (lambda: share([0.5, 1.0]), "true or false"),
        (lambda: bootstrap([]), "at least one"),
        (lambda: bootstrap([1.0, float("nan")]), "index 1"),
        (lambda: bootstrap([1.0, float("inf")]), "index 1"),
        (lambda: bootstrap([1.0, None]), "index 1"),
        (lambda: bootstrap([1.0, "x"]), "not all numbers"),
        (lambda: bootstrap([[1.0, 2.0]]), "flat list"),
        (lambda: mcnemar([], []), "at least one"),
        (lambda: mcnemar([True], [True, False]), "1 outcomes in a but 2 in b"),
        (lambda: mcnemar([True, None], [True, False]), "not finite"),
        (lambda: paired_difference([True], []), "1 outcomes in a but 0 in b"),
        (lambda: holm([]), "at least one"),
        (lambda: holm([0.5, 1.2]), "\\[0, 1\\]"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, says):
    with pytest.raises(StatisticsError, match=says):
        call()


def test_the_jackknife_of_a_mean_is_the_interval_of_student():
    values = np.random.default_rng(0).normal(2, 3, size=20)
    without = [values[kept].mean() for kept in jackknife_subsets(20, 20)]
    found = jackknife_interval(values.mean(), without, 20)
    low, high = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    cut = jackknife_interval(values.mean(), without, 20, within=(0.0, values.mean()))
    assert cut.low == pytest.approx(low) and cut.high == cut.value


def test_what_a_jackknife_keeps_is_all_but_one_group_each_time():
    kept = jackknife_subsets(70)
    assert len(kept) == 32
    counts = np.bincount(np.concatenate(kept), minlength=70)
    assert (counts == 31).all() and {len(each) for each in kept} == {67, 68}
    with pytest.raises(StatisticsError, match="two examples or more"):
        jackknife_subsets(1)
    undefined = jackknife_interval(1.0, [0.5, math.nan], 2)
    assert math.isnan(undefined.value) and math.isnan(undefined.low)


def test_a_jackknife_of_a_statistic_is_its_interval_without_each_group():
    values = np.random.default_rng(0).normal(size=70)
    without = [values[subset].mean() for subset in jackknife_subsets(70)]
    expected = jackknife_interval(values.mean(), without, 70, (-1.0, 1.0), 0.9)
    assert jackknife(lambda rows: values[rows].mean(), 70, (-1.0, 1.0), 0.9) == expected


def test_leaving_one_share_out_has_the_error_of_the_mean():
    """For the mean of 0s and 1s the jackknife error is the standard error of the mean."""
    outcomes = np.array([1.0] * 30 + [0.0] * 10)
    without = [float(np.delete(outcomes, i).mean()) for i in range(40)]
    interval = leave_one_out_interval(0.75, without)
    reach = 1.96 * outcomes.std(ddof=1) / math.sqrt(40)
    assert (interval.value, interval.n) == (0.75, 40)
    assert interval.low == pytest.approx(0.75 - reach)
    assert interval.high == pytest.approx(0.75 + reach)


def test_a_percentile_interval_holds_its_estimate():
    draws = np.linspace(0.0, 1.0, 1001)
    assert str(percentile_interval(0.5, draws, 20)) == "0.500 [0.025, 0.975]"
    assert percentile_interval(0.99, draws, 20).high == 0.99
