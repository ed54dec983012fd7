"""Maps between residual streams: how they are fitted, what they carry, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.contrast.pair import SPLITS
from interp_steer.errors import CaptureError, SiteError, TransferError, VectorError
from interp_steer.vectors.transfer import fitting
from interp_steer.vectors.transfer.linear_maps import KINDS, cca, procrustes, ridge, squared_errors
from interp_steer.vectors.transfer.paired_activations import SharedTexts, pair_layers
from interp_steer.vectors.transfer.residual_map import ResidualMap
from tests.support.shapes import shapes_unchecked

FITTED = ("procrustes", "ridge", "cca")
PENALTIES = (0.0, 1e-2, 1.0)
PROMPTS = [
    f"{verb} {thing}."
    for verb in ("Tell me about", "Write a story about", "List five things about")
    for thing in ("the sea", "the castle", "a puppet", "a whale", "bread", "a carpenter", "milk")
]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def turn(d: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(drawn(d, d, seed=seed))[0]


def fitted(kind: str, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    return [one.weights for one in KINDS[kind](x, y, PENALTIES)]


# ------------------------------------------------------------------ fitting a matrix
@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("d_target", [4, 6, 9])
def test_a_rotation_with_a_scale_is_found_by_every_kind(kind, d_target):
    x = drawn(40, 6)
    square = turn(max(6, d_target), seed=1)
    planted = 2.5 * square[:6, :d_target]  # orthonormal rows or columns
    best = min(
        KINDS[kind](x, x @ planted, PENALTIES),
        key=lambda one: float(squared_errors(x, x @ planted, one.weights).sum()),
    )
    if kind == "procrustes" and d_target < 6:  # what is not seen of the source keeps its variance
        assert best.weights.shape == planted.shape
    else:
        torch.testing.assert_close(best.weights, planted)


def test_any_matrix_is_found_by_those_that_are_free():
    x, planted = drawn(40, 6), drawn(6, 5, seed=1)
    for kind in ("ridge", "cca"):
        candidates = KINDS[kind](x, x @ planted, (0.0,))
        errors = [squared_errors(x, x @ planted, one.weights).sum() for one in candidates]
        assert min(errors) < 1e-18


@pytest.mark.parametrize("kind", FITTED)
@given(st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_axes_mean_nothing(kind, seed):
    """Axes of the source turned, and those of the target: the map is turned with them."""
    x, y = drawn(30, 5, seed=seed), drawn(30, 7, seed=seed + 1)
    one, other = turn(5, seed=seed + 2), turn(7, seed=seed + 3)
    plain, turned = fitted(kind, x, y), fitted(kind, x @ one, y @ other)
    for before, after in zip(plain, turned, strict=True):
        torch.testing.assert_close(after, one.T @ before @ other)


def test_canonical_correlations_know_no_units():
    """Any coordinates of either side will do where there is no penalty."""
    x, y, a, b = drawn(60, 5), drawn(60, 5, seed=1), drawn(5, 5, seed=2), drawn(5, 5, seed=3)
    y = y + x @ drawn(5, 5, seed=4)
    plain = [one.weights for one in cca(x, y, (0.0,))]
    other = [one.weights for one in cca(x @ a, y @ b, (0.0,))]
    for before, after in zip(plain, other, strict=True):
        torch.testing.assert_close(after, torch.linalg.inv(a) @ before @ b)


def test_canonical_variates_are_kept_at_full_length():
    x, y = drawn(200, 4), drawn(200, 4, seed=1)  # which have nothing to do with each other
    *_, whole = cca(x, y, (0.0,))
    assert whole.rank == 4
    mapped = x @ whole.weights
    torch.testing.assert_close(mapped.T @ mapped, y.T @ y)
    shrunk = x @ next(ridge(x, y, (0.0,))).weights
    assert shrunk.square().sum() < 0.2 * mapped.square().sum()


@given(st.integers(0, 2**31), st.sampled_from([(5, 5), (5, 8)]))
@settings(max_examples=15, deadline=None)
def test_no_rotation_with_a_scale_fits_better(seed, widths):
    d, d_target = widths
    x, y = drawn(20, d, seed=seed), drawn(20, d_target, seed=seed + 1)
    (found,) = procrustes(x, y)
    other = turn(d_target, seed=seed + 2)[:d]
    scale = (x @ other * y).sum() / (x @ other).square().sum()
    best = squared_errors(x, y, found.weights).sum()
    assert best <= squared_errors(x, y, scale * other).sum() + 1e-9
    singular = torch.linalg.svdvals(found.weights)
    torch.testing.assert_close(singular, singular[:1].expand_as(singular))


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 3.0])
def test_ridge_is_least_squares_with_rows_that_pull_to_zero(penalty):
    x, y = drawn(30, 6), drawn(30, 4, seed=1)
    (found,) = ridge(x, y, (penalty,))
    pull = (penalty * x.square().sum() / 6).sqrt()
    more = torch.cat([x, pull * torch.eye(6, dtype=torch.float64)])
    zeros = torch.cat([y, torch.zeros(6, 4, dtype=torch.float64)])
    torch.testing.assert_close(found.weights, torch.linalg.lstsq(more, zeros).solution)


@pytest.mark.parametrize("kind", FITTED)
def test_what_is_never_seen_is_mapped_to_nothing(kind):
    x, y = drawn(30, 6), drawn(30, 5, seed=1)
    axis = turn(6, seed=2)[0]
    x = x - torch.outer(x @ axis, axis)
    for weights in fitted(kind, x, y):
        assert (axis @ weights).norm() < 1e-8 * weights.norm()


def test_rows_that_tell_nothing_are_refused():
    x = drawn(10, 4)
    for kind in ("ridge", "cca"):
        with pytest.raises(TransferError, match="all alike"):
            fitted(kind, torch.zeros_like(x), x)
    with pytest.raises(TransferError, match="width 4 and 3 is not defined"):
        fitted("identity", x, x[:, :3])


# ------------------------------------------------------------------ the same texts
@pytest.fixture(scope="module")
def both(tiny: Callable[[str], ist.HookedLM]) -> tuple[ist.HookedLM, ist.HookedLM]:
    return tiny("llama3"), tiny("gemma2")


@pytest.fixture(scope="module")
def texts(both) -> SharedTexts:
    return fitting.capture_pairs(*both, PROMPTS)


def test_the_splits_of_the_prompts_are_apart(texts):
    splits = torch.stack([texts.split(name) for name in SPLITS])
    assert splits.sum(dim=0).eq(1).all() and splits.any(dim=1).all()
    assert splits[0].sum() > 2 * splits[1].sum()
    other = replace(texts, seed=1)
    assert not torch.equal(other.split("test"), texts.split("test"))
    with pytest.raises(TransferError, match="unknown"):
        texts.split("dev")


def test_all_places_of_a_prompt_are_in_one_split(both):
    texts = fitting.capture_pairs(
        *both, PROMPTS, answers=["a wooden puppet"] * 21, position="generated"
    )
    assert len(texts.prompt) > len(texts.prompts) == 21
    for name in SPLITS:
        inside = texts.split(name)
        assert set(texts.prompt[inside].tolist()).isdisjoint(texts.prompt[~inside].tolist())


def test_layers_go_together_by_depth(tiny, burattino_instruct):
    small, large = tiny("llama3"), burattino_instruct  # of 4 layers and of 8
    assert pair_layers(small, small) == tuple((k, k) for k in range(4))
    assert pair_layers(large, small) == ((1, 0), (3, 1), (5, 2), (7, 3))
    there = pair_layers(small, large)
    assert [target for _, target in there] == list(range(8)) and there[-1] == (3, 7)
    assert [here for here, _ in there] == sorted(here for here, _ in there)
    assert pair_layers(large, small, "resid_pre") == ((0, 0), (2, 1), (4, 2), (6, 3))
    assert pair_layers(small, large, layers=[(2, 5), (0, 1)]) == ((0, 1), (2, 5))
    with pytest.raises(TransferError, match="each layer of the target once"):
        pair_layers(small, large, layers=[(0, 1), (2, 1)])
    with pytest.raises(SiteError):
        pair_layers(small, large, layers=[(4, 1)])


@pytest.mark.parametrize("position", ["last", "generated", -2])
def test_rows_are_the_activations_of_either_model(both, position):
    answers = ["a wooden puppet", "a whale", "the sea"] * 7 if position == "generated" else None
    found = fitting.capture_pairs(
        *both, PROMPTS, position=position, answers=answers, max_new_tokens=2
    )
    site = ist.Site("resid_post", 2)
    for model, rows in zip(both, (found.source_rows, found.target_rows), strict=True):
        if position != "generated":
            by_hand = ist.capture.capture_moments(
                model, PROMPTS, [site], position, keep_rows=True
            ).rows
            assert by_hand is not None
            torch.testing.assert_close(rows[2], by_hand.values[site])
    if position == "generated":
        assert found.prompts == list(range(21)) and found.prompt.bincount().max() <= 2


def test_places_are_those_at_which_both_have_read_the_same(tiny, burattino_instruct):
    """Tokenizers that differ: rows go together where the words so far are the same."""
    models, answers = (tiny("llama3"), burattino_instruct), ["The whale is large."] * 3
    options = {"position": "generated", "answers": answers}
    found = fitting.capture_pairs(*models, PROMPTS[:3], layers=[(1, 2)], **options)
    ids = [model.tokenizer(answers[0], add_special_tokens=False)["input_ids"] for model in models]
    assert len(ids[0]) != len(ids[1])
    read = [
        {model.decode(own[:step]): step for step in range(len(own))}
        for model, own in zip(models, ids, strict=True)
    ]
    same = [text for text in read[0] if text in read[1]]
    assert found.prompt.bincount().tolist() == [len(same)] * 3 and len(same) > 1
    for model, rows, at, layer in zip(
        models, (found.source_rows, found.target_rows), read, (1, 2), strict=True
    ):
        site = ist.Site("resid_post", layer)
        every = ist.capture.capture_moments(
            model, PROMPTS[:1], [site], "generated", answers=answers[:1], keep_rows=True
        ).rows
        assert every is not None
        expected = every.values[site][[at[text] for text in same]]
        torch.testing.assert_close(rows[layer][: len(same)], expected, atol=1e-4, rtol=1e-4)


def test_what_two_models_do_not_share_is_refused(both):
    for options, said in (
        ({"position": "all"}, "two templates"),
        ({"component": "z"}, "do not go together"),
        ({"layers": []}, "at least one pair"),
    ):
        with pytest.raises(TransferError, match=said):
            fitting.capture_pairs(*both, PROMPTS, **options)
    with pytest.raises(TransferError, match="at least 3"):
        fitting.capture_pairs(*both, PROMPTS[:2])
    with pytest.raises(CaptureError):
        fitting.capture_pairs(*both, PROMPTS, position=-500)


def test_models_answer_in_turn_where_no_answers_are_given(both):
    found = fitting.capture_pairs(*both, PROMPTS[:6], position="generated", max_new_tokens=3)
    assert 3 <= len(found.prompts) <= 6
    again = fitting.capture_pairs(*both, PROMPTS[:6], position="generated", max_new_tokens=3)
    assert found.data_hash == again.data_hash != fitting.capture_pairs(*both, PROMPTS[:6]).data_hash


# ------------------------------------------------------------------ maps
@pytest.fixture(scope="module")
def vector(both) -> ist.SteeringVector:
    pairs = ist.world.instruction("change_case:english_lowercase", fit=6, select=0, test=0)
    return ist.fit(both[0], pairs)


@pytest.fixture(scope="module")
def made(texts) -> ResidualMap:
    return fitting.fit_map_on(texts, "ridge")


@pytest.fixture(scope="module")
def planted(texts) -> SharedTexts:
    """Texts of a target whose stream is the source's, turned, stretched and shifted."""
    turned = {
        there: (3 * texts.source_rows[here].double() @ turn(64, seed=there) + 0.5).float()
        for here, there in texts.layers
    }
    return replace(texts, target_rows=turned)


@pytest.mark.parametrize("kind", FITTED)
def test_what_was_planted_is_carried(kind, planted, vector):
    """Along what the prompts show, which is less than there is: 15 of them in 64 dimensions."""
    found = fitting.fit_map_on(planted, kind, penalties=(0.0,))
    fit = planted.split("fit")
    for here, there in found.layers:
        rows = planted.source_rows[here].double()
        shown = rows[fit] - rows[fit].mean(dim=0)
        _, _, axes = torch.linalg.svd(shown, full_matrices=False)
        along = axes[: int(fit.sum()) - 1]
        seen = vector.directions[vector.layers.index(here)].double() @ along.T @ along
        moved = seen @ found.weights[found.layers.index((here, there))].double()
        torch.testing.assert_close(moved, 3 * seen @ turn(64, seed=there), atol=1e-4, rtol=1e-3)
        again = found.activations(planted.source_rows[here][fit], there)
        torch.testing.assert_close(
            again.float(), planted.target_rows[there][fit], atol=1e-3, rtol=1e-3
        )
    assert all(quality.value > 0.5 for quality in found.quality)


def test_a_map_to_oneself_gives_the_vector_back(both, vector):
    model = both[0]
    back = fitting.fit_map(model, model, PROMPTS, "identity")(vector)
    for name in ("directions", "targets", "baseline"):
        torch.testing.assert_close(getattr(back, name), getattr(vector, name), atol=1e-4, rtol=1e-4)
    assert back.layers == vector.layers and back.card.fingerprint == vector.card.fingerprint


def test_a_direction_is_the_difference_of_two_activations(made, texts, vector):
    mapped = made(vector)
    for here, there in made.layers:
        rows = texts.source_rows[here].double()
        direction = vector.directions[vector.layers.index(here)].double()
        step = made.activations(rows + direction, there) - made.activations(rows, there)
        expected = mapped.directions[mapped.layers.index(there)].double()
        torch.testing.assert_close(step, expected.expand_as(step), atol=1e-5, rtol=1e-4)


def test_the_target_is_that_of_the_point_that_has_the_property(made, vector):
    """Where projecting takes the mean prompt in the source, mapped: there it takes it too."""
    mapped = made(vector)
    for here, there in made.layers:
        one, other = vector.layers.index(here), mapped.layers.index(there)
        before = vector.baseline[one].double()
        unit = vector.unit[one].double()
        point = before + (vector.targets[one].double() - before @ unit) * unit
        along = made.activations(point, there) @ mapped.unit[other].double()
        assert float(along) == pytest.approx(float(mapped.targets[other]), abs=1e-3)
        after = made.activations(before, there)
        torch.testing.assert_close(mapped.baseline[other].double(), after, atol=1e-4, rtol=1e-4)


def test_a_mapped_vector_steers_its_target_and_no_other(made, both, vector):
    source, target = both
    mapped = made(vector)
    mapped.check(target)
    assert "ridge" in mapped.card.estimator and mapped.card.model == target.name
    assert mapped.card.data_hash == vector.card.data_hash and mapped.card.reliability is None
    plain = ist.generate(target, PROMPTS[:1], max_new_tokens=6)[0]
    steered = ist.generate(target, PROMPTS[:1], mapped.at(2).add(40.0), max_new_tokens=6)[0]
    assert steered.tokens != plain.tokens and "resid_post.2" in steered.applied
    with pytest.raises(VectorError, match="cannot steer"):
        mapped.check(source)
    with pytest.raises(VectorError, match="takes vectors of weights"):
        made(mapped)


def test_a_vector_is_mapped_from_where_it_was_read(both, vector, made):
    source, target = both
    direct = fitting.map_vector(vector, source, target, PROMPTS)
    torch.testing.assert_close(direct.directions, made(vector).directions)
    pairs = ist.world.instruction("change_case:english_lowercase", fit=6, select=0, test=0)
    other = ist.fit(source, pairs, component="mlp_out", position=-2, layers=[1])
    found = fitting.map_vector(other, source, target, PROMPTS)
    assert found.card.component == "mlp_out" and found.card.position == "-2"
    assert found.layers == (1,)
    with pytest.raises(VectorError):
        fitting.map_vector(vector, target, source, PROMPTS)


def test_maps_are_joined_where_they_meet(both, made, texts, vector):
    """There and back is one map, whatever it is given."""
    source, target = both
    back = fitting.fit_map(target, source, PROMPTS, "procrustes")
    joined = made.then(back)
    for name in ("directions", "targets", "baseline"):
        one, other = getattr(joined(vector), name), getattr(back(made(vector)), name)
        # At layer 0 the last token of a template differs by rounding alone.
        torch.testing.assert_close(one[1:], other[1:], atol=1e-3, rtol=1e-3)
    rows = texts.source_rows[1]
    torch.testing.assert_close(
        joined.activations(rows, 1), back.activations(made.activations(rows, 1), 1),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip
    assert joined.quality is None and joined.kind == "ridge via procrustes"
    with pytest.raises(TransferError, match="join maps whose model is the same"):
        made.then(made)
    first = fitting.fit_map(target, source, PROMPTS, layers=[(3, 0)])
    later = fitting.fit_map(source, target, PROMPTS, layers=[(1, 0)])
    with pytest.raises(TransferError, match="share a layer"):
        first.then(later)


def test_a_random_map_keeps_lengths_and_loses_the_way(made, texts, vector):
    random = made.like_random(0)
    for one, other in zip(made.weights, random.weights, strict=True):
        torch.testing.assert_close(
            torch.linalg.svdvals(one), torch.linalg.svdvals(other), atol=1e-3, rtol=1e-3
        )
        for mine, turned in ((one, other), (one.T, other.T)):  # what it reaches, what it reads
            inner = mine.T @ mine
            assert (inner - turned.T @ turned).norm() > 0.5 * inner.norm()
    assert torch.equal(random.target_mean, made.target_mean)
    assert torch.equal(random.weights, made.like_random(0).weights)
    own = made(vector)
    cosines = torch.stack([own.cosine(made.like_random(seed)(vector)) for seed in range(40)])
    assert abs(float(cosines.mean())) < 0.1
    for fit, control in zip(made.quality, fitting.r_squared(random, texts), strict=True):
        assert fit.value > control.value


def test_quality_is_of_prompts_that_the_fit_has_not_seen(texts, made):
    test = texts.split("test")
    changed = {
        layer: torch.where(test[:, None], torch.zeros_like(rows), rows)
        for layer, rows in texts.target_rows.items()
    }
    other = fitting.fit_map_on(replace(texts, target_rows=changed), "ridge")
    assert torch.equal(other.weights, made.weights) and other.quality != made.quality
    mean = replace(made, weights=torch.zeros_like(made.weights))
    for nothing in fitting.r_squared(mean, texts):
        assert nothing.value == pytest.approx(0, abs=1e-9)
    seen = fitting.r_squared(made, texts, "fit")
    assert all(one.value > other.value for one, other in zip(seen, made.quality, strict=True))
    for quality in made.quality:
        assert quality.low <= quality.value <= quality.high <= 1 and quality.n == 3


def test_the_penalty_is_the_best_on_prompts_to_choose_on(texts):
    chosen = fitting.fit_map_on(texts, "ridge", penalties=(1e-3, 1e-1, 10.0))
    alone = [fitting.fit_map_on(texts, "ridge", penalties=(p,)) for p in (1e-3, 1e-1, 10.0)]
    errors = torch.tensor(
        [[1 - one.value for one in fitting.r_squared(each, texts, "select")] for each in alone]
    )
    best = [(1e-3, 1e-1, 10.0)[at] for at in errors.argmin(dim=0).tolist()]
    assert list(chosen.penalties) == best


def test_a_map_is_read_back_bit_for_bit(made, tmp_path):
    made.save(tmp_path / "map.safetensors")
    again = ResidualMap.load(tmp_path / "map.safetensors")
    for name, value in vars(made).items():
        other = getattr(again, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    data = (tmp_path / "map.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    for name in ("cut", "absent"):
        with pytest.raises(TransferError):
            ResidualMap.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(TransferError, match="cannot be written"):
        made.save(tmp_path / "no folder" / "map.safetensors")


def test_maps_that_cannot_be_are_refused(made, texts, vector, both):
    with pytest.raises(TransferError, match=r"shape \(4, 64, 64\); for 4 layers it must be"):
        replace(made, target=replace(made.target, d_model=60))
    with pytest.raises(TransferError, match="not finite"):
        replace(made, weights=made.weights / 0)
    with pytest.raises(TransferError, match="has no layer 9"):
        made.activations(texts.source_rows[0], 9)
    for options, said in (
        ({"kind": "affine"}, "one of procrustes, ridge, cca, identity"),
        ({"kind": "ridge", "penalties": ()}, "at least one"),
        ({"kind": "ridge", "penalties": (-1.0,)}, "from 0 up"),
    ):
        with pytest.raises(TransferError, match=said):
            fitting.fit_map(*both, PROMPTS, **options)
    same = {layer: torch.ones_like(rows) for layer, rows in texts.source_rows.items()}
    with pytest.raises(TransferError, match="all alike"):
        fitting.fit_map_on(replace(texts, source_rows=same))
    with pytest.raises(TransferError, match="a row of both models"), shapes_unchecked():
        replace(texts, prompt=texts.prompt[1:])
    swapped = replace(texts, source=texts.target, target=texts.source)
    with pytest.raises(TransferError, match="cannot be evaluated on activations"):
        fitting.r_squared(made, swapped)
    elsewhere = replace(vector, card=replace(vector.card, component="resid_pre"))
    with pytest.raises(VectorError, match="fit a map with component='resid_pre'"):
        made(elsewhere)
    few = fitting.fit_map(*both, PROMPTS, layers=[(0, 0)])
    one_layer = replace(
        vector,
        layers=(2,),
        **{name: getattr(vector, name)[2:3] for name in ("directions", "targets", "baseline")},
    )
    with pytest.raises(VectorError, match="takes layers"):
        few(one_layer)


def test_a_vector_without_a_baseline_has_no_target(made, vector):
    bare = made(replace(vector, targets=None, baseline=None))
    assert bare.targets is None and bare.baseline is None
    torch.testing.assert_close(bare.directions, made(vector).directions)
