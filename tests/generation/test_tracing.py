"""What a trace tells, against the loop that recomputes everything and against plain passes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from interp_steer.errors import GenerationError
from interp_steer.generation.answer_scores import logprobs
from interp_steer.generation.completions import generate
from interp_steer.generation.teacher_forcing import predict_answers, prepare_answers
from interp_steer.generation.tracing import Trace, trace
from interp_steer.interventions.intervention import unsteered
from interp_steer.interventions.schedules import Dynamic, diminishing, start
from interp_steer.models.hooked_lm import HookedLM
from tests.support.dynamic_weights import (
    STEPS,
    by_hand,
    every_schedule,
    on_three,
    random_steps,
    tokens,
)
from tests.support.steering import PROMPTS, direction, without_stops


def alike(one: Trace, other: Trace, tolerance: float = 1e-4) -> bool:
    """Whether two traces tell the same."""
    tensors = ("strength", "probe_kl", "kl", "projection")
    return (one.tokens, one.properties) == (other.tokens, other.properties) and all(
        torch.allclose(getattr(one, name), getattr(other, name), atol=tolerance, equal_nan=True)
        for name in tensors
    )


def logprobs_by_hand(
    model: HookedLM, prompt: Sequence[int], answer: Sequence[int], hooks: list
) -> Tensor:
    """What is predicted at each token of an answer, by TransformerLens alone."""
    with torch.inference_mode():
        logits = model.bridge.run_with_hooks(torch.tensor([[*prompt, *answer]]), fwd_hooks=hooks)
    return logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)


# ---------------------------------------------------------------------------- given answers
@on_three
def test_what_was_generated_is_the_likeliest_when_it_is_given(model):
    """One pass over the given tokens finds the weights that were found one by one."""
    free = without_stops(model)
    kinds = every_schedule(model)
    prompts = [PROMPTS[number % len(PROMPTS)] for number in range(len(kinds))]
    steering = list(kinds.values())
    said = tokens(free, prompts, steering)
    rows = prepare_answers(model, prompts, said, steering, 16)
    predicted = predict_answers(model, rows)
    best = predicted.logprobs.argmax(-1)
    assert [tuple(row.tolist()) for row in best] == said
    scores = logprobs(model, prompts, said, steering, batch_size=4)
    for number, score in enumerate(scores):
        expected = predicted.logprobs[number].amax(-1).cpu()
        torch.testing.assert_close(score.logprobs, expected, atol=1e-4, rtol=0)
        assert score.tokens == said[number]
        assert math.isclose(score.total, float(expected.sum()), abs_tol=1e-3)
    points = logprobs(model, prompts, said, steering, through="hook_points")
    for one, other in zip(scores, points, strict=True):
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-4, rtol=0)


def test_answers_of_different_lengths_are_scored_as_alone(model):
    kinds = every_schedule(model)
    steering = [kinds[name] for name in ("two dynamic", "unsteered", "dynamic", "diminishing")]
    answers = ["a whale", " wood, and the sea is very large", "I", "12 apples"]
    together = logprobs(model, PROMPTS[:4], answers, steering)
    for number, score in enumerate(together):
        [alone] = logprobs(
            model, PROMPTS[number : number + 1], answers[number : number + 1], steering[number]
        )
        torch.testing.assert_close(score.logprobs, alone.logprobs, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------- strengths
def test_strengths_and_divergences_are_those_of_the_loop(model):
    free = without_stops(model)
    vectors = [random_steps(model), random_steps(model, "formal", seed=2, steps=4)]
    followed = [(vectors[0], 1.0, Dynamic()), (vectors[1], 1.5, Dynamic(0.7))]
    both = vectors[0].shift(1.0, Dynamic()) + vectors[1].shift(1.5, Dynamic(0.7))
    prompts = PROMPTS[:2]
    said = tokens(free, prompts, both)
    traces = trace(model, prompts, said, both)
    for prompt, answer, found in zip(model.tokenize(prompts), said, traces, strict=True):
        again, weights, apart = by_hand(free, prompt, followed)
        assert found.tokens == answer == again
        assert found.properties == ("italian", "formal")
        torch.testing.assert_close(found.probe_kl, torch.tensor(apart), atol=1e-3, rtol=1e-3)
        expected = torch.tensor(weights) * torch.tensor([[1.0], [1.5]])
        expected[1, vectors[1].n_steps :] = 0.0  # it has no directions there
        torch.testing.assert_close(found.strength, expected, atol=1e-3, rtol=0)


def test_strengths_of_schedules_that_are_known_beforehand(model):
    vector = random_steps(model, steps=4)
    said = tokens(without_stops(model), PROMPTS[:1], unsteered) * 3
    steering = [
        vector.shift(1.5, diminishing(4)),
        vector.shift(-2.0, start, "generated"),
        vector.at_output(model).shift(1.0) + random_steps(model, "formal").shift(0.5),
    ]
    first, second, third = trace(model, PROMPTS[:1] * 3, said, steering)
    pad = [0.0] * (STEPS - 4)
    assert first.strength.tolist() == [pytest.approx([1.5, 1.125, 0.75, 0.375, *pad])]
    assert second.strength.tolist() == [[-2.0] + [0.0] * (STEPS - 1)]
    assert third.strength.tolist() == [[1.0] * 4 + pad, [0.5] * STEPS]
    for each in (first, second, third):
        assert bool(each.probe_kl.isnan().all()) and each.probe_kl.shape == each.strength.shape


# ---------------------------------------------------------------------------- damage
def test_the_kl_is_that_of_plain_passes(model):
    steer = direction(model, "resid_post.2").add(6.0)  # everywhere, so that no clock is needed
    answers = ["a whale and the sea", "12 apples"]
    traces = trace(model, PROMPTS[:2], answers, steer)
    for prompt, found in zip(model.tokenize(PROMPTS[:2]), traces, strict=True):
        plain = logprobs_by_hand(model, prompt, found.tokens, [])
        steered = logprobs_by_hand(model, prompt, found.tokens, steer.fwd_hooks())
        expected = (plain.exp() * (plain - steered)).sum(-1)
        torch.testing.assert_close(found.kl, expected, atol=1e-4, rtol=1e-3)
        assert float(found.kl.min()) > 0


def test_nothing_is_told_where_nothing_acts(model):
    vector = random_steps(model)
    steering = [
        unsteered,
        vector.shift(0.0, Dynamic()),
        vector.shift(0.0),
        vector.shift(5.0, Dynamic(probe=0.0)),
        vector.shift(1.0, Dynamic()),
    ]
    prompts, answers = PROMPTS[:5], ["a whale"] * 5
    none, zero, fixed, idle, acting = trace(model, prompts, answers, steering)
    assert none.properties == () and none.strength.shape == (0, len(none.tokens))
    for each in (none, zero, fixed, idle):
        assert not each.kl.any() and not each.strength.any()
    assert not zero.probe_kl.any() and not idle.probe_kl.any()
    assert bool((acting.kl > 0).any()) and bool((acting.strength > 0).any())


def test_before_a_step_acts_nothing_is_changed(model):
    """Only the second step is steered: the first token's prediction is what it was."""
    vector = random_steps(model)
    late = type(vector)(
        directions=vector.directions * torch.tensor([0.0, 1, 1, 1, 1, 1])[:, None, None, None],
        counts=vector.counts,
        layers=vector.layers,
        card=vector.card,
    )
    [found] = trace(model, PROMPTS[:1], ["wood, and the sea is very large"], late.shift(2.0))
    assert float(found.kl[0]) == 0.0 and bool((found.kl[1:] > 0).all())
    assert found.projection[0, 0] == 0.0


# ---------------------------------------------------------------------------- projections
def test_a_clamped_projection_is_its_target(model):
    steer = direction(model, "resid_post.2").project(2.5, "generated")
    [found] = trace(model, PROMPTS[:1], ["wood, and the sea"], steer)
    torch.testing.assert_close(found.projection, torch.full_like(found.projection, 2.5))
    gone = direction(model, "z.1").ablate()
    [found] = trace(model, PROMPTS[:1], ["wood, and the sea"], gone)
    torch.testing.assert_close(
        found.projection, torch.zeros_like(found.projection), atol=1e-4, rtol=0
    )


def test_a_projection_is_what_the_heads_hold_along_the_direction_of_the_step(model):
    vector = random_steps(model, steps=3)
    [prompt] = model.tokenize(PROMPTS[:1])
    [found] = trace(model, PROMPTS[:1], ["wood, and the sea"], vector.shift(1.5, diminishing(3)))
    said = len(found.tokens)
    expected = torch.zeros(said)
    seen: dict[int, Tensor] = {}

    def write(layer: int):
        def act(z: Tensor, hook=None) -> Tensor:
            z = z.clone()
            for step in range(3):
                added = 1.5 * (1 - step / 3) * vector.directions[step, layer]
                z[0, len(prompt) - 1 + step] += added.reshape(z.shape[2:])
            seen[layer] = z[0].flatten(1)
            return z

        return f"blocks.{layer}.attn.hook_z", act

    hooks = [write(layer) for layer in range(model.n_layers)]
    logprobs_by_hand(model, prompt, found.tokens, hooks)
    for step in range(said):
        for layer in vector.layers:
            along = vector.directions[min(step, 2), layer].flatten()
            z = seen[layer][len(prompt) - 1 + step]
            expected[step] += float(z @ along / along.norm()) / len(vector.layers)
    torch.testing.assert_close(found.projection, expected[None], atol=1e-3, rtol=1e-3)


# ---------------------------------------------------------------------------- rows
def test_a_trace_depends_neither_on_its_neighbours_nor_on_the_way(model):
    kinds = every_schedule(model)
    steering = [kinds[name] for name in ("two dynamic", "unsteered", "dynamic", "diminishing")]
    answers = ["a whale and the sea", "I", "12 apples", " wood, and the sea is very large"]
    prompts = PROMPTS[:4]
    traces = trace(model, prompts, answers, steering)
    back = trace(model, prompts[::-1], answers[::-1], steering[::-1], batch_size=2)[::-1]
    points = trace(model, prompts, answers, steering, batch_size=1, through="hook_points")
    for one, other, third in zip(traces, back, points, strict=True):
        assert alike(one, other) and alike(one, third)
        assert one.kl.shape == (len(one.tokens),)


def test_schedules_of_one_name_are_told_as_one(model):
    """The larger of them at each step, each with a weight of its own."""
    vector = random_steps(model).only(layers=[0]) * 3
    parts = [vector.shift(1.0, schedule) for schedule in (Dynamic(), Dynamic(0.9, probe=1.0))]
    parts.append(vector.shift(0.5, diminishing(STEPS)))
    [answer] = tokens(without_stops(model), PROMPTS[:1], unsteered)
    [whole] = trace(model, PROMPTS[:1], [answer], parts[0] + parts[1])
    [mixed] = trace(model, PROMPTS[:1], [answer], parts[0] + parts[2])
    # Two properties that are found are probed one without the other, so that each is as alone.
    one, other = (trace(model, PROMPTS[:1], [answer], part)[0] for part in parts[:2])
    assert whole.properties == one.properties == (vector.name,)
    assert not torch.allclose(one.strength, other.strength, atol=1e-2)
    torch.testing.assert_close(whole.strength, torch.maximum(one.strength, other.strength))
    torch.testing.assert_close(whole.probe_kl, torch.maximum(one.probe_kl, other.probe_kl))
    known = torch.tensor([[0.5 * (1 - step / STEPS) for step in range(STEPS)]])
    assert bool((mixed.strength >= known - 1e-6).all()) and bool(mixed.probe_kl.isfinite().all())


def test_what_cannot_be_traced(model):
    steer = random_steps(model).shift(1.0, Dynamic())
    with pytest.raises(GenerationError, match="1 answers for 2 prompts"):
        trace(model, PROMPTS[:2], ["a"], steer)
    with pytest.raises(GenerationError, match="one text for 2 prompts"):
        trace(model, PROMPTS[:2], "a", steer)
    with pytest.raises(GenerationError, match="answer 1 has no tokens"):
        trace(model, PROMPTS[:2], ["a", ""], steer)
    with pytest.raises(GenerationError, match="at least one"):
        trace(model, [], [], steer)
    with pytest.raises(GenerationError, match="2 interventions for 1 prompts"):
        trace(model, PROMPTS[:1], ["a"], [steer, steer])


def test_completions_can_be_traced_as_they_are(model):
    steer = random_steps(model).shift(1.0, Dynamic())
    completions = generate(model, PROMPTS[:2], steer, max_new_tokens=STEPS)
    traces = trace(model, PROMPTS[:2], [c.tokens for c in completions], steer)
    assert [t.tokens for t in traces] == [c.tokens for c in completions]
