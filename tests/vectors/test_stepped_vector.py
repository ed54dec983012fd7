"""Stepped vectors: what is fitted, what they do, algebra, controls, files, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.contrast.pair import Pair
from interp_steer.errors import CaptureError, ContrastError, InterventionError, VectorError
from interp_steer.generation.completions import generate
from interp_steer.generation.request import Answer, Request
from interp_steer.generation.teacher_forcing import predict_answers
from interp_steer.interventions import schedules
from interp_steer.interventions.intervention import Intervention, compose
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import Dynamic, diminishing, exponential, fixed, start
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.sites import Site
from interp_steer.vectors.card import Card
from interp_steer.vectors.fitting import fit, fit_steps
from interp_steer.vectors.stepped_vector import SteppedVector
from tests.support.dynamic_weights import random_steps

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random`")
few = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
on_three = pytest.mark.parametrize("model", ["llama3", "mistral", "gpt2"], indirect=True)

ASKED = ["Tell me about the sea.", "Sea?", "What is a whale, and why?", "List five things."]
SAID = {
    "present": ["a whale", "wood, and the sea is very large", "12 apples and 345 nails", "puppet."],
    "absent": ["the castle is large", "no commas, please", "a", "bread, milk and cheese"],
}
"""Answers of different lengths: fewer and fewer are running."""
PAIRS = ContrastSet(
    "en-en to en-it",
    tuple(Pair(query, f"Write a story. {query}", query, "fit") for query in ASKED),
)


def same(a: SteppedVector, b: SteppedVector) -> bool:
    """Bit for bit."""
    return (
        torch.equal(a.directions, b.directions)
        and torch.equal(a.counts, b.counts)
        and (a.layers, a.card) == (b.layers, b.card)
    )


def z_by_step(
    model: HookedLM,
    prompts: Sequence[str],
    answers: Sequence[list[int]],
    hooks: Callable[[Clock], list[Any]] = lambda _: [],
) -> list[Tensor]:
    """``z`` [step, layer, head, d_head] of each row, run alone by TransformerLens."""
    found = []
    for prompt, answer in zip(model.tokenize(prompts), answers, strict=True):
        clock, seen = Clock(), {}

        def reader(name: str, seen: dict[str, Tensor] = seen) -> Callable[..., None]:
            def read(z: Tensor, hook: Any = None) -> None:
                seen[name] = z.detach().reshape(z.shape[1], model.n_heads, model.d_head).double()

            return read

        ids = torch.tensor([[*prompt, *answer[:-1]]])
        clock.begin(torch.ones_like(ids), torch.tensor([len(prompt)]))
        names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.n_layers)]
        reading = [(name, reader(name)) for name in names]
        with torch.inference_mode():
            model.bridge.run_with_hooks(ids, fwd_hooks=[*hooks(clock), *reading])
        found.append(torch.stack([seen[name][len(prompt) - 1 :] for name in names], dim=1))
    return found


def means(rows: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The mean over the rows that are still running at each step, and how many they are."""
    running = [
        [row[step] for row in rows if step < len(row)] for step in range(max(map(len, rows)))
    ]
    return [torch.stack(each).mean(0) for each in running], [len(each) for each in running]


def ids_of(model: HookedLM, texts: Sequence[str]) -> list[list[int]]:
    return [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


@pytest.fixture(scope="module")
def vector(tiny: Callable[[str], HookedLM]) -> SteppedVector:
    return fit_steps(tiny("llama3"), PAIRS, answers=(SAID["present"], SAID["absent"]))


# ---------------------------------------------------------------------------- what is fitted
@on_three
def test_a_step_is_the_difference_of_the_means_over_what_is_still_running(model):
    vector = fit_steps(model, PAIRS, answers=(SAID["present"], SAID["absent"]), batch_size=3)
    sides = {
        side: means(
            z_by_step(model, [getattr(pair, side) for pair in PAIRS], ids_of(model, SAID[side]))
        )
        for side in ("present", "absent")
    }
    steps = min(len(mean) for mean, _ in sides.values())
    assert vector.n_steps == steps > 3
    assert vector.counts.tolist() == [sides[side][1][:steps] for side in sides]
    assert len(set(vector.counts[0].tolist())) > 1  # the set of prompts shrinks
    for step in range(steps):
        expected = sides["present"][0][step] - sides["absent"][0][step]
        torch.testing.assert_close(vector.directions[step].double(), expected, atol=1e-5, rtol=1e-4)
    assert vector.card.component == "z" and vector.card.position == "generated"
    assert vector.card.n == len(PAIRS) and vector.name == "en-en to en-it"


def test_without_answers_they_are_the_models_own(model):
    vector = fit_steps(model, PAIRS, n_steps=5)
    said = {
        side: [
            list(completion.tokens)
            for completion in generate(
                model, [getattr(pair, side) for pair in PAIRS], max_new_tokens=5
            )
        ]
        for side in ("present", "absent")
    }
    (present, _), (absent, _) = (
        means(z_by_step(model, [getattr(pair, side) for pair in PAIRS], said[side]))
        for side in said
    )
    assert vector.n_steps == min(len(present), len(absent)) <= 5
    for step in range(vector.n_steps):
        expected = present[step] - absent[step]
        torch.testing.assert_close(vector.directions[step].double(), expected, atol=1e-5, rtol=1e-4)


def test_other_components_layers_and_steps(model):
    vector = fit_steps(
        model, PAIRS, component="resid_post", layers=[1, 3], n_steps=2, answers=_answers()
    )
    assert vector.directions.shape == (2, 2, model.d_model) and vector.layers == (1, 3)
    # At its first step it is the vector of the last token of the prompt.
    shared = fit(model, PAIRS, layers=[1, 3])
    torch.testing.assert_close(vector.directions[0], shared.directions, atol=1e-5, rtol=1e-4)
    assert vector.norms.shape == (2, 2)
    with pytest.raises(VectorError, match="no norms by head"):
        _ = vector.head_norms


def _answers() -> tuple[list[str], list[str]]:
    return SAID["present"], SAID["absent"]


def test_what_cannot_be_fitted(model):
    with pytest.raises(CaptureError, match="at least 1"):
        fit_steps(model, PAIRS, n_steps=0)
    with pytest.raises(CaptureError, match="3 answers were given with 4 prompts"):
        fit_steps(model, PAIRS, answers=(SAID["present"][:3], SAID["absent"]))
    unfitted = ContrastSet("x", (Pair("q", "a", "b", "select"), Pair("r", "c", "d", "test")))
    with pytest.raises(ContrastError, match="fit"):
        fit_steps(model, unfitted)


# ---------------------------------------------------------------------------- what it does
@on_three
def test_a_shift_by_one_moves_the_mean_onto_the_other_mean(model):
    """At every step, of the rows that were running at all of the shared steps."""
    vector = fit_steps(model, PAIRS, answers=_answers()).only(layers=[2])
    absent = [pair.absent for pair in PAIRS]
    steer = vector.shift(1.0)
    moved, _ = means(z_by_step(model, absent, ids_of(model, SAID["absent"]), steer.fwd_hooks))
    there, _ = means(
        z_by_step(model, [pair.present for pair in PAIRS], ids_of(model, SAID["present"]))
    )
    before, _ = means(z_by_step(model, absent, ids_of(model, SAID["absent"])))
    for step in range(vector.n_steps):
        torch.testing.assert_close(moved[step][2], there[step][2], atol=1e-4, rtol=1e-3)
        assert not torch.allclose(before[step][2], there[step][2], atol=1e-2)


def test_a_shift_of_one_direction_moves_the_mean_too(model):
    vector = fit(model, PAIRS)
    prompts = {side: [getattr(pair, side) for pair in PAIRS] for side in ("present", "absent")}
    kept: dict[str, list[Tensor]] = {"present": [], "absent": []}
    for side, hooks in (("present", []), ("absent", vector.at(2).shift(1.0).fwd_hooks())):
        for ids in model.tokenize(prompts[side]):
            read = ("blocks.2.hook_resid_post", lambda x, hook, side=side: kept[side].append(x[0]))
            with torch.inference_mode():
                model.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=[*hooks, read])
    ends = {side: torch.stack([x[-1] for x in rows]).mean(0) for side, rows in kept.items()}
    torch.testing.assert_close(ends["absent"], ends["present"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["llama3", "mistral", "gpt2", "phi3"], indirect=True)
@pytest.mark.parametrize("schedule", [diminishing(4), Dynamic()])
def test_what_the_heads_write_has_the_same_effect_at_the_output(model, schedule):
    vector = fit_steps(model, PAIRS, answers=_answers()) * 3.0
    written = vector.at_output(model)
    assert written.directions.shape == (vector.n_steps, model.n_layers, model.d_model)
    assert {site.component for site in written.sites} == {"attn_out"}
    rows = [
        (Request(prompt, vector.shift(1.5, schedule)), Answer.given(tuple(answer)))
        for prompt, answer in zip(model.tokenize(ASKED), ids_of(model, SAID["absent"]), strict=True)
    ]

    def predict_under(steering):
        return predict_answers(model, [(asked.under(steering), answer) for asked, answer in rows])

    at_z = predict_answers(model, rows)
    outside = predict_under(written.shift(1.5, schedule))
    plain = predict_under(Intervention())
    torch.testing.assert_close(at_z.logprobs, outside.logprobs, atol=1e-4, rtol=0)
    assert float((at_z.logprobs - plain.logprobs)[at_z.mask].abs().max()) > 0.1


@pytest.mark.parametrize("model", ["gemma2"], indirect=True)
def test_where_a_norm_follows_the_heads_there_is_no_such_output(model):
    vector = random_steps(model)
    with pytest.raises(VectorError, match=r"tiny-gemma2.*normalises.*steer at z"):
        vector.at_output(model)


def test_at_an_output_only_the_own_model_and_z(model, tiny):
    with pytest.raises(VectorError, match=r"cannot steer tiny-gpt2.*fit_steps"):
        random_steps(model).at_output(tiny("gpt2"))
    outside = random_steps(model).at_output(model)
    with pytest.raises(VectorError, match="was read at attn_out and has no output"):
        outside.at_output(model)


def test_a_vector_acts_as_far_as_it_reaches(model):
    vector = random_steps(model, steps=3)
    positions = {edit.positions for edit in vector.shift(1.0).edits}
    assert positions == {"first(3)"}
    assert {edit.positions for edit in vector.shift(1.0, positions="generated").edits} == {
        "generated"
    }
    assert len(vector.only(layers=[1, 2]).shift(1.0).edits) == 2
    with pytest.raises(VectorError, match="zero everywhere"):
        vector.only(layers=[]).shift(1.0)
    with pytest.raises(InterventionError, match="finite"):
        vector.shift(float("nan"))


# ---------------------------------------------------------------------------- lines
mixtures = st.lists(
    st.tuples(
        st.sampled_from(["one", "other", "part", "output"]),
        st.floats(-9, 9).map(lambda number: round(number, 3)),
        st.sampled_from(
            [
                fixed,
                start,
                diminishing(3),
                exponential(0.9),
                schedules.of(lambda i: 1.0 - i, 3),
                Dynamic(1 / 3),
                Dynamic(0.7, most=3.0, reduction="mean"),
            ]
        ),
        st.sampled_from([None, "generated", "last", "first(2)"]),
    ),
    max_size=4,
)


@few
@given(mixtures)
def test_lines_with_ranges_of_layers_read_back(tiny, mixture):
    model = tiny("llama3")
    one = random_steps(model, "one")
    known = {
        "one": one,
        "other": random_steps(model, "other", seed=2, steps=2),
        "part": replace(
            one.only(layers=[0, 2, 3]), card=replace(one.card, name="part (layers 0 2 3)")
        ),
        "output": replace(
            one.at_output(model), card=replace(one.at_output(model).card, name="output")
        ),
    }
    acting = compose(known[name].shift(c, schedule, at) for name, c, schedule, at in mixture)
    line = str(acting)
    parsed = Intervention.parse(line, {vector.name: vector for vector in known.values()})
    assert str(parsed) == line and len(parsed.edits) == len(acting.edits)
    for a, b in zip(parsed.edits, acting.edits, strict=True):
        assert (a.operation, a.value, a.positions, a.schedule) == (
            b.operation,
            b.value,
            b.positions,
            b.schedule,
        )
        assert a.direction.site == b.direction.site
        assert torch.equal(a.direction.vector, b.direction.vector)
    # Layers that lie side by side are written as one.
    assert line.count(" + ") <= max(2 * len(mixture) - 1, 0)


def test_lines_as_documented(model):
    vector = random_steps(model, "italian", steps=30)
    assert str(vector.shift(1.5, diminishing(30))) == (
        "shift(italian@z.0-3, coefficient=1.5, schedule=diminishing(30), positions=first(30))"
    )
    assert str(vector.only(layers=[0, 2, 3]).shift(1.0)) == (
        "shift(italian (layers 0 2 3)@z.0, coefficient=1.0, positions=first(30)) + "
        "shift(italian (layers 0 2 3)@z.2-3, coefficient=1.0, positions=first(30))"
    )


# ---------------------------------------------------------------------------- algebra
def test_vectors_add_subtract_and_scale(vector):
    model_card = replace(vector.card, name="formal", data_hash="other")
    other = SteppedVector(
        vector.directions[:2] * 0.5, vector.counts[:, :2], vector.layers, model_card
    )
    total = vector + other
    assert total.n_steps == vector.n_steps and total.name == "en-en to en-it + formal"
    torch.testing.assert_close(total.directions[:2], vector.directions[:2] * 1.5)
    assert torch.equal(total.directions[2:], vector.directions[2:])
    assert total.counts[:, :2].tolist() == (2 * vector.counts[:, :2]).tolist()
    torch.testing.assert_close((total - other).directions, vector.directions)
    assert (vector - other).name == "en-en to en-it - formal"
    assert torch.equal((-vector).directions, -vector.directions)
    assert torch.equal((2 * vector).directions, (vector + vector).directions)
    assert torch.equal((vector * 0.25).directions, vector.directions / 4)
    assert total.card.data_hash not in (vector.card.data_hash, other.card.data_hash)
    assert len({v.name for v in (vector, 2 * vector, -vector, total, total * 2)}) == 5


def test_what_does_not_add_up(vector, model, tiny):
    outside = random_steps(model).at_output(model)
    with pytest.raises(VectorError, match="component"):
        _ = vector + outside
    with pytest.raises(VectorError, match="of different models"):
        _ = vector + random_steps(tiny("llama2"))
    with pytest.raises(VectorError, match="shape"):
        _ = random_steps(model) - random_steps(tiny("mistral"))
    fewer = fit_steps(model, PAIRS, layers=[1, 2], answers=_answers())
    with pytest.raises(VectorError, match=r"layers \(0, 1, 2, 3\).*\(1, 2\)"):
        vector.cosine(fewer)
    with pytest.raises(VectorError, match="cannot be scaled by inf"):
        _ = vector * float("inf")
    for odd in ("x", None):
        with pytest.raises(TypeError):
            _ = vector * odd  # type: ignore[operator]
        with pytest.raises(TypeError):
            _ = vector + odd  # type: ignore[operator]


def test_angles(vector, model):
    assert torch.allclose(vector.cosine(2 * vector), torch.ones(vector.n_steps, 4), atol=1e-6)
    assert torch.allclose(vector.cosine(-vector), -torch.ones(vector.n_steps, 4), atol=1e-6)
    assert vector.alignment(-3 * vector) == pytest.approx(-1.0)
    other = random_steps(model, steps=3)
    at = other.directions[1, 2].flatten(), vector.directions[1, 2].flatten()
    expected = float(at[0] @ at[1] / at[0].norm() / at[1].norm())
    assert vector.cosine(other).shape == (3, 4)
    assert float(vector.cosine(other)[1, 2]) == pytest.approx(expected, abs=1e-5)
    assert float(vector.cosine(vector.only(layers=[1]))[0, 0]) == 0.0
    with pytest.raises(VectorError, match="zero everywhere"):
        vector.alignment(vector.only(layers=[]))


def test_only_some_layers_or_heads(vector):
    kept = vector.only(layers=[1, 3])
    assert torch.equal(kept.directions[:, [1, 3]], vector.directions[:, [1, 3]])
    assert not kept.directions[:, [0, 2]].any()
    heads = vector.only(heads=[(0, 1), (3, 2)])
    assert torch.equal(heads.directions[:, 0, 1], vector.directions[:, 0, 1])
    assert heads.head_norms.count_nonzero(dim=(1, 2)).tolist() == [2] * vector.n_steps
    both = vector.only(layers=[3], heads=[(0, 1), (3, 2)])
    assert both.head_norms.count_nonzero(dim=(1, 2)).tolist() == [1] * vector.n_steps
    parts = [vector.only(layers=[layer]) for layer in vector.layers]
    total = sum((part.directions for part in parts), torch.zeros_like(vector.directions))
    assert torch.equal(total, vector.directions)
    names = {each.name for each in (vector, kept, heads, both, *parts)}
    assert len(names) == 4 + len(parts)
    for given_, said in (
        ({"layers": [4]}, "no layer 4; it has 0, 1, 2, 3"),
        ({"heads": [(0, 4)]}, "no head 4; heads run from 0 to 3"),
        ({"heads": [(0, -1)]}, "no head -1"),
        ({"heads": [(9, 0)]}, "no layer 9"),
    ):
        with pytest.raises(VectorError, match=said):
            vector.only(**given_)


def test_one_direction_for_all_steps(vector):
    shared = vector.shared()
    weight = vector.counts.min(dim=0).values.double()
    expected = (vector.directions.double() * (weight / weight.sum())[:, None, None, None]).sum(0)
    for step in range(vector.n_steps):
        torch.testing.assert_close(shared.directions[step].double(), expected, atol=1e-6, rtol=1e-5)
    assert shared.name == "en-en to en-it (shared)"
    torch.testing.assert_close(shared.shared().directions, shared.directions)


def test_a_random_control_disturbs_every_head_as_much(vector):
    control = vector.like_random(3)
    torch.testing.assert_close(control.head_norms, vector.head_norms)
    torch.testing.assert_close(control.norms, vector.norms)
    # One direction in each head, whatever the step, as far from the vector as chance has it.
    units = control.directions / control.head_norms[..., None]
    torch.testing.assert_close(units, units[:1].expand_as(units), atol=1e-5, rtol=1e-4)
    assert abs(control.alignment(vector)) < 0.3
    assert same(vector.like_random(3), control)
    assert not torch.equal(vector.like_random(4).directions, control.directions)
    assert control.card.estimator == "random" and control.name == "random-3(en-en to en-it)"
    part = vector.only(layers=[1]).like_random(3)
    assert not part.directions[:, [0, 2, 3]].any()


def test_norms(vector):
    torch.testing.assert_close(vector.norms, vector.head_norms.square().sum(-1).sqrt())
    assert vector.norms.shape == (vector.n_steps, 4)


# ---------------------------------------------------------------------------- files
def test_a_file_gives_back_every_bit(vector, model, tmp_path):
    for number, one in enumerate((vector, vector.at_output(model), vector.like_random(1))):
        path = tmp_path / f"{number}.safetensors"
        one.save(path)
        again = SteppedVector.load(path)
        assert same(again, one) and again.check(model) is again
        assert str(again.shift(1.5, start)) == str(one.shift(1.5, start))


def test_files_that_are_no_stepped_vector(vector, model, tmp_path):
    path = tmp_path / "vector.safetensors"
    with pytest.raises(VectorError, match="missing or damaged"):
        SteppedVector.load(path)
    fit(model, PAIRS).save(path)
    with pytest.raises(VectorError, match="holds SteeringVector, not SteppedVector"):
        SteppedVector.load(path)
    vector.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(VectorError, match="missing or damaged"):
        SteppedVector.load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(VectorError, match="checksum"):
        SteppedVector.load(path)
    with pytest.raises(VectorError, match="cannot be written"):
        vector.save(Path(tmp_path / "nowhere" / "vector.safetensors"))


# ---------------------------------------------------------------------------- what is refused
MODEL = ModelIdentity("some-model", "0123", 3, 6)
CARD = Card("x", MODEL, "z", "generated", "difference_in_means", 2, "ab")


@pytest.mark.parametrize(
    "shape, counts, layers, card, said",
    [
        ((2, 2, 3), (2, 2), (0, 1), CARD, r"must\s+be \(step, layer, n_heads, d_head\)"),
        ((0, 2, 2, 3), (2, 0), (0, 1), CARD, "directions of shape"),
        ((2, 2, 2, 3), (2, 3), (0, 1), CARD, r"counts"),
        ((2, 2, 2, 3), (2, 2), (1, 0), CARD, "the layers rising"),
        ((2, 2, 2, 3), (2, 2), (0, 1, 2), CARD, r"layers \(0, 1, 2\)"),
        ((2, 2, 5), (2, 2), (0, 1), replace(CARD, component="mlp_out"), r"\(step, layer, 6\)"),
        ((2, 2, 2, 3), (2, 2), (0, 3), CARD, "0 to 2"),
    ],
)
def test_shapes_that_do_not_agree(shape, counts, layers, card, said):
    with pytest.raises(Exception, match=said):  # some by the type check in these tests
        SteppedVector(torch.ones(shape), torch.ones(counts, dtype=torch.int64), layers, card)


def test_numbers_that_are_none():
    broken = torch.ones(2, 2, 2, 3)
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(VectorError, match="nan or inf; look for overflow"):
        SteppedVector(broken, torch.ones(2, 2, dtype=torch.int64), (0, 1), CARD)


def test_a_vector_steers_its_own_model_only(vector, tiny):
    for other in ("llama2", "gpt2", "mistral"):
        with pytest.raises(VectorError, match=r"cannot steer .*fit one with ist\.fit_steps"):
            vector.check(tiny(other))
    with pytest.raises(VectorError, match=r"has no directions at resid_post\.1"):
        vector.direction(Site("resid_post", 1), Site("resid_post", 1))
