"""Decoding and scoring under steering, against one plain, uncached forward pass per token."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp_steer.errors import GenerationError, InterventionError
from interp_steer.generation.answer_scores import logprobs
from interp_steer.generation.completions import GenerationOptions, generate
from interp_steer.generation.sampling import Sampling, sample
from interp_steer.interventions.intervention import Direction, Intervention, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import COMPONENTS, Site
from tests.support import checkpoints
from tests.support.steering import PROMPTS, direction, n_hooks, various, without_stops

ARCHITECTURES = ("llama3", "gemma2", "gpt2")
every_architecture = pytest.mark.parametrize("model", checkpoints.ARCHITECTURES, indirect=True)
on_three = pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)


def reached(positions: str, index: int, step: int) -> bool:
    return {
        "all": True,
        "prompt": step <= 0,
        "generated": step >= 0,
        "not_bos": index > 0,
        "last": step == 0,
        "first(2)": 0 <= step <= 1,
    }[positions]


def plain_logits(model: HookedLM, ids: Sequence[int], n_prompt: int, steer: Intervention) -> Tensor:
    """Logits of one row by the plain model: no cache, no pads, an ordinary hook per edit."""
    handles = []
    for edit in steer.edits:
        u = edit.direction.vector.flatten() / edit.direction.vector.norm()

        def changed(x: Tensor, edit=edit, u=u) -> Tensor:
            x = x.clone()
            for index in range(x.shape[1]):
                if reached(edit.positions, index, index - (n_prompt - 1)):
                    before = x[0, index].clone()
                    adds = edit.operation in ("add", "turn")
                    x[0, index] += (edit.value if adds else edit.value - before @ u) * u
                    if edit.operation == "turn":
                        x[0, index] *= before.norm() / x[0, index].norm()
            return x

        def on_input(_, args, kwargs, changed=changed):
            if args:
                return (changed(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

        def on_output(_, args, output, changed=changed):
            if isinstance(output, tuple):
                return (changed(output[0]), *output[1:])
            return changed(output)

        module, side = model.module_of(edit.direction.site)
        if side == "input":
            handles.append(module.register_forward_pre_hook(on_input, with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(on_output))
    try:
        with torch.inference_mode():
            return model.plain(torch.tensor([list(ids)]), use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()


def plain_greedy(model: HookedLM, prompt: list[int], steer: Intervention, n: int) -> list[int]:
    ids = list(prompt)
    for _ in range(n):
        ids.append(int(plain_logits(model, ids, len(prompt), steer)[-1].argmax()))
        if ids[-1] in model.stop_ids:
            break
    return ids[len(prompt) :]


@on_three
def test_every_row_equals_plain_forward_hooks_on_the_plain_model(model):
    free = without_stops(model)
    steering = various(model)
    completions = generate(free, PROMPTS, steering, max_new_tokens=9)
    rows = model.tokenize(PROMPTS)
    for completion, row, steer in zip(completions, rows, steering, strict=True):
        assert list(completion.tokens) == plain_greedy(free, row, steer, 9)
        assert completion.applied == str(steer)
        assert completion.finish_reason == "length"
        assert completion.text == model.decode(completion.tokens)
    alone = generate(free, PROMPTS, max_new_tokens=9)
    changed = [a.tokens != b.tokens for a, b in zip(completions, alone, strict=True)]
    assert sum(changed) >= 3 and not changed[1]  # the steering is felt, where there is any


@on_three
@pytest.mark.parametrize("sampling", [None, Sampling(temperature=1.3, top_p=0.9, seed=5)])
def test_cache_batches_neighbours_and_order_change_nothing(model, sampling):
    steering = various(model)

    def run(rows, **options):
        found = generate(
            model,
            [PROMPTS[i] for i in rows],
            [steering[i] for i in rows],
            max_new_tokens=8,
            sampling=sampling,
            **options,
        )
        return dict(zip(rows, found, strict=True))

    together = run(range(6))
    assert run(range(6), options=GenerationOptions(use_cache=False)) == together
    assert run(range(6), batch_size=1) == together
    assert run(range(6), batch_size=4) == together
    assert run([3, 5, 0, 2, 4, 1]) == together
    for pair in ([3, 2], [3, 1], [0, 2]):
        assert run(pair).items() <= together.items()


@on_three
def test_one_intervention_for_all_equals_the_same_in_every_row(model):
    steer = various(model)[2]
    shared = generate(model, PROMPTS, steer, max_new_tokens=8)
    assert shared == generate(model, PROMPTS, [steer] * 6, max_new_tokens=8)
    anew = [various(model)[2] for _ in PROMPTS]
    assert shared == generate(model, PROMPTS, anew, max_new_tokens=8)


@on_three
def test_strength_zero_is_the_identity(model):
    nothing = Intervention()
    for i, component in enumerate(COMPONENTS):
        nothing += direction(model, f"{component}.{i % 4}").add(0.0)
        nothing += direction(model, f"{component}.{i % 4}").turn(0.0)
    plain = generate(model, PROMPTS, max_new_tokens=10)
    zero = generate(model, PROMPTS, [nothing, unsteered] * 3, max_new_tokens=10)
    assert [c.tokens for c in zero] == [c.tokens for c in plain]
    batch = model.pad(model.tokenize(PROMPTS))
    with torch.inference_mode():
        before = model.bridge(batch.tokens, attention_mask=batch.attention_mask)
        with model.steered(nothing):
            assert torch.equal(
                model.bridge(batch.tokens, attention_mask=batch.attention_mask), before
            )
    scored = logprobs(model, PROMPTS, ["a whale"] * 6, nothing)
    for a, b in zip(scored, logprobs(model, PROMPTS, ["a whale"] * 6), strict=True):
        assert torch.equal(a.logprobs, b.logprobs)
    drawn = Sampling(seed=1)
    assert [
        c.tokens for c in generate(model, PROMPTS, nothing, max_new_tokens=10, sampling=drawn)
    ] == [c.tokens for c in generate(model, PROMPTS, max_new_tokens=10, sampling=drawn)]


@on_three
def test_transformer_lens_own_calls_agree_under_the_same_hooks(model):
    free = without_stops(model)
    steer = direction(model, "resid_post.2").project() + direction(model, "z.1", 1).add(6.0)
    ours = generate(free, PROMPTS, steer, max_new_tokens=8)
    batch = model.pad(model.tokenize(PROMPTS))
    width = batch.tokens.shape[1]
    with torch.inference_mode(), model.steered(steer) as bridge:
        theirs = bridge.generate(
            batch.tokens,
            attention_mask=batch.attention_mask,
            max_new_tokens=8,
            do_sample=False,
            stop_at_eos=False,
            return_type="tokens",
            verbose=False,
        )
    assert [list(c.tokens) for c in ours] == theirs[:, width:].tolist()
    for prompt, completion in zip(model.tokenize(PROMPTS), ours, strict=True):
        with torch.inference_mode():
            logits = model.bridge.run_with_hooks(
                torch.tensor([prompt + list(completion.tokens[:-1])]), fwd_hooks=steer.fwd_hooks()
            )
        assert logits[0, len(prompt) - 1 :].argmax(-1).tolist() == list(completion.tokens)


@on_three
def test_stop_tokens_cut_an_answer_and_leave_its_neighbours_alone(model):
    free, stopping = without_stops(model), without_stops(model)
    for steering in (unsteered, various(model)):
        whole = generate(free, PROMPTS, steering, max_new_tokens=16)
        stopping.stop_ids = frozenset(whole[i].tokens[3 + 2 * i] for i in (0, 2, 4))
        for use_cache in (True, False):
            cut = generate(
                stopping,
                PROMPTS,
                steering,
                max_new_tokens=16,
                options=GenerationOptions(use_cache=use_cache),
            )
            for long, short in zip(whole, cut, strict=True):
                ends = [i for i, token in enumerate(long.tokens) if token in stopping.stop_ids]
                kept = long.tokens[: ends[0] + 1] if ends else long.tokens
                assert short.tokens == kept
                assert short.finish_reason == ("stop" if ends else "length")
                assert short.text == model.decode(kept[:-1] if ends else kept)
        assert {c.finish_reason for c in cut[::2]} == {"stop"}


@on_three
def test_stop_strings_are_trimmed(model):
    free, stopping = without_stops(model), without_stops(model)
    whole = generate(free, PROMPTS, max_new_tokens=24)
    middle = whole[0].text[len(whole[0].text) // 2 :]
    stopping.stop_strings = (middle[:3], "no model says this")
    cut = generate(stopping, PROMPTS, max_new_tokens=24)
    assert cut[0].finish_reason == "stop"
    for long, short in zip(whole, cut, strict=True):
        stops = middle[:3] in long.text
        assert short.text == long.text.split(middle[:3])[0]
        assert short.finish_reason == ("stop" if stops else "length")
        assert short.tokens == long.tokens[: len(short.tokens)]
        if stops:  # it ended at the token that completed the string
            assert middle[:3] not in model.decode(short.tokens[:-1])


@on_three
def test_samples_belong_to_the_seed_and_the_row(model):
    def run(prompts, seed=3, steering=unsteered, **options):
        sampling = Sampling(seed=seed, **options)
        found = generate(model, prompts, steering, max_new_tokens=10, sampling=sampling)
        return [completion.tokens for completion in found]

    first = run(PROMPTS)
    assert run(PROMPTS) == first and run(PROMPTS, seed=4) != first
    twice = run([PROMPTS[0], PROMPTS[1], PROMPTS[0]])
    assert twice[:2] == first[:2] and twice[2] != first[0]
    greedy = [c.tokens for c in generate(model, PROMPTS, max_new_tokens=10)]
    assert run(PROMPTS, temperature=1e-4) == greedy == run(PROMPTS, top_p=1e-6)


@settings(deadline=None)
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=8),
    st.floats(0.3, 3),
    st.floats(0.05, 1),
)
def test_draws_have_the_distribution_asked_for(logits, temperature, top_p):
    n = 4000
    uniform = (torch.arange(n) + 0.5) / n
    drawn = sample(torch.tensor(logits).expand(n, -1), uniform, Sampling(temperature, top_p))
    shares = torch.bincount(drawn, minlength=len(logits)) / n
    expected = torch.softmax(torch.tensor(logits).double() / temperature, -1)
    ranked, order = expected.sort(descending=True, stable=True)
    size = 1 + int((ranked.cumsum(0)[:-1] < top_p - 1e-5).sum())
    kept = torch.zeros_like(expected)
    kept[order[:size]] = ranked[:size]
    borderline = (ranked.cumsum(0) - top_p).abs().min() < 1e-5
    # Of equals either may stand first, and what differs by a hair is equal in float32.
    ties = len(torch.softmax(torch.tensor(logits) / temperature, -1).unique()) < len(logits)
    if not borderline and not ties:
        assert torch.allclose(shares.double(), kept / kept.sum(), atol=2 / n)
    assert bool((expected[drawn] > 0).all())


@on_three
def test_logprobs_are_those_of_a_plain_forward(model):
    steering = various(model)
    answers = ["a whale", " wood, and the sea is very large", "I", "12 apples", " no", "puppet."]
    scores = logprobs(model, PROMPTS, answers, steering)
    for prompt, answer, steer, score in zip(
        model.tokenize(PROMPTS), answers, steering, scores, strict=True
    ):
        ids = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
        logits = plain_logits(model, prompt + ids, len(prompt), steer)[len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
        assert score.tokens == tuple(ids)
        assert torch.allclose(score.logprobs, expected, atol=1e-4)
        assert math.isclose(score.total, float(expected.sum()), abs_tol=1e-3)
    small = logprobs(model, PROMPTS[::-1], answers[::-1], steering[::-1], batch_size=2)[::-1]
    for a, b in zip(scores, small, strict=True):
        assert torch.allclose(a.logprobs, b.logprobs, atol=1e-5)


@on_three
def test_a_greedy_answer_is_the_likeliest_at_every_token(model):
    steering = various(model)
    free = without_stops(model)
    answers = generate(free, PROMPTS, steering, max_new_tokens=7)
    scores = logprobs(model, PROMPTS, [c.tokens for c in answers], steering)
    for prompt, answer, steer, score in zip(
        model.tokenize(PROMPTS), answers, steering, scores, strict=True
    ):
        logits = plain_logits(model, [*prompt, *answer.tokens], len(prompt), steer)
        best = torch.log_softmax(logits[len(prompt) - 1 : -1], -1).amax(-1)
        assert torch.allclose(score.logprobs, best, atol=1e-4)


def test_completions_carry_their_prompt_and_a_line_that_parses_back(model):
    chat = [{"role": "user", "content": "Sea?"}]
    steer = direction(model, "resid_post.1").project(2.0, "generated")
    [from_text, from_chat] = generate(model, ["Sea?", chat], [unsteered, steer], max_new_tokens=3)
    assert from_text.prompt == from_chat.prompt == model.render("Sea?")
    assert from_text.applied == "unsteered"

    class Vector:
        def direction(self, source, site):
            return direction(model, str(site))

    assert str(Intervention.parse(from_chat.applied, {"d0": Vector()})) == from_chat.applied


def test_half_precision_is_steered_in_its_own_dtype(checkpoint):
    from interp_steer.models.loading import load

    half = load(checkpoint("llama3"), device="cpu", dtype=torch.bfloat16, check=False)
    completions = generate(half, PROMPTS, various(half), max_new_tokens=4)
    assert all(len(completion.tokens) >= 1 for completion in completions)


def test_hooks_are_gone_afterwards_and_after_an_error(model):
    before = n_hooks(model)
    generate(model, PROMPTS, various(model), max_new_tokens=3)
    assert n_hooks(model) == before
    broken = copy.copy(model)
    broken.stop_ids = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        generate(broken, PROMPTS, various(model), max_new_tokens=3)
    assert n_hooks(model) == before


def test_a_hook_of_the_users_own_stays_live(model):
    steer = direction(model, "resid_post.2").add(12.0)
    with model.steered(steer):
        inside = generate(model, PROMPTS, various(model)[2], max_new_tokens=6)
        inside = generate(model, PROMPTS, max_new_tokens=6)
    steered = generate(model, PROMPTS, steer, max_new_tokens=6)
    assert [c.tokens for c in inside] == [c.tokens for c in steered]


def test_inputs_that_cannot_be_generated_from(model):
    steer = direction(model, "resid_post.1").project()
    for prompts, mend in (
        ([], "at least one"),
        ("Sea?", "give a list"),
        (["Sea?", "  "], "prompt 1 is empty"),
        ([[]], "prompt 0 is empty"),
    ):
        with pytest.raises(GenerationError, match=mend):
            generate(model, prompts)
        with pytest.raises(GenerationError, match=mend):
            logprobs(model, prompts, ["a"] * len(prompts))
    with pytest.raises(GenerationError, match="max_new_tokens is 0"):
        generate(model, PROMPTS, max_new_tokens=0)
    with pytest.raises(GenerationError, match="batch_size is 0"):
        generate(model, PROMPTS, batch_size=0)
    with pytest.raises(GenerationError, match="2 interventions for 6 prompts"):
        generate(model, PROMPTS, [steer, steer])
    with pytest.raises(GenerationError, match=r"250 more.*context of 256; lower max_new_tokens"):
        generate(model, PROMPTS, max_new_tokens=250)
    with pytest.raises(GenerationError, match="1 answers for 6 prompts"):
        logprobs(model, PROMPTS, ["a"])
    with pytest.raises(GenerationError, match="answer 1 has no tokens"):
        logprobs(model, PROMPTS[:2], ["a", ""])
    with pytest.raises(GenerationError, match="shorten the answer"):
        logprobs(model, PROMPTS[:1], ["whale " * 300])
    for sampling in (
        {"temperature": 0.0},
        {"temperature": math.nan},
        {"top_p": 0.0},
        {"top_p": 1.5},
    ):
        with pytest.raises(GenerationError, match=next(iter(sampling))):
            Sampling(**sampling)  # type: ignore[arg-type]


def test_directions_of_another_model_are_refused(model):
    at = Site("resid_post", 5)
    wide = Direction(torch.ones(96), 1.0, "w", at, at, "google/other", 26, 96)
    with pytest.raises(InterventionError, match=r"26 layers, d_model 96.*cannot steer.*ist\.fit"):
        generate(model, PROMPTS, wide.project())
    heads = Site("z", 1)
    odd = Direction(torch.ones(2, 32), 1.0, "h", heads, heads, "o", model.n_layers, model.d_model)
    with pytest.raises(InterventionError, match="cannot steer"):
        logprobs(model, PROMPTS, ["a"] * 6, [odd.project(), *[unsteered] * 5])


@every_architecture
def test_waiting_rows_take_the_place_of_finished_ones(model):
    """Rows of all lengths come and go in a batch of two or three, and each is as it is alone."""
    prompts, steering = PROMPTS * 2, various(model) + various(model)[::-1]
    limits = {"max_new_tokens": 11}
    alone = [
        generate(model, [prompt], steer, **limits)[0]
        for prompt, steer in zip(prompts, steering, strict=True)
    ]
    for batch_size in (2, 3, 5):
        assert generate(model, prompts, steering, batch_size=batch_size, **limits) == alone
    uncached = generate(
        model, prompts, steering, batch_size=3, options=GenerationOptions(use_cache=False), **limits
    )
    assert uncached == alone


@every_architecture
def test_the_twin_decodes_what_the_hook_points_do(model):
    steering = various(model)
    plain, points = (
        generate(
            model, PROMPTS, steering, max_new_tokens=9, options=GenerationOptions(through=through)
        )
        for through in ("plain", "hook_points")
    )
    assert plain == points
    answers = [completion.tokens for completion in plain]
    for one, other in zip(
        logprobs(model, PROMPTS, answers, steering, through="plain"),
        logprobs(model, PROMPTS, answers, steering, through="hook_points"),
        strict=True,
    ):
        torch.testing.assert_close(one.logprobs, other.logprobs, rtol=0, atol=1e-4)
    with pytest.raises(Exception, match="both"):  # named by the type check in these tests
        generate(model, PROMPTS, max_new_tokens=2, options=GenerationOptions(through="both"))
