"""Steering vectors: what is fitted, what is refused, algebra, controls, and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import interp_steer as ist
from interp_steer.capture.activations import capture_moments
from interp_steer.capture.options import CaptureOptions
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ContrastError, SiteError, VectorError
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.sites import COMPONENTS, Site
from interp_steer.vectors.card import Card
from interp_steer.vectors.fitting import difference_in_means, fit
from interp_steer.vectors.orthogonal import orthogonalise
from interp_steer.vectors.steering_vector import SteeringVector

N_LAYERS, D_MODEL = 3, 4
CARD = Card(
    name="lowercase",
    identity=ModelIdentity("some-model", "0123", N_LAYERS, D_MODEL),
    component="resid_post",
    position="last",
    estimator="difference_in_means",
    n=10,
    data_hash="abcd",
)


@pytest.fixture(scope="module")
def pairs() -> ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=6, select=2, test=3)


@pytest.fixture(scope="module")
def vector(tiny: Callable[[str], HookedLM], pairs: ContrastSet) -> SteeringVector:
    return fit(tiny("llama3"), pairs)


def same(a: SteeringVector, b: SteeringVector) -> bool:
    """Bit for bit."""
    tensors = all(
        (x is None and y is None) or (x is not None and y is not None and torch.equal(x, y))
        for x, y in (
            (a.directions, b.directions),
            (a.targets, b.targets),
            (a.baseline, b.baseline),
        )
    )
    return tensors and (a.layers, a.card) == (b.layers, b.card)


def mean_and_projection(
    model: HookedLM, prompts: list, site: Site, unit: Tensor
) -> tuple[Tensor, float]:
    """The mean activation at the last token and its mean projection, a prompt at a time."""
    rows = capture_moments(model, prompts, [site], keep_rows=True).rows
    assert rows is not None
    values = rows.values[site].double().flatten(1)
    return values.mean(0), float((values @ unit.double().flatten()).mean())


# ------------------------------------------------------------------ fitting


@pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)
@pytest.mark.parametrize("component", COMPONENTS)
def test_fitting_is_the_difference_in_means(
    model: HookedLM, pairs: ContrastSet, component: str
) -> None:
    vector = fit(model, pairs, component=component, layers=[1, 3])
    assert vector.layers == (1, 3) and vector.check(model) is vector
    for row, site in enumerate(vector.sites):
        unit = vector.unit[row]
        assert float(unit.norm()) == pytest.approx(1.0, abs=1e-6)
        present, target = mean_and_projection(model, pairs.fit.present, site, unit)
        absent, _ = mean_and_projection(model, pairs.fit.absent, site, unit)
        expected = (present - absent).reshape(unit.shape)
        torch.testing.assert_close(vector.directions[row].double(), expected, atol=1e-6, rtol=1e-5)
        assert float(vector.targets[row]) == pytest.approx(target, rel=1e-5, abs=1e-6)
        direction = vector.at(site.layer)
        torch.testing.assert_close(direction.unit, unit)
        assert direction.target == float(vector.targets[row])


@pytest.mark.parametrize("model", ["llama3", "gemma2", "llama2"], indirect=True)
def test_answers_that_have_begun_are_read_where_they_end(model: HookedLM) -> None:
    """Contrastive activation addition: one question, and the side lies in the answer alone."""
    asked = {"role": "user", "content": "Is the whale kind?"}
    yes, no = ([asked, {"role": "assistant", "content": text}] for text in ("Yes, it", "No, it"))
    vector = fit(model, ContrastSet("agrees", (Pair(asked["content"], yes, no),)))
    with torch.inference_mode():
        activations = [
            model.bridge.run_with_cache(torch.tensor(model.tokenize([side])))[1]
            for side in (yes, no)
        ]
    for row, site in enumerate(vector.sites):
        present, absent = (cache[site.hook_name][0, -1] for cache in activations)
        torch.testing.assert_close(vector.directions[row], present - absent, atol=1e-5, rtol=1e-4)


def test_a_fit_that_was_stopped_goes_on(
    model: HookedLM, pairs: ContrastSet, tmp_path: Path
) -> None:
    whole = fit(model, pairs)
    fit(model, pairs, options=CaptureOptions(checkpoint=tmp_path))
    left = sorted(tmp_path.iterdir())
    assert len(left) == 2
    left[0].unlink()  # as if it had been stopped between the two sides
    resumed = fit(model, pairs, options=CaptureOptions(checkpoint=tmp_path))
    assert torch.equal(resumed.directions, whole.directions) and resumed.card == whole.card
    fit(
        model, pairs, layers=[0], options=CaptureOptions(checkpoint=tmp_path)
    )  # another fit has files of its own
    assert len(list(tmp_path.iterdir())) == 4


def test_only_the_fit_split_is_fitted_on(
    model: HookedLM, vector: SteeringVector, pairs: ContrastSet
) -> None:
    assert same(fit(model, pairs.fit), vector)
    assert vector.card.n == 6 and vector.card.data_hash == pairs.fit.hash
    assert vector.card.name == "english_lowercase" and vector.card.model == model.name
    assert not torch.equal(fit(model, pairs.test).directions, vector.directions)


def test_fitting_from_merged_moments_is_fitting(
    model: HookedLM, vector: SteeringVector, pairs: ContrastSet
) -> None:
    first, second = pairs.fit[:2], pairs.fit[2:]
    sides = [
        capture_moments(model, getattr(first, side)) + capture_moments(model, getattr(second, side))
        for side in ("present", "absent")
    ]
    merged = difference_in_means(*sides, name="x", data_hash="y", model=model)
    torch.testing.assert_close(merged.directions, vector.directions, atol=1e-5, rtol=1e-4)
    with pytest.raises(VectorError, match="positions"):
        difference_in_means(
            sides[0],
            capture_moments(model, pairs.fit.absent, positions=0),
            name="x",
            data_hash="y",
            model=model,
        )


def test_what_cannot_be_fitted_is_refused(model: HookedLM, pairs: ContrastSet) -> None:
    with pytest.raises(VectorError, match="use 'difference_in_means'"):
        fit(model, pairs, estimator="magic")
    with pytest.raises(SiteError, match="from 0 to 3"):
        fit(model, pairs, layers=[9])
    with pytest.raises(ContrastError, match="no 'fit' pairs"):
        fit(model, ContrastSet(pairs.name, pairs.select.pairs + pairs.test.pairs))


# ------------------------------------------------------------------ use


def test_projection_moves_activations_to_the_target(
    model: HookedLM, vector: SteeringVector, pairs: ContrastSet
) -> None:
    site = Site("resid_post", 2)
    direction = vector.at(2)
    with model.steered(direction.project()):
        _, projection = mean_and_projection(model, pairs.test.absent, site, direction.unit)
    assert projection == pytest.approx(direction.target, rel=1e-4)


def test_a_direction_may_be_applied_elsewhere(vector: SteeringVector) -> None:
    steer = vector.at(2, apply_layer=1).add(2.0)
    assert str(steer) == "add(english_lowercase[resid_post.2]@resid_post.1, coefficient=2.0)"
    assert str(Intervention.parse(str(steer), {"english_lowercase": vector})) == str(steer)
    with pytest.raises(VectorError, match=r"layers 0 to 3 and has no direction at resid_post\.7"):
        vector.at(7)
    with pytest.raises(VectorError, match=r"no direction at z\.1"):
        vector.direction(Site("z", 1), Site("z", 1))
    with pytest.raises(SiteError):
        vector.at(1, apply_layer=7)


def test_another_model_is_refused_with_the_mend(
    tiny: Callable[[str], HookedLM], vector: SteeringVector
) -> None:
    model = tiny("llama3")
    large = replace(
        vector,
        directions=torch.ones(1, 2304),
        targets=None,
        baseline=None,
        layers=(5,),
        card=replace(
            vector.card, identity=ModelIdentity("google/gemma-2-2b-it", "other", 26, 2304)
        ),
    )
    with pytest.raises(VectorError) as caught:
        large.check(model)
    assert str(caught.value) == (
        "SteeringVector for google/gemma-2-2b-it (26 layers, d_model 2304) cannot steer "
        "tiny-llama3 (4 layers, d_model 64); fit one with ist.fit(model, pairs), "
        "or map it with ist.transfer.map_vector(...)"
    )
    with pytest.raises(VectorError, match="its weights were"):
        vector.check(tiny("llama2"))


# ------------------------------------------------------------------ values

finite = st.floats(-8, 8, width=32).map(lambda x: 0.0 if abs(x) < 1e-3 else x)


def tensors(*shape: int) -> st.SearchStrategy[Tensor]:
    size = torch.Size(shape).numel()
    return st.lists(finite, min_size=size, max_size=size).map(
        lambda values: torch.tensor(values).reshape(shape)
    )


Sides = tuple[Tensor, Tensor]
sides = st.tuples(tensors(N_LAYERS, D_MODEL), tensors(N_LAYERS, D_MODEL))


def fitted(means: Sides) -> SteeringVector:
    """The difference-in-means vector of the means of the two sides."""
    with_it, without = (mean.double() for mean in means)
    directions = (with_it - without).float()
    norms = directions.double().norm(dim=-1, keepdim=True)
    unit = directions.double() / torch.where(norms == 0, 1.0, norms)
    targets = (with_it * unit).sum(-1).float()
    return SteeringVector(directions, targets, (0, 1, 2), CARD, without.float())


quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(sides, sides, sides)
def test_vectors_add_as_vectors_do(x: Sides, y: Sides, z: Sides) -> None:
    a, b, c = fitted(x), fitted(y), fitted(z)

    def equal(one: SteeringVector, other: SteeringVector) -> None:
        torch.testing.assert_close(one.directions, other.directions, atol=1e-5, rtol=1e-5)

    equal(a + b, b + a)
    equal((a + b) + c, a + (b + c))
    equal(a - b, a + (-b))
    equal(2 * (a + b), 2 * a + 2 * b)
    equal((a * 3) / 3, a)
    equal(a - a, 0 * b)
    assert (a + b).targets is None and (a + b).baseline is None
    assert (a + b).card.n == 20 and (a + b).name == "lowercase + lowercase"
    assert (a - (b + c)).name == "lowercase - (lowercase + lowercase)"


@quick
@given(sides, st.floats(0.1, 10))
def test_scaling_keeps_the_targets(means: Sides, factor: float) -> None:
    a = fitted(means)
    scaled = factor * a
    assert torch.equal(scaled.targets, a.targets)  # type: ignore[arg-type]
    torch.testing.assert_close(scaled.norms, a.norms * factor, atol=1e-4, rtol=1e-4)
    negative = (-factor) * a
    torch.testing.assert_close(negative.directions, -scaled.directions)
    torch.testing.assert_close(negative.targets, (-a).targets)


@quick
@given(sides)
def test_negation_is_fitting_with_the_sides_exchanged(means: Sides) -> None:
    turned, negated = fitted(means[::-1]), -fitted(means)
    torch.testing.assert_close(turned.directions, negated.directions)
    torch.testing.assert_close(turned.targets, negated.targets, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned.baseline, negated.baseline, atol=1e-4, rtol=1e-4)
    assert negated.name == "-lowercase"


@quick
@given(sides, st.integers(0, 1000))
def test_a_random_control_disturbs_as_much(means: Sides, seed: int) -> None:
    a = fitted(means)
    control = a.like_random(seed)
    assert same(control, a.like_random(seed))
    assert (
        not torch.equal(control.directions, a.like_random(seed + 1).directions) or not a.norms.any()
    )
    torch.testing.assert_close(control.norms, a.norms, atol=1e-5, rtol=1e-5)
    assert control.name == f"random-{seed}(lowercase)" and control.card.estimator == "random"
    assert a.targets is not None and a.baseline is not None and control.targets is not None
    for layer in (layer for layer in a.layers if a.norms[layer]):
        moved, random_moved = (
            float(v.targets[layer]) - float(a.baseline[layer] @ v.at(layer).unit)
            for v in (a, control)
        )
        assert random_moved == pytest.approx(moved, abs=1e-4)
        assert moved == pytest.approx(float(a.norms[layer]), abs=1e-3)


def test_another_vector_as_a_control_has_its_own_directions_and_this_ones_lengths(
    vector: SteeringVector, tiny: Callable[[str], HookedLM]
) -> None:
    other = fit(tiny("llama3"), ist.world.instruction("punctuation:no_comma", fit=6))
    control = vector.matched(other)
    torch.testing.assert_close(control.unit, other.unit)
    torch.testing.assert_close(control.norms, vector.norms)
    assert vector.baseline is not None and vector.targets is not None
    assert control.targets is not None and control.name == other.name
    moved = [
        v.targets.double() - (vector.baseline.double() * v.unit.double()).sum(-1)  # type: ignore[union-attr]
        for v in (vector, control)
    ]
    torch.testing.assert_close(moved[0], moved[1], atol=1e-4, rtol=1e-4)


def test_orthogonal_directions_are_the_nearest_to_those_that_were_fitted(
    vector: SteeringVector, tiny: Callable[[str], HookedLM], pairs: ContrastSet
) -> None:
    model = tiny("llama3")
    ids = ("punctuation:no_comma", "startend:quotation")
    vectors = [vector, *(fit(model, ist.world.instruction(one, fit=6)) for one in ids)]
    apart = orthogonalise(vectors)
    for one, was in zip(apart, vectors, strict=True):
        torch.testing.assert_close(one.norms, was.norms)
        assert (one.cosine(was) > 0).all()
    for a, b in combinations(apart, 2):
        assert a.cosine(b).abs().max() < 1e-5
    exchanged = orthogonalise(vectors[::-1])[::-1]
    for one, other in zip(apart, exchanged, strict=True):
        torch.testing.assert_close(one.directions, other.directions, atol=1e-5, rtol=1e-4)
    [alone] = orthogonalise([vector])
    torch.testing.assert_close(alone.directions, vector.directions, atol=1e-5, rtol=1e-4)
    assert alone.targets is not None and vector.targets is not None
    torch.testing.assert_close(alone.targets, vector.targets, atol=1e-4, rtol=1e-4)
    with pytest.raises(VectorError, match="depend on one another at layers"):
        orthogonalise([vector, 2 * vector])
    with pytest.raises(VectorError, match="give at least one"):
        orthogonalise([])


def test_the_random_control_displaces_real_activations_as_much(
    model: HookedLM, vector: SteeringVector, pairs: ContrastSet
) -> None:
    site, control = Site("resid_post", 2), vector.like_random(7)
    _, before = mean_and_projection(model, pairs.fit.absent, site, vector.at(2).unit)
    _, random_before = mean_and_projection(model, pairs.fit.absent, site, control.at(2).unit)
    assert control.at(2).target - random_before == pytest.approx(
        vector.at(2).target - before, rel=1e-3
    )
    assert abs(float(control.cosine(vector)[2])) < 0.6
    # A layer's draw is its own, whichever other layers the vector has.
    lone = fit(model, pairs, layers=[2]).like_random(7)
    torch.testing.assert_close(lone.directions[0], control.directions[2], atol=1e-5, rtol=1e-4)


def test_cosine_is_one_with_itself_and_minus_one_with_its_opposite(vector: SteeringVector) -> None:
    torch.testing.assert_close(vector.cosine(3 * vector), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(vector.cosine(-vector), -torch.ones(4), atol=1e-5, rtol=0)


def test_what_does_not_go_together_is_refused() -> None:
    a = SteeringVector(torch.ones(3, 4), None, (0, 1, 2), CARD)
    other = replace(CARD.identity, fingerprint="4567")
    for what, change in (
        ("fingerprint", {"identity": other}),
        ("component", {"component": "resid_pre"}),
        ("position", {"position": "all"}),
    ):
        with pytest.raises(VectorError, match=f"combine vectors of the same {what}"):
            _ = a + replace(a, card=replace(CARD, **change))
    with pytest.raises(VectorError, match="same layers"):
        _ = a - replace(a, directions=torch.ones(2, 4), layers=(0, 1))
    with pytest.raises(VectorError, match="same layers"):
        a.cosine(replace(a, directions=torch.ones(2, 4), layers=(0, 1)))
    with pytest.raises(VectorError, match="divided by 0"):
        _ = a / 0
    with pytest.raises(VectorError, match="use a finite number"):
        _ = a * float("nan")
    with pytest.raises(TypeError):
        _ = a + 1  # type: ignore[operator]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["directions", "targets", "baseline"])
def test_what_is_not_finite_is_refused_by_layer(name: str, value: float) -> None:
    parts = {"directions": torch.ones(3, 4), "targets": torch.ones(3), "baseline": torch.ones(3, 4)}
    parts[name][1] = value
    with pytest.raises(VectorError, match=rf"{name} with nan or inf at layers \[1\]"):
        SteeringVector(layers=(0, 1, 2), card=CARD, **parts)


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(VectorError, match="one direction for each layer"):
        SteeringVector(torch.ones(3, 4), None, (0, 1), CARD)
    with pytest.raises(VectorError, match="the layers rising"):
        SteeringVector(torch.ones(3, 4), None, (2, 1, 0), CARD)
    with pytest.raises(VectorError, match=r"the shape \(layer, 4\)"):
        SteeringVector(torch.ones(3, 5), None, (0, 1, 2), CARD)
    with pytest.raises(VectorError, match="n_heads, d_head"):
        SteeringVector(torch.ones(3, 4), None, (0, 1, 2), replace(CARD, component="z"))
    with pytest.raises(SiteError):
        SteeringVector(torch.ones(3, 4), None, (1, 2, 3), CARD)


def test_a_zero_direction_is_refused_when_it_is_used() -> None:
    directions = torch.ones(3, 4)
    directions[1] = 0
    a = SteeringVector(directions, None, (0, 1, 2), CARD)
    assert a.norms.tolist() == [2, 0, 2]
    a.at(0).ablate()
    for use in (lambda: a.at(1), lambda: a.unit, lambda: a.cosine(a)):
        with pytest.raises(VectorError, match=r"zero at layers \[1\]"):
            use()


# ------------------------------------------------------------------ files


@quick
@given(means=sides, measured=st.booleans())
def test_a_vector_loads_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory, means: Sides, measured: bool
) -> None:
    a = fitted(means)
    if not measured:
        a = replace(a, targets=None, baseline=None)
    path = tmp_path_factory.getbasetemp() / "vector.safetensors"
    a.save(path)
    assert same(SteeringVector.load(path), a)


def test_a_fitted_z_vector_loads_as_it_was_saved(
    model: HookedLM, pairs: ContrastSet, tmp_path: Path
) -> None:
    a = fit(model, pairs, component="z")
    a.save(tmp_path / "vector.safetensors")
    loaded = SteeringVector.load(tmp_path / "vector.safetensors")
    assert same(loaded, a) and loaded.check(model)
    assert [path.name for path in tmp_path.iterdir()] == ["vector.safetensors"]


def test_damage_is_found_wherever_it_is(vector: SteeringVector, tmp_path: Path) -> None:
    path = tmp_path / "vector.safetensors"
    vector.save(path)
    whole = path.read_bytes()
    for cut in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(VectorError, match=r"vector\.safetensors"):
            SteeringVector.load(path)
    for place in range(8, len(whole), 197):  # the header's and the tensors' bytes alike
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(VectorError, match=r"vector\.safetensors"):
            SteeringVector.load(path)
    path.write_bytes(whole)
    assert same(SteeringVector.load(path), vector)


def test_foreign_files_are_refused_by_name(
    model: HookedLM, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"model.embed": torch.ones(2)}, foreign)
    with pytest.raises(VectorError, match=r"foreign\.safetensors is .*\(it holds model\.embed\)"):
        SteeringVector.load(foreign)
    with pytest.raises(VectorError, match=r"model\.safetensors is a safetensors file, but no"):
        SteeringVector.load(checkpoint("llama3") / "model.safetensors")
    moments = tmp_path / "moments.safetensors"
    capture_moments(model, ["Hello."]).save(moments)
    with pytest.raises(VectorError, match=r"holds Moments, not SteeringVector"):
        SteeringVector.load(moments)
    with pytest.raises(VectorError, match="missing or damaged"):
        SteeringVector.load(tmp_path / "none.safetensors")


def test_a_folder_that_is_not_there_is_refused(vector: SteeringVector, tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="make its folder"):
        vector.save(tmp_path / "none" / "vector.safetensors")
