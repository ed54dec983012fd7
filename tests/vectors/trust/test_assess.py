"""Cosines whose truth is known, nulls that are calibrated, cards that keep what was found."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

import interp_steer as ist
from figures.geometry.reliability import cosines_by_number
from interp_steer.capture.pair_differences import differences
from interp_steer.errors import FigureError, VectorError
from interp_steer.storage.tensors import read_tensors, write_tensors
from interp_steer.vectors.card import Card
from interp_steer.vectors.trust.assessment import assess
from interp_steer.vectors.trust.permutation import permutation_test, separation_test
from interp_steer.vectors.trust.reliability import (
    agreement,
    bootstrap_cosine,
    pairs_needed,
    spearman_brown,
    split_half,
)

D = 60
SCALE = torch.arange(1, D + 1, dtype=torch.float64) ** -0.5
"""The noise of a pair has many dimensions, of unequal size."""


def pairs_of(n: int, signal: float, seed: int, *sizes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences of ``n`` pairs (times ``sizes``), and the vector that infinitely many have."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*sizes, n, D, generator=generator, dtype=torch.float64) * SCALE
    mean = torch.zeros(D, dtype=torch.float64)
    mean[10] = signal * SCALE.norm()
    return mean + noise, mean


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.cosine_similarity(a, b, dim=-1))


def within(count: int, n: int, share: float) -> bool:
    """Whether a count may be one of ``n`` at such a share: seen in all but 1 in 1000 of them."""
    return bool(binom.ppf(0.0005, n, share) <= count <= binom.ppf(0.9995, n, share))


# ------------------------------------------------------------------------------ other pairs
@pytest.mark.parametrize(("signal", "n"), [(0.1, 32), (0.3, 12), (0.3, 64)])
def test_the_population_cosine_is_that_with_the_vector_of_infinitely_many_pairs(signal, n):
    true, found = [], []
    for seed in range(60):
        rows, mean = pairs_of(n, signal, seed)
        true.append(cosine(rows.mean(0), mean))
        found.append(bootstrap_cosine(rows, draws=300, seed=seed))
    covered = sum(
        one.population.low <= truth <= one.population.high
        for one, truth in zip(found, true, strict=True)
    )
    assert covered >= binom.ppf(0.0005, 60, 0.95)
    mean_of = {
        name: np.mean([getattr(one, name).value for one in found])
        for name in ("population", "resampled")
    }
    # The usual bootstrap cosine flatters, and the more so the less there is to be found.
    assert mean_of["resampled"] > np.mean(true) + 0.004
    assert mean_of["population"] < np.mean(true) + 0.02


def test_noise_along_one_line_that_is_not_the_vectors_leaves_it_unsure():
    """Shuffled labels: what single pairs have in common becomes an error along one line."""
    covered = 0
    for seed in range(60):
        rows, mean = pairs_of(32, 0.1, seed)
        line = torch.randn(32, 1, generator=torch.Generator().manual_seed(seed)).double()
        rows[:, :1] += 3 * line
        truth = cosine(rows.mean(0), mean)
        found = bootstrap_cosine(rows, draws=300, seed=seed).population
        covered += found.low <= truth <= found.high
    assert covered >= binom.ppf(0.0005, 60, 0.95)
    shuffled = pairs_of(32, 2.0, 0)[0] * torch.tensor([1.0, -1.0]).double().repeat(16)[:, None]
    assert bootstrap_cosine(shuffled).population.low == 0


def test_a_vector_of_noise_alone_looks_like_something_to_the_usual_bootstrap():
    rows, _ = pairs_of(64, 0.0, 1)
    found = bootstrap_cosine(rows)
    assert found.resampled.value == pytest.approx(math.sqrt(0.5), abs=0.06)
    assert found.resampled.low > 0.4
    assert found.population.low == 0
    assert split_half(rows).whole.low == 0


def test_pairs_that_all_say_the_same_leave_no_doubt():
    rows = torch.arange(1.0, 6.0).expand(9, 5)
    found = bootstrap_cosine(rows)
    for one in (found.resampled, found.population, *vars(split_half(rows)).values()):
        assert (one.low, one.value, one.high) == pytest.approx((1, 1, 1), abs=1e-6)
    assert permutation_test(rows).p_value < 0.02


def test_resampled_cosines_are_those_of_vectors_resampled_one_by_one():
    rows, _ = pairs_of(10, 0.3, 0)
    times = np.random.default_rng(5).multinomial(10, np.full(10, 0.1), size=50)
    by_hand = [
        cosine(torch.cat([rows[i].expand(k, D) for i, k in enumerate(row) if k]).mean(0), v)
        for row, v in zip(times, itertools.repeat(rows.mean(0)), strict=False)
    ]
    found = bootstrap_cosine(rows, draws=50, seed=5).resampled
    assert found.value == pytest.approx(np.mean(by_hand))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))


@given(st.integers(0, 2**31), st.floats(0.01, 100))
@settings(max_examples=8, deadline=None)
def test_axes_and_units_mean_nothing(seed, unit):
    rows, _ = pairs_of(8, 0.3, seed % 1000)  # fewer than their axes
    turn = torch.linalg.qr(
        torch.randn(D, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )[0]
    wider = torch.cat([unit * rows @ turn, torch.zeros(8, 5, dtype=torch.float64)], dim=1)
    few = rows[:, :3]  # more than their axes
    for one, other in ((rows, wider), (few, unit * few @ torch.linalg.qr(turn[:3, :3])[0])):
        a, b = (bootstrap_cosine(each, draws=40) for each in (one, other))
        assert a.population.low == pytest.approx(b.population.low, abs=1e-6)
        assert a.resampled.value == pytest.approx(b.resampled.value, abs=1e-6)
        assert split_half(one, splits=5).half.value == pytest.approx(
            split_half(other, splits=5).half.value, abs=1e-6
        )
        assert permutation_test(one, draws=40).p_value == permutation_test(other, draws=40).p_value


def test_halves_tell_what_two_vectors_of_as_many_pairs_have():
    drawn, mean = pairs_of(48, 0.2, 0, 400)
    vectors = drawn.mean(dim=1)
    alike = float(torch.cosine_similarity(vectors[:200], vectors[200:], dim=1).mean())
    to_truth = float(torch.cosine_similarity(vectors, mean, dim=1).mean())
    found = [split_half(pairs, splits=20, seed=k) for k, pairs in enumerate(drawn[:30])]
    for name, truth in (("whole", alike), ("population", to_truth)):
        each = [getattr(one, name) for one in found]
        assert np.mean([one.value for one in each]) == pytest.approx(truth, abs=0.03)
        covered = sum(one.low <= truth <= one.high for one in each)
        assert covered >= binom.ppf(0.0005, 30, 0.95)
    half = np.mean([one.half.value for one in found])
    assert half < alike - 0.05  # and not what the halves have themselves


def test_reliability_grows_with_the_pairs_as_spearman_and_brown_say():
    few, _ = pairs_of(16, 0.25, 3, 40)
    many, _ = pairs_of(128, 0.25, 4, 200)
    vectors = many.mean(dim=1)
    measured = float(torch.cosine_similarity(vectors[:100], vectors[100:], dim=1).mean())
    found = float(np.mean([split_half(rows, splits=10).whole.value for rows in few]))
    assert found < measured - 0.2
    assert spearman_brown(found, 8) == pytest.approx(measured, abs=0.04)


@given(st.floats(0.001, 0.999), st.floats(0.1, 50), st.floats(0.1, 50))
@settings(deadline=None)
def test_pairs_may_be_added_in_steps(reliability, one, other):
    stepped = spearman_brown(spearman_brown(reliability, one), other)
    assert stepped == pytest.approx(spearman_brown(reliability, one * other))
    n = pairs_needed(reliability, 10, 0.9)
    assert math.sqrt(spearman_brown(reliability, n / 10)) == pytest.approx(0.9, abs=1e-6)


def test_no_reliability_needs_infinitely_many_pairs():
    assert pairs_needed(0.0, 8) == math.inf and pairs_needed(1.0, 8) == 0
    for refused in ((1.2, 8, 0.9), (0.5, 0, 0.9), (0.5, 8, 1.0)):
        with pytest.raises(VectorError, match="from 0 to 1"):
            pairs_needed(*refused)
    with pytest.raises(VectorError, match="positive"):
        spearman_brown(0.5, 0)


# ------------------------------------------------------------------------------ conditions
def test_what_conditions_share_by_their_queries_is_no_agreement():
    """Two conditions of one vector, and of none, whose noise is that of the same queries."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(2, 1, D, dtype=torch.float64)
    truth[0, 0, 40] = truth[1, 0, 41] = 1.2
    shared = 0.7 * torch.randn(60, D, generator=generator, dtype=torch.float64) * SCALE
    own = 0.4 * torch.randn(2, 60, D, generator=generator, dtype=torch.float64) * SCALE
    apart = truth + shared + own
    found = agreement(apart)
    assert found.between.low <= 0 <= found.between.high
    assert found.ratio.low <= 0 <= found.ratio.high
    assert cosine(*apart.mean(dim=1)) > found.between.value + 0.01

    same = agreement(truth[:1] + shared + own)
    assert same.ratio.low <= 1 <= same.ratio.high
    assert same.ratio.value == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("angle", [30, 60])
def test_the_ratio_is_the_cosine_that_no_noise_would_leave(angle):
    turned = torch.zeros(2, 1, D, dtype=torch.float64)
    turned[0, 0, 0], radians = 1.0, math.radians(angle)
    turned[1, 0, 0], turned[1, 0, 1] = math.cos(radians), math.sin(radians)
    covered, values = 0, []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, 40, D, generator=generator, dtype=torch.float64) * SCALE
        found = agreement(turned + noise, splits=20, seed=seed)
        values.append(found.ratio.value)
        covered += found.ratio.low <= math.cos(radians) <= found.ratio.high
        assert found.between.value < found.ratio.value
    assert np.mean(values) == pytest.approx(math.cos(radians), abs=0.08)
    assert covered >= binom.ppf(0.0005, 20, 0.95)


# ------------------------------------------------------------------------------ no property
def test_the_permutation_test_is_calibrated():
    rejected = sum(
        permutation_test(pairs_of(20, 0.0, seed)[0], draws=199, seed=seed).p_value <= 0.05
        for seed in range(400)
    )
    assert within(rejected, 400, 0.05)
    assert permutation_test(pairs_of(20, 0.4, 0)[0]).p_value == 0.001


def test_pairs_that_share_a_query_are_swapped_together_or_the_test_is_wrong():
    """Six phrasings of ten queries, whose error is that of the queries."""
    queries = [query for query in range(10) for _ in range(6)]
    alone = together = 0
    for seed in range(200):
        of_query, _ = pairs_of(10, 0.0, seed)
        rows = of_query[queries] + 0.3 * pairs_of(60, 0.0, 1000 + seed)[0]
        options = {"draws": 99, "seed": seed}
        alone += permutation_test(rows, **options).p_value <= 0.05
        together += permutation_test(rows, groups=queries, **options).p_value <= 0.05
    assert within(together, 200, 0.05)
    assert not within(alone, 200, 0.05) and alone > 50


def test_the_held_out_test_is_calibrated_and_sees_a_strong_shift():
    rejected = 0
    for seed in range(300):
        rows, held = pairs_of(16, 0.0, seed)[0], pairs_of(24, 0.0, 500 + seed)[0]
        found = separation_test(rows, held[:12], held[12:], draws=99, seed=seed)
        rejected += found.p_value <= 0.05
    assert within(rejected, 300, 0.05)
    # The direction of swapped pairs is still that of the shift, or its opposite.
    (rows, mean), held = pairs_of(32, 2.0, 0), pairs_of(24, 0.0, 1)[0]
    strong = separation_test(rows, held[:12] + mean, held[12:])
    assert strong.statistic == 1 and strong.p_value <= 0.005
    assert strong.chance.value == pytest.approx(0.5, abs=0.05)


def test_shuffled_labels_of_a_real_model_are_rejected_as_often_as_the_level_says():
    """Both tests at four levels; with 39 swaps a p-value is 1/40, 2/40 and so on, all as likely."""
    model, levels = ist.load("burattino-tiny"), (0.05, 0.1, 0.2, 0.5)
    pairs = ist.world.instruction("change_case:english_lowercase", fit=24, select=0, test=16)
    site = ist.Site("resid_post", 2)

    def sides(split):
        found = [
            ist.capture.capture_moments(model, prompts, [site], keep_rows=True)
            .rows.values[site]
            .double()
            for prompts in (split.present, split.absent)
        ]
        return torch.stack(found)

    fit, held = sides(pairs.fit), sides(pairs.test)
    assert permutation_test(fit[0] - fit[1], draws=199).p_value == 0.005
    generator, copies = torch.Generator().manual_seed(0), 1500
    found = {"length": [], "separation": []}
    for copy in range(copies):
        mixed, told = (
            torch.where(torch.rand(len(each[0]), 1, generator=generator) < 0.5, each, each.flip(0))
            for each in (fit, held)
        )
        rows, options = mixed[0] - mixed[1], {"draws": 39, "seed": copy}
        found["length"].append(permutation_test(rows, **options).p_value)
        found["separation"].append(separation_test(rows, *told, **options).p_value)
    for p_values in map(np.array, found.values()):
        for level in levels:
            assert within(int((p_values <= level + 1e-9).sum()), copies, level)


def test_the_p_value_is_the_share_of_all_swaps():
    rows, _ = pairs_of(6, 0.2, 2)
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=6)), dtype=torch.float64)
    norms = (signs @ rows).norm(dim=1) / 6
    exact = float((norms >= rows.mean(0).norm() - 1e-12).double().mean())
    found = permutation_test(rows, draws=5000)
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 5000))
    assert found.statistic == pytest.approx(float(rows.mean(0).norm()))
    assert found.chance.value == pytest.approx(float(norms.mean()), rel=0.02)


# ------------------------------------------------------------------------------ groups
def test_pairs_said_twice_are_no_more_pairs():
    rows, _ = pairs_of(12, 0.3, 0)
    twice, groups = rows.repeat_interleave(2, dim=0), [i for i in range(12) for _ in range(2)]
    one, other = bootstrap_cosine(rows), bootstrap_cosine(twice, groups=groups)
    assert one.population.low == pytest.approx(other.population.low)
    assert one.population.n == other.population.n == 12
    assert bootstrap_cosine(twice).population.low > one.population.low
    half, told = split_half(rows).half, split_half(twice, groups=groups).half
    assert (half.value, half.low) == pytest.approx((told.value, told.low))
    assert permutation_test(rows).p_value == permutation_test(twice, groups=groups).p_value


def test_what_says_nothing_is_refused():
    rows = torch.randn(8, 5)
    for test in (bootstrap_cosine, split_half, permutation_test):
        with pytest.raises(VectorError, match="4 groups or more"):
            test(rows[:3])
        with pytest.raises(VectorError, match="a label for each"):
            test(rows, groups=range(7))
        with pytest.raises(VectorError, match="nan or inf"):
            test(rows / 0 * 0)
    with pytest.raises(VectorError, match="mean zero"):
        bootstrap_cosine(torch.cat([rows, -rows]).double())
    with pytest.raises(VectorError, match="two or more"):
        agreement(rows[None])
    with pytest.raises(VectorError, match="held-out"):
        separation_test(rows, rows[:4], rows[:5])
    with pytest.raises(VectorError, match="at least one"):
        permutation_test(rows, draws=0)
    with pytest.raises(VectorError, match="at least one"):
        split_half(rows, splits=0)


# ------------------------------------------------------------------------------ cards
def contrast(n: int = 8) -> ist.ContrastSet:
    queries = [
        f"Name {k} {what}." for k in ("one", "two", "six") for what in ("trees", "birds", "fish")
    ]
    said = ["Answer in lowercase.", "No capitals."]
    return ist.contrast.build("case", queries[:n], said, fit=n, select=0, test=0)


def test_a_fit_leaves_the_vector_of_any_fit_and_says_how_sure_it_is(tiny, tmp_path):
    model, pairs = tiny("llama3"), contrast()
    vector = ist.trust.fit_with_reliability(model, pairs, layers=[1, 3], draws=100)
    plain = ist.fit(model, pairs, layers=[1, 3])
    torch.testing.assert_close(vector.directions, plain.directions, atol=1e-5, rtol=1e-5)
    sure = vector.card.reliability
    assert sure is not None and plain.card.reliability is None
    assert replace(vector.card, reliability=None) == plain.card
    sides = [
        ist.capture.capture_moments(model, side, keep_rows=True)
        for side in (pairs.present, pairs.absent)
    ]
    rows = differences(*sides, ist.Site("resid_post", 3))
    by_hand = bootstrap_cosine(rows, draws=100).population
    assert vars(sure.at(3)) == pytest.approx(vars(by_hand))
    assert sure.p_value[1] == permutation_test(rows, draws=99).p_value
    with pytest.raises(VectorError, match="layers 1, 3 and not at 2"):
        sure.at(2)

    vector.save(tmp_path / "vector.safetensors")
    assert ist.SteeringVector.load(tmp_path / "vector.safetensors").card == vector.card
    worst = 1 if (sure.low[0], sure.cosine[0]) < (sure.low[1], sure.cosine[1]) else 3
    said = f"cosine with the vector of all such pairs {sure.at(worst)} at layer {worst}, the least"
    assert str(sure) == said and said in vector._repr_html_()
    assert "not measured" in plain._repr_html_()
    # What moves no direction leaves it; what makes another has none.
    assert (2 * vector).card.reliability == (-vector).card.reliability == sure
    for other in (vector + vector, vector.like_random(0), vector.matched(plain)):
        assert other.card.reliability is None


def test_a_card_of_before_still_loads(tiny, tmp_path):
    vector, path = ist.fit(tiny("llama3"), contrast()), tmp_path / "vector.safetensors"
    vector.save(path)
    tensors, header = read_tensors(path, "SteeringVector", VectorError, ("card",))
    del header["card"]["reliability"]
    write_tensors(path, "SteeringVector", tensors, header, VectorError)
    assert ist.SteeringVector.load(path).card == vector.card
    assert Card.read(vector.card.to_flat()) == vector.card


def test_every_layer_is_assessed_at_the_heads_too(tiny):
    model, pairs = tiny("llama3"), contrast()
    sites = [ist.Site("z", layer) for layer in range(model.n_layers)]
    present, absent = (
        ist.capture.capture_moments(model, side, sites, keep_rows=True)
        for side in (pairs.present, pairs.absent)
    )
    found = assess(present, absent, draws=50)
    assert found.layers == tuple(range(4)) and found.n == 8
    for low, value, high in zip(found.low, found.cosine, found.high, strict=True):
        assert 0 <= low <= value <= high <= 1
    assert all(0.02 <= p <= 1 for p in found.p_value)
    rows = differences(present, absent, sites[2])
    vector = ist.fit(model, pairs, component="z")
    torch.testing.assert_close(rows.mean(0).float(), vector.directions[2].flatten())


def test_sides_that_leave_no_pairs_are_refused(tiny):
    model, pairs, site = tiny("llama3"), contrast(), ist.Site("resid_post", 0)
    take = ist.capture.capture_moments
    kept = take(model, pairs.present, keep_rows=True)
    with pytest.raises(VectorError, match="keep_rows=True"):
        differences(take(model, pairs.present), kept, site)
    with pytest.raises(VectorError, match="the same pairs"):
        differences(kept, take(model, pairs.absent[:5], keep_rows=True), site)
    every = take(model, pairs.present, positions="all", keep_rows=True)
    with pytest.raises(VectorError, match="'last' or an index"):
        differences(every, every, site)
    with pytest.raises(VectorError, match=r"at z\.1 were not kept"):
        differences(kept, kept, ist.Site("z", 1))


def test_the_figure_says_from_which_number_on_a_vector_is_sure():
    rows = [
        (n, 1 - 0.4 / n, 1 - 0.8 / n, 1.0, "first", name) for n in (2, 4, 8, 16) for name in "ab"
    ]
    columns = ["pairs", "value", "low", "high", "series", "instruction"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    drawing = cosines_by_number(frame, "pairs", "pairs", about="Drawn.")
    assert "from 16 pairs on for a" in drawing.caption and drawing.caption.endswith("Drawn.")
    axes = drawing.figure.layout.xaxis
    assert axes.type == "log" and list(axes.tickvals) == [2, 4, 8, 16]
    few = frame.filter(pl.col("pairs") < 16).drop("instruction")
    assert (
        "at no number up to 8"
        in cosines_by_number(few.unique(maintain_order=True), "pairs", "pairs", about="").caption
    )
    with pytest.raises(FigureError, match="needs the columns"):
        cosines_by_number(frame.drop("low"), "pairs", "pairs", about="")
