"""Maps against the distributions they are to reach, and as edits beside other edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import interp_steer as ist
from interp_steer.capture.contrast_moments import capture_contrast
from interp_steer.errors import CaptureError, InterventionError, VectorError
from interp_steer.generation.ledger import compute_keys
from interp_steer.interventions.intervention import Intervention, row_hooks
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import diminishing
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.statistics.covariance import oas
from interp_steer.vectors.transport import (
    KINDS,
    TransportMap,
    TransportMaps,
    fit_transport,
    gaussian_map,
    transport_of,
)
from tests.support.steering import PROMPTS, compiled

QUERIES = ["Name a tree.", "Tell me about the old castle by the sea.", "Why?"]


@pytest.fixture(scope="module")
def pairs() -> ist.ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=8, select=2, test=3)


@pytest.fixture(scope="module")
def maps(tiny: Callable[[str], HookedLM], pairs: ist.ContrastSet) -> dict[str, TransportMaps]:
    return {kind: fit_transport(tiny("llama3"), pairs, kind) for kind in KINDS}


def covariance(d: int, seed: int) -> Tensor:
    """A positive definite matrix, its eigenvalues from 0.1 to 4 along random axes."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return axes @ torch.diag(torch.linspace(0.1, 4, d).double()) @ axes.T


def map_of(matrix: Tensor, shift: Tensor, origin: Tensor) -> TransportMap:
    at, d = Site("resid_post", 1), len(shift)
    return TransportMap(shift, None, "map", at, at, "none", 4, d, matrix, origin)


def tokens(completions) -> list[tuple[int, ...]]:
    return [completion.tokens for completion in completions]


# ------------------------------------------------------------------ closed forms


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_the_gaussian_map_carries_one_covariance_onto_the_other(seed, d):
    absent, present = covariance(d, seed), covariance(d, seed + 1) * 3
    found = gaussian_map(absent, present)
    torch.testing.assert_close(found @ absent @ found, present)
    torch.testing.assert_close(found, found.T)  # of all such maps the one that moves least
    assert float(torch.linalg.eigvalsh(found).min()) > 0
    torch.testing.assert_close(gaussian_map(absent, absent), torch.eye(d).double())
    torch.testing.assert_close(gaussian_map(absent, 4 * absent), 2 * torch.eye(d).double())


def test_the_gaussian_map_moves_least_of_the_maps_that_match_the_covariance():
    absent, present = covariance(6, 0), covariance(6, 1)
    best = gaussian_map(absent, present)
    other = torch.linalg.cholesky(present) @ torch.linalg.inv(torch.linalg.cholesky(absent))
    torch.testing.assert_close(other @ absent @ other.T, present)

    def moved(matrix: Tensor) -> float:
        away = matrix - torch.eye(6).double()
        return float(torch.trace(away @ absent @ away.T))

    assert moved(best) < moved(other)


@pytest.mark.parametrize("model", ["llama3", "gemma2"], indirect=True)
@pytest.mark.parametrize("kind", list(KINDS))
def test_transported_activations_have_the_moments_of_the_target(model, pairs, kind):
    """The maps are fitted to shrunk covariances: these it is that they carry."""
    site = Site("resid_post", 2)
    several = pairs.fit
    sides = capture_contrast(model, several, [site], second_moments=True)
    given = {"name": "x", "data_hash": several.hash, "model": model}
    found = transport_of(sides, kind, **given).at(2)
    m, b = sides.present.mean[site][0], sides.absent.mean[site][0]
    torch.testing.assert_close(found(b), m, atol=1e-4, rtol=1e-4)  # mean onto mean
    before, after = (
        oas(side.covariance(site)[0], len(several) - 1) for side in (sides.absent, sides.present)
    )
    change = found.matrix.double()
    a = torch.eye(len(m)).double() + (torch.diag(change) if change.ndim == 1 else change)
    reached = a @ before @ a.T
    if kind == "gaussian":
        torch.testing.assert_close(reached, after, atol=1e-4 * float(after.max()), rtol=1e-3)
    elif kind == "coordinates":
        torch.testing.assert_close(reached.diagonal(), after.diagonal(), rtol=1e-4, atol=0)
    else:
        torch.testing.assert_close(reached, before)


def test_of_gaussian_samples_the_slope_is_that_of_sorted_activations():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 20_000, 4, generator=generator, dtype=torch.float64)
    spread = torch.tensor([0.3, 1.0, 2.0, 5.0]).double()
    target = other * spread + 1
    a, b = ((x - x.mean(0)).sort(dim=0).values for x in (one, target))
    by_sorting = (a * b).sum(0) / (a * a).sum(0)
    found = KINDS["coordinates"](torch.cov(one.T), torch.cov(target.T))
    torch.testing.assert_close(found, by_sorting, rtol=5e-3, atol=0)
    assert bool((by_sorting <= found + 1e-3).all())


def test_between_samples_of_one_distribution_the_map_nears_the_identity():
    far, spread = [], torch.linspace(0.2, 3, 10).double()
    for n in (30, 300, 3000):
        generator = torch.Generator().manual_seed(n)
        halves = torch.randn(2, n, 10, generator=generator, dtype=torch.float64) * spread
        shrunk = [oas(torch.cov(half.T), n - 1) for half in halves]
        far.append(float((gaussian_map(*shrunk) - torch.eye(10).double()).norm()))
    assert far == sorted(far, reverse=True) and far[-1] < 0.2


# ------------------------------------------------------------------ as edits


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, -2.0])
def test_transport_goes_a_share_of_the_way(diagonal, share):
    torch.manual_seed(0)
    matrix = torch.randn(8) if diagonal else torch.randn(8, 8)
    found = map_of(matrix, torch.randn(8), torch.randn(8))
    x = torch.randn(2, 3, 8) * 4
    [(_, hook)] = found.transport(share).fwd_hooks()
    expected = x.double() + share * (found(x) - x.double())
    torch.testing.assert_close(hook(x, hook=None).double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_of_zero_changes_no_bit(dtype):
    found = map_of(torch.randn(8, 8), torch.randn(8), torch.randn(8))
    x = torch.randn(2, 5, 8).to(dtype)
    [(_, hook)] = found.transport(0.0).fwd_hooks()
    assert torch.equal(hook(x, hook=None), x)


def test_pads_and_positions_outside_are_left_alone():
    torch.manual_seed(0)
    found = map_of(torch.randn(8, 8), torch.randn(8), torch.randn(8))
    clock = Clock()
    x = torch.randn(2, 4, 8)
    for positions, edited in (
        ("all", [[False, True, True, True], [True] * 4]),
        ("generated", [[False, False, False, True]] * 2),
        ("not_bos", [[False, False, True, True], [False, True, True, True]]),
    ):
        [(_, hook)] = found.transport(1.0, positions).fwd_hooks(clock)
        clock.begin(torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]))
        result, inside = hook(x, hook=None), torch.tensor(edited)
        assert torch.equal(result[~inside], x[~inside])
        torch.testing.assert_close(result[inside].double(), found(x)[inside], atol=1e-4, rtol=1e-4)


def test_a_schedule_weighs_the_whole_map():
    torch.manual_seed(0)
    found = map_of(torch.randn(8, 8), torch.randn(8), torch.randn(8))
    clock = Clock()
    schedule = diminishing(4)
    [(_, hook)] = found.transport(0.8, "generated", schedule).fwd_hooks(clock)
    clock.begin(torch.ones(1, 2, dtype=torch.long))
    x = torch.randn(1, 2, 8)
    for weight in schedule.weights[:4]:
        last = hook(x, hook=None)[:, -1]
        expected = x[:, -1] + 0.8 * weight * (found(x[:, -1]) - x[:, -1])
        torch.testing.assert_close(last.double(), expected, atol=1e-4, rtol=1e-4)
        clock.tick()
        x = torch.randn(1, 1, 8)


def test_rows_of_a_batch_have_maps_and_directions_of_their_own():
    torch.manual_seed(0)
    one = map_of(torch.randn(8, 8), torch.randn(8), torch.randn(8))
    other = map_of(torch.randn(8), torch.randn(8), torch.randn(8))
    rows = [
        one.transport(1.0),
        other.transport(0.5, "generated"),
        other.shift(1.0),
        ist.unsteered,
        one.transport(0.3) + other.project(2.0) + other.transport(1.0),
    ]
    clock = Clock()
    [(_, hook)] = row_hooks(rows, clock)
    clock.begin(torch.tensor([[0, 1, 1]] * 5))
    x = torch.randn(5, 3, 8)

    def alone(rows_left: list[int], x: Tensor) -> Tensor:
        each = []
        for place, row in enumerate(rows_left):
            own, edited = Clock(), x[place : place + 1]
            own.begin(torch.tensor([[0, 1, 1]]))
            if x.shape[1] == 1:
                own.tick()
            for _, function in row_hooks([rows[row]], own):
                edited = function(edited, hook=None)
            each.append(edited)
        return torch.cat(each)

    torch.testing.assert_close(hook(x, hook=None), alone(list(range(5)), x))
    clock.tick()
    clock.keep(torch.tensor([4, 1, 3]))
    x = torch.randn(3, 1, 8)
    torch.testing.assert_close(hook(x, hook=None), alone([4, 1, 3], x))


def test_edits_at_one_site_see_each_other_in_order():
    torch.manual_seed(0)
    found = map_of(torch.randn(8, 8), torch.randn(8), torch.randn(8))
    x = torch.randn(1, 2, 8)
    clamp = found.project(2.0)
    [(_, hook)] = (found.transport(1.0) + clamp).fwd_hooks()
    torch.testing.assert_close(hook(x, hook=None) @ found.unit, torch.full((1, 2), 2.0))
    [(_, hook)] = (clamp + found.transport(1.0)).fwd_hooks()
    [(_, first)] = clamp.fwd_hooks()
    expected = found(first(x, hook=None))
    torch.testing.assert_close(hook(x, hook=None).double(), expected, atol=1e-4, rtol=1e-4)


def test_gradients_pass_through_a_map():
    found = map_of(torch.randn(8, 8), torch.randn(8), torch.randn(8))
    [(_, hook)] = found.transport(1.0).fwd_hooks()
    x = torch.randn(1, 2, 8, requires_grad=True)
    hook(x, hook=None).sum().backward()
    expected = 1 + found.matrix.sum(0)
    torch.testing.assert_close(x.grad, expected.expand(1, 2, 8))


# ------------------------------------------------------------------ in generation


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("positions", ["all", "generated"])
def test_every_way_to_generate_says_the_same(model, maps, kind, positions):
    steer = maps[kind].at(2).transport(0.7, positions)
    options = {"max_new_tokens": 8}
    said = ist.generate(model, QUERIES, steer, **options)
    alone = [ist.generate(model, [query], steer, **options)[0] for query in QUERIES]
    uncached = ist.generate(
        model, QUERIES, steer, options=ist.GenerationOptions(use_cache=False), **options
    )
    by_bridge = ist.generate(
        model, QUERIES, steer, options=ist.GenerationOptions(through="hook_points"), **options
    )
    assert tokens(said) == tokens(alone) == tokens(uncached) == tokens(by_bridge)
    assert tokens(said) != tokens(ist.generate(model, QUERIES, **options))
    mixed = [ist.unsteered, steer, maps["gaussian"].at(1).transport(0.2)]
    beside = ist.generate(model, [QUERIES[1]] * 3, mixed, **options)
    each = [ist.generate(model, [QUERIES[1]], one, **options)[0] for one in mixed]
    assert tokens(beside) == tokens(each)
    at = f"{kind}(english_lowercase)@resid_post.2, coefficient=0.7"
    end = "" if positions == "all" else ", positions=generated"
    assert said[0].applied == f"transport({at}{end})"


@pytest.mark.parametrize("model", ["gemma2", "gpt2"], indirect=True)
def test_hook_points_and_the_plain_twin_agree(model, pairs):
    steer = fit_transport(model, pairs, layers=[1]).at(1).transport(0.5)
    scores = [
        ist.logprobs(model, QUERIES, ["The sea."] * 3, steer, through=through)
        for through in ("plain", "hook_points")
    ]
    for one, other in zip(*scores, strict=True):
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-4, rtol=1e-4)


def test_zero_is_unsteered_and_the_mean_is_a_shift(model, maps, pairs):
    plain = ist.generate(model, QUERIES, max_new_tokens=6)
    nothing = ist.generate(model, QUERIES, maps["gaussian"].at(2).transport(0.0), max_new_tokens=6)
    assert tokens(plain) == tokens(nothing)
    shift = ist.fit(model, pairs).at(2).shift(1.5)
    by_map = maps["mean"].at(2).transport(1.5)
    scores = [ist.logprobs(model, QUERIES, ["The sea."] * 3, one) for one in (shift, by_map)]
    for one, other in zip(*scores, strict=True):
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-5, rtol=1e-5)


def test_a_trace_tells_how_much_a_map_did(model, maps):
    steer = maps["gaussian"].at(2).transport(0.7, "first(2)")
    [said] = ist.generate(model, QUERIES[:1], steer, max_new_tokens=4)
    [found] = ist.trace(model, QUERIES[:1], [said.tokens], steer)
    expected = torch.tensor([[0.7, 0.7, 0.0, 0.0]])[:, : len(said.tokens)]
    torch.testing.assert_close(found.strength, expected)


@pytest.mark.slow
def test_a_compiled_pass_says_the_same(model, maps):
    several = [ist.unsteered, *(maps[kind].at(2).transport(0.7) for kind in KINDS)]
    steering = [several[row % len(several)] for row in range(len(PROMPTS))]
    options = {"max_new_tokens": 6, "batch_size": 3}
    plain = ist.generate(model, PROMPTS, steering, **options)
    assert compiled(model, steering, **options) == plain


# ------------------------------------------------------------------ values


def test_the_canonical_line_parses_back(maps):
    found = maps["gaussian"]
    steer = found.at(2).transport(0.5, "generated") + found.vector.at(1).add(2.0)
    assert str(Intervention.parse(str(steer), {found.name: found})) == str(steer)
    moved = found.direction(Site("resid_post", 1), Site("resid_post", 2)).transport()
    assert str(moved).startswith("transport(gaussian(english_lowercase)[resid_post.1]@resid_post.2")
    with pytest.raises(InterventionError, match=r"no map .* ist\.fit_transport"):
        Intervention.parse(str(steer), {found.name: found.vector})


def test_a_ledger_tells_maps_of_one_name_apart(maps):
    found = maps["gaussian"]
    steering = [
        found.at(2).transport(0.5),
        replace(found.at(2), matrix=2 * found.at(2).matrix).transport(0.5),
        replace(found.at(2), origin=found.at(2).origin + 1).transport(0.5),
    ]
    assert len({str(one) for one in steering}) == 1
    assert len(set(compute_keys("0", [[1]] * 3, steering, ["greedy"] * 3))) == 3


@pytest.mark.parametrize("kind", list(KINDS))
def test_saved_and_loaded_is_the_same(maps, kind, tmp_path, model):
    maps[kind].save(tmp_path / "maps.safetensors")
    loaded = TransportMaps.load(tmp_path / "maps.safetensors")
    assert torch.equal(loaded.matrices, maps[kind].matrices)
    assert torch.equal(loaded.vector.directions, maps[kind].vector.directions)
    assert loaded.card == maps[kind].card and loaded.layers == maps[kind].layers
    assert loaded.check(model) is loaded and loaded.card.estimator == f"{kind} transport"
    with pytest.raises(VectorError, match="holds TransportMaps, not SteeringVector"):
        ist.SteeringVector.load(tmp_path / "maps.safetensors")


@pytest.mark.parametrize("kind", ["coordinates", "gaussian"])
def test_a_random_control_moves_as_far_along_other_axes(maps, kind):
    found, control = maps[kind], maps[kind].like_random(3)
    assert torch.equal(control.matrices, found.like_random(3).matrices)
    assert not torch.equal(control.matrices, found.like_random(4).matrices)
    torch.testing.assert_close(control.vector.norms, found.vector.norms, atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(found.matrices, control.matrices, strict=True):
        if kind == "gaussian":
            torch.testing.assert_close(theirs, theirs.T, atol=1e-4, rtol=1e-4)
            mine, theirs = (torch.linalg.eigvalsh(each.double()) for each in (mine, theirs))
        mine, theirs = mine.sort().values, theirs.sort().values
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_mapped_is_refused_with_the_mend(model, maps, pairs):
    with pytest.raises(VectorError, match="'mean', 'coordinates', 'gaussian'"):
        fit_transport(model, pairs, "affine")
    with pytest.raises(VectorError, match="at another component"):
        fit_transport(model, pairs, component="z")
    with pytest.raises(InterventionError, match="or shift along"):
        Intervention.parse("transport(x@resid_post.2, coefficient=1.0)", {"x": maps["mean"].vector})
    with pytest.raises(InterventionError, match=r"\(64,\), \(64, 64\) or \(64,\)"):
        replace(maps["gaussian"].at(1), matrix=torch.zeros(3, 3), origin=torch.zeros(3))
    with pytest.raises(VectorError, match="does not make maps"):
        TransportMaps(replace(maps["mean"].vector, baseline=None), maps["mean"].matrices)
    without = capture_contrast(model, pairs.fit)
    with pytest.raises(CaptureError, match="second_moments=True"):
        transport_of(without, "mean", name="x", data_hash="y", model=model)
    with pytest.raises(InterventionError, match="finite"):
        maps["mean"].at(1).transport(float("nan"))
