"""Dimensions of known spectra, overlaps of known densities, angles written out."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.errors import VectorError
from interp_steer.geometry.layers import (
    cosine_between_layers,
    discrimination,
    spread,
    unembedding_angle,
)
from interp_steer.geometry.ranks import (
    effective_rank,
    effective_rank_of_variance,
    energy_shares,
)


def rows_of(singular_values: list[float], n: int = 20, d: int = 12) -> torch.Tensor:
    """Rows with these singular values, along random axes."""
    generator = torch.Generator().manual_seed(1)
    k = len(singular_values)
    left, right = (
        torch.linalg.qr(torch.randn(size, k, generator=generator, dtype=torch.float64))[0]
        for size in (n, d)
    )
    return left * torch.tensor(singular_values, dtype=torch.float64) @ right.T


def pairs(text: str = "No capitals.") -> ist.ContrastSet:
    queries = [f"Name {n} trees." for n in ("one", "two", "six")]
    return ist.contrast.build(text, queries, [text], fit=3, select=0, test=0)


def test_the_two_effective_ranks_differ_on_a_spectrum_that_is_not_flat():
    """Singular values 3 and 1: shares 3/4 and 1/4, of their squares 9/10 and 1/10."""
    rows = rows_of([3.0, 1.0])
    entropies = [-sum(p * math.log(p) for p in (share, 1 - share)) for share in (0.75, 0.9)]
    of_values, of_squares = float(effective_rank(rows)), effective_rank_of_variance(rows)
    assert of_values == pytest.approx(math.exp(entropies[0])) == pytest.approx(1.7547653506)
    assert of_squares == pytest.approx(math.exp(entropies[1])) == pytest.approx(1.3841454885)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_rows_that_fill_k_directions_evenly_have_rank_k(k):
    assert effective_rank_of_variance(rows_of([3.0] * k)) == pytest.approx(k)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_the_effective_rank_is_the_exponent_of_the_entropy(values):
    energy = sorted((value**2 for value in values), reverse=True)
    shares = [one / sum(energy) for one in energy]
    rows = rows_of(values)
    found = energy_shares(rows)[: len(values)].tolist()
    assert found == pytest.approx(shares, abs=1e-9)
    entropy = -math.fsum(share * math.log(share) for share in shares)
    assert effective_rank_of_variance(rows) == pytest.approx(math.exp(entropy), abs=1e-6)
    assert effective_rank_of_variance(7 * rows) == pytest.approx(
        effective_rank_of_variance(rows), abs=1e-6
    )


def test_rows_that_are_nothing_fill_no_dimensions():
    with pytest.raises(VectorError, match="pairs that differ"):
        effective_rank_of_variance(torch.zeros(4, 3))
    with pytest.raises(VectorError, match="three or more"):
        spread(torch.ones(2, 3), torch.zeros(2, 3))


def test_spread_is_what_it_says():
    torch.manual_seed(0)
    absent = torch.randn(40, 30)
    along = torch.zeros(30)
    along[3] = 5.0
    same = spread(absent + along, absent)
    assert same.effective_rank.value == pytest.approx(1, abs=1e-4)
    assert same.along_mean.value == pytest.approx(1, abs=1e-4)
    length = float((absent.double() ** 2).sum(1).mean().sqrt())
    assert same.relative_norm.value == pytest.approx(5 / length, abs=1e-5)

    present = absent + along + torch.randn(40, 30)
    found, differences = spread(present, absent), (present - absent).double()
    centred = differences - differences.mean(0)
    assert found.effective_rank.value == pytest.approx(
        effective_rank_of_variance(differences), rel=1e-6
    )
    assert found.scatter_rank.value == pytest.approx(effective_rank_of_variance(centred), rel=1e-6)
    assert found.effective_rank.value < found.scatter_rank.value
    for one in (found.effective_rank, found.scatter_rank, found.along_mean, found.relative_norm):
        assert one.low < one.value < one.high


def test_the_interval_of_a_rank_covers_what_other_samples_have():
    torch.manual_seed(0)

    def sample() -> tuple[torch.Tensor, torch.Tensor]:
        absent = torch.randn(48, 16)
        scale = torch.tensor([3.0, 2.0] + [0.5] * 14)
        return absent + 1.5 + scale * torch.randn(48, 16), absent

    found = [spread(*sample()) for _ in range(20)]
    mean = sum(one.effective_rank.value for one in found) / 20
    covered = sum(one.effective_rank.low <= mean <= one.effective_rank.high for one in found)
    assert covered >= 16


def test_identical_sides_overlap_wholly_and_far_ones_not_at_all():
    torch.manual_seed(0)
    side = torch.randn(50)
    same = discrimination(side, side)
    assert same.overlap.value == pytest.approx(1)
    assert same.auroc.value == pytest.approx(0.5)
    assert same.d_prime.value == 0
    for far in (10.0, 1e3, 1e9):
        apart = discrimination(side + far, side)
        assert apart.overlap.value == pytest.approx(0, abs=1e-3)
        assert apart.auroc.value == 1
        assert apart.overlap.high == pytest.approx(0, abs=1e-3)


def test_discrimination_of_normal_sides_is_what_theory_says():
    torch.manual_seed(0)
    n, d = 3000, 1.2
    found = discrimination(torch.randn(n) + d, torch.randn(n), n_resamples=50)
    normal = torch.distributions.Normal(0, 1)
    assert found.d_prime.value == pytest.approx(d, abs=0.1)
    auroc = float(normal.cdf(torch.tensor(d / math.sqrt(2))))
    assert found.auroc.value == pytest.approx(auroc, abs=0.03)
    overlap = 2 * float(normal.cdf(torch.tensor(-d / 2)))
    assert found.overlap.value == pytest.approx(overlap, abs=0.05)


def test_discrimination_does_not_depend_on_the_scale_and_is_the_same_for_a_seed():
    torch.manual_seed(0)
    p, a = torch.randn(30) + 1, torch.randn(30)
    one, other = discrimination(p, a, seed=3), discrimination(100 * p - 7, 100 * a - 7, seed=3)
    for name in ("overlap", "auroc", "d_prime"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.low < mine.value < mine.high
        for end in ("value", "low", "high"):
            assert getattr(mine, end) == pytest.approx(getattr(theirs, end), abs=1e-4)
    assert discrimination(p, a, seed=3) == one


def test_sides_that_do_not_vary_share_everything_or_nothing():
    flat = torch.ones(5)
    assert discrimination(flat, flat).overlap.value == 1
    apart = discrimination(2 * flat, flat)
    assert apart.overlap.value == 0 and apart.auroc.value == 1
    with pytest.raises(VectorError, match="both sides of the same pairs"):
        discrimination(flat[:1], flat[:1])


def test_cosines_between_layers_are_those_of_the_unit_directions(tiny):
    vector = ist.fit(tiny("llama3"), pairs())
    found = cosine_between_layers(vector)
    torch.testing.assert_close(found.diagonal(), torch.ones(4))
    assert float(found[1, 3]) == pytest.approx(float(vector.unit[1] @ vector.unit[3]), abs=1e-6)


def test_the_unembedding_is_met_where_a_vector_is_one_of_its_rows(tiny):
    model = tiny("llama3")
    head = model.plain.get_output_embeddings().weight.detach()
    fitted = ist.fit(model, pairs())
    vector = replace(fitted, directions=-3 * head[[40, 41, 42, 43]], targets=None, baseline=None)
    one, several = unembedding_angle(model, vector, 1), unembedding_angle(model, vector, 5)
    assert one["cosine"].to_list() == pytest.approx([-1.0] * 4, abs=1e-5)
    assert one["share"].to_list() == pytest.approx([1.0] * 4, abs=1e-5)
    assert one["token"].to_list() == [model.tokenizer.decode([t]) for t in (40, 41, 42, 43)]
    assert several["share"].to_list() == pytest.approx([1.0] * 4, abs=1e-5)

    found = {k: unembedding_angle(model, fitted, k) for k in (1, 8, model.d_model)}
    assert found[1]["share"].to_list() == pytest.approx((found[1]["cosine"] ** 2).to_list())
    assert (found[8]["share"] > found[1]["share"]).all()
    assert (found[8]["share"] < 1).all()
    assert found[model.d_model].select(pl.col("share").max()).item() <= 1 + 1e-4
    with pytest.raises(VectorError, match="from 1 to"):
        unembedding_angle(model, fitted, model.d_model + 1)
    with pytest.raises(VectorError, match="resid_post, attn_out or mlp_out"):
        unembedding_angle(model, ist.fit(model, pairs(), component="z"))
