"""Angles, shared parts and ranks of vectors whose geometry is known."""

from __future__ import annotations

import math

import pytest
import torch

from interp_steer.errors import VectorError
from interp_steer.geometry.ranks import effective_rank
from interp_steer.geometry.subspaces import principal_angles, shared_part
from interp_steer.statistics.resampling import normal_interval, resampled_means


def rotated(vectors: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The same vectors in axes of no meaning: nothing that is measured here may change."""
    generator = torch.Generator().manual_seed(seed)
    wide = vectors.shape[-1]
    axes, _ = torch.linalg.qr(torch.randn(wide, wide, generator=generator, dtype=torch.float64))
    return vectors.double() @ axes


def mixed(vectors: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """Other vectors that span the same subspace."""
    generator = torch.Generator().manual_seed(seed)
    n = len(vectors)
    return torch.randn(n, n, generator=generator, dtype=torch.float64) @ vectors.double()


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 1.2, math.pi / 2])
def test_planes_that_share_a_line_meet_at_the_angle_between_them(angle):
    axes = torch.eye(5, dtype=torch.float64)
    one = axes[:2]
    other = torch.stack([axes[0], math.cos(angle) * axes[1] + math.sin(angle) * axes[2]])
    every = rotated(torch.cat([one, other]))
    found = principal_angles(mixed(every[:2]), mixed(every[2:], 2))
    torch.testing.assert_close(found, torch.tensor([0.0, angle]).double(), atol=1e-6, rtol=0)


def test_there_are_as_many_angles_as_the_smaller_subspace_has_dimensions():
    torch.manual_seed(0)
    one, other = torch.randn(2, 9), torch.randn(4, 9)
    found = principal_angles(one, other)
    assert found.shape == (2,) and found[0] <= found[1] <= math.pi / 2
    torch.testing.assert_close(found, principal_angles(other, one))


def test_vectors_that_depend_on_one_another_span_less_and_are_refused():
    torch.manual_seed(0)
    one = torch.randn(2, 6)
    with pytest.raises(VectorError, match="depend on one another"):
        principal_angles(torch.cat([one, one.sum(dim=0, keepdim=True)]), one)
    with pytest.raises(VectorError, match="widths 6 and 5"):
        principal_angles(one, torch.randn(2, 5))


def test_a_common_part_is_found_by_each_from_the_others():
    axes = torch.eye(40, dtype=torch.float64)
    common, own = axes[0], axes[1:13]
    vectors = rotated(0.6 * common + 0.8 * own)
    # Twelve unit vectors; the mean of eleven others is 0.6 along the common part, and its own
    # parts add up to 0.8 / sqrt(11).
    expected = 0.36 / math.sqrt(0.36 + 0.64 / 11)
    torch.testing.assert_close(shared_part(vectors), torch.full((12,), expected).double())
    lengths = torch.linspace(1, 50, 12).double()[:, None]
    torch.testing.assert_close(shared_part(vectors * lengths), shared_part(vectors))


def test_one_that_points_the_other_way_shares_less_than_nothing():
    axes = torch.eye(4, dtype=torch.float64)
    vectors = torch.stack([axes[0] + 0.1 * axes[1], axes[0] + 0.1 * axes[2], -axes[0]])
    assert shared_part(vectors)[2] < -0.99
    with pytest.raises(VectorError, match="two or more"):
        shared_part(axes[:1])


def test_random_directions_share_nothing():
    torch.manual_seed(0)
    drawn = shared_part(torch.randn(200, 8, 100))
    assert abs(float(drawn.mean())) < 0.01 and drawn.shape == (200, 8)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_the_effective_rank_counts_orthogonal_directions(n):
    vectors = rotated(torch.eye(12)[:n])
    assert float(effective_rank(vectors)) == pytest.approx(n)
    assert float(effective_rank(vectors.repeat(3, 1))) == pytest.approx(n)
    assert float(effective_rank(5 * vectors)) == pytest.approx(n)


def test_the_effective_rank_lies_between_one_and_the_number_of_vectors():
    torch.manual_seed(0)
    line, noise = torch.randn(16), torch.randn(6, 16)
    ranks = [float(effective_rank(line + size * noise)) for size in (0.01, 0.3, 1.0, 10.0)]
    assert ranks == sorted(ranks) and 1 < ranks[0] < 1.3 and 4 < ranks[-1] < 6
    with pytest.raises(VectorError, match="all zero"):
        effective_rank(torch.zeros(3, 4))


def test_resampled_means_spread_as_the_standard_error():
    torch.manual_seed(0)
    rows = torch.randn(200, 3) * torch.tensor([1.0, 2.0, 5.0])
    drawn = resampled_means(rows, 2000, seed=0)
    expected = rows.double().std(dim=0) / math.sqrt(200)
    torch.testing.assert_close(drawn.std(dim=0), expected, rtol=0.06, atol=0)
    torch.testing.assert_close(drawn, resampled_means(rows, 2000, seed=0))
    assert not torch.equal(drawn, resampled_means(rows, 2000, seed=1))


def test_the_interval_of_a_cosine_holds_the_truth_nineteen_times_in_twenty():
    """Of two noisy means; percentiles of the draws would lie too near to zero."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.stack([torch.eye(20)[0], 0.6 * torch.eye(20)[0] + 0.8 * torch.eye(20)[1]])
    held = 0
    for _ in range(100):
        rows = truth + 0.15 * torch.randn(60, 2, 20, generator=generator)
        value = torch.cosine_similarity(*rows.mean(dim=0), dim=0)
        draws = torch.cosine_similarity(*resampled_means(rows, 100, 0).unbind(1), dim=-1)
        found = normal_interval(float(value), draws, 60, (-1.0, 1.0))
        assert found.low <= found.value <= found.high
        held += found.low <= 0.6 <= found.high
    assert held >= 88


def test_an_interval_does_not_leave_what_the_estimate_can_be():
    found = normal_interval(0.99, torch.tensor([0.5, 0.99, 1.0]), 3, (-1.0, 1.0))
    assert found.high == 1.0 and found.low < 0.99
