"""Weights that are found while a model generates, against a loop that recomputes everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from interp_steer.errors import GenerationError, InterventionError
from interp_steer.generation.completions import generate
from interp_steer.generation.decoding import StopRule
from interp_steer.generation.dynamic import Streams
from interp_steer.generation.sampling import Sampling
from interp_steer.interventions import schedules
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import Dynamic, diminishing, exponential, fixed, start
from interp_steer.models.loading import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.card import Card
from interp_steer.vectors.stepped_vector import SteppedVector
from tests.generation.test_completions import PROMPTS, n_hooks, without_stops

on_three = pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)
STEPS = 6

SCALES = {"llama": 0.1, "mistral": 0.1, "qwen2": 0.1, "gemma2": 0.4, "gpt2": 1.0}
"""By architecture: how long a direction must be for a probe to say other things than the model,
without drowning it."""


def random_steps(
    model: HookedLM, name: str = "italian", seed: int = 1, steps: int = STEPS, scale: float = 1.0
) -> SteppedVector:
    """Directions at ``z`` for every step, layer and head."""
    [often] = [scale for known, scale in SCALES.items() if known in model.name]
    shape = (steps, model.n_layers, model.n_heads, model.d_head)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return SteppedVector(
        directions=drawn * often * scale,
        counts=torch.full((2, steps), 3),
        layers=tuple(range(model.n_layers)),
        card=Card(
            name=name,
            model=model.name,
            fingerprint=model.fingerprint,
            n_layers=model.n_layers,
            d_model=model.d_model,
            component="z",
            position="generated",
            estimator="difference_in_means",
            n=3,
            data_hash=name,
        ),
    )


def every_schedule(model: HookedLM) -> dict[str, Intervention]:
    """An intervention for each kind of schedule, and mixtures of properties."""
    one, other = random_steps(model), random_steps(model, "formal", seed=2, steps=4)
    by_name = {
        "unsteered": unsteered,
        "fixed": one.shift(1.2),
        "start": one.shift(1.5, start),
        "diminishing": one.shift(1.5, diminishing(5)),
        "exponential": one.shift(1.4, exponential(0.7)),
        "any": one.shift(1.0, schedules.of(lambda i: (-1.0) ** i, STEPS)),
        "dynamic": one.shift(1.0, Dynamic()),
        "dynamic, mean": one.shift(2.0, Dynamic(0.8, probe=1.5, most=3.0, reduction="mean")),
        "two dynamic": one.shift(1.0, Dynamic()) + other.shift(1.5, Dynamic(0.7)),
        "dynamic and static": other.shift(1.0, diminishing(4)) + one.shift(1.0, Dynamic()),
    }
    return by_name


def tokens(model: HookedLM, prompts: Sequence[Any], steering: Any, **options: Any) -> list[Any]:
    found = generate(model, prompts, steering, max_new_tokens=STEPS, **options)
    return [completion.tokens for completion in found]


# ---------------------------------------------------------------------------- the reference
Weighted = tuple[SteppedVector, list[float]]
"""A vector, and its weight at each step so far."""


def next_logits(model: HookedLM, ids: list[int], n_prompt: int, acting: list[Weighted]) -> Tensor:
    """What comes next, by TransformerLens alone: nothing kept from one step to the next."""

    def writes(layer: int) -> Callable[..., Tensor]:
        def write(z: Tensor, hook: Any = None) -> Tensor:
            z = z.clone()
            for vector, weights in acting:
                for step, weight in enumerate(weights):
                    if step < vector.n_steps:
                        added = weight * vector.directions[step, layer]
                        z[0, n_prompt - 1 + step] += added.reshape(z.shape[2:])
            return z

        return write

    hooks = [(f"blocks.{layer}.attn.hook_z", writes(layer)) for layer in range(model.n_layers)]
    with torch.inference_mode():
        return model.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0, -1]


def by_hand(
    model: HookedLM,
    prompt: list[int],
    properties: Sequence[tuple[SteppedVector, float, Dynamic]],
    always: SteppedVector | None = None,
    n: int = STEPS,
) -> tuple[tuple[int, ...], list[list[float]], list[list[float]]]:
    """The algorithm of Scalena, Sarti and Nissim (2024), section 3, a pass for everything.

    Args:
        model: the model.
        prompt: its tokens.
        properties: vectors, coefficients and what their weights follow.
        always: added with weight 1 whatever is probed.
        n: how many tokens.

    Returns:
        The tokens, and for each property its weights and divergences.
    """
    ids, found, apart = list(prompt), [[] for _ in properties], [[] for _ in properties]
    for step in range(n):
        fixed_part = [] if always is None else [(always, [1.0] * (step + 1))]
        clean = next_logits(model, ids, len(prompt), fixed_part)
        for number, (vector, coefficient, schedule) in enumerate(properties):
            probing = (vector, [coefficient * schedule.probe] * (step + 1))
            probe = next_logits(model, ids, len(prompt), [*fixed_part, probing])
            kl = float(schedule.divergence(clean, probe))
            apart[number].append(kl)
            found[number].append(min(max(kl, 0.0), schedule.most))
        realised = [
            (vector, [coefficient * weight for weight in weights])
            for (vector, coefficient, _), weights in zip(properties, found, strict=True)
        ]
        said = next_logits(model, ids, len(prompt), [*fixed_part, *realised])
        ids.append(int(said.argmax()))
    return tuple(ids[len(prompt) :]), found, apart


CASES = {
    "one": ((Dynamic(), 1.0),),
    "mean": ((Dynamic(0.2, probe=1.5, most=0.2, reduction="mean"), 4.0),),
    "two": ((Dynamic(), 1.0), (Dynamic(0.7), 1.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_algorithm_of_the_paper(model, case):
    free = without_stops(model)
    vectors = [random_steps(model), random_steps(model, "formal", seed=2, steps=5)]
    acting = [
        (vector, coefficient, schedule)
        for vector, (schedule, coefficient) in zip(vectors, CASES[case], strict=False)
    ]
    steer = Intervention()
    for vector, coefficient, schedule in acting:
        steer = steer + vector.shift(coefficient, schedule)
    prompts = PROMPTS[:3]
    plain = tokens(free, prompts, unsteered)
    found = tokens(free, prompts, steer)
    for row, prompt in enumerate(model.tokenize(prompts)):
        expected, weights, _ = by_hand(free, prompt, acting)
        assert found[row] == expected
        # The case says something: there is something to find, and it is not always the most.
        assert all(sum(each) / STEPS > 0.01 for each in weights)
        assert len({round(weight, 3) for each in weights for weight in each}) > 3
    assert found != plain


def test_what_is_always_there_is_there_when_it_is_probed(model):
    free = without_stops(model)
    vector, static = random_steps(model), random_steps(model, "formal", seed=2)
    steer = static.shift() + vector.shift(1.0, Dynamic())
    [found] = tokens(free, PROMPTS[:1], steer)
    [prompt] = model.tokenize(PROMPTS[:1])
    expected, weights, _ = by_hand(free, prompt, [(vector, 1.0, Dynamic())], always=static)
    _, others, _ = by_hand(free, prompt, [(vector, 1.0, Dynamic())], n=1)
    assert found == expected and abs(weights[0][0] - others[0][0]) > 1e-3


# ---------------------------------------------------------------------------- rows and caches
@on_three
def test_the_cache_the_neighbours_and_the_way_change_nothing(model):
    """Unsteered, static and dynamic rows in one batch: each as it is alone, and uncached."""
    free = without_stops(model)
    kinds = every_schedule(model)
    steering = list(kinds.values())
    prompts = [PROMPTS[number % len(PROMPTS)] for number in range(len(steering))]
    together = tokens(free, prompts, steering)
    assert tokens(free, prompts, steering, use_cache=False) == together
    some = slice(5, None, 2)
    assert tokens(free, prompts[some], steering[some], batch_size=1) == together[some]
    assert tokens(free, prompts, steering, through="hook_points") == together
    assert tokens(free, prompts[::-1], steering[::-1], batch_size=4)[::-1] == together
    plain = tokens(free, prompts, unsteered)
    changed = [a != b for a, b in zip(together, plain, strict=True)]
    assert changed[0] is False and sum(changed) >= len(steering) - 3


def test_one_row_alone_without_a_cache(model):
    free = without_stops(model)
    for name in ("dynamic", "two dynamic"):
        steer = every_schedule(model)[name]
        [alone] = tokens(free, PROMPTS[1:2], steer)
        assert tokens(free, PROMPTS[1:2], steer, use_cache=False) == [alone]


@pytest.mark.parametrize("model", ["qwen2"], indirect=True)
def test_the_same_without_a_cache_for_any_schedule(model):
    free = without_stops(model)
    kinds = every_schedule(model)
    prompts = [PROMPTS[1]] * len(kinds)
    cached = tokens(free, prompts, list(kinds.values()))
    assert tokens(free, prompts, list(kinds.values()), use_cache=False) == cached
    assert len(set(cached)) > len(kinds) // 2  # schedules differ in what they make the model say


@on_three
def test_strength_zero_is_the_identity_whatever_the_schedule(model):
    free = without_stops(model)
    vector = random_steps(model)
    kinds = [fixed, start, diminishing(5), exponential(0.7), Dynamic(), Dynamic(reduction="mean")]
    steering = [vector.shift(0.0, schedule) for schedule in kinds]
    prompts = PROMPTS[:1] * len(kinds)
    [plain] = tokens(free, PROMPTS[:1], unsteered)
    assert tokens(free, prompts, steering) == [plain] * len(kinds)


def test_nothing_happens_where_a_probe_changes_nothing(model):
    """A dynamic schedule whose probe has no weight never acts, however large its coefficient."""
    free = without_stops(model)
    idle = random_steps(model).shift(9.0, Dynamic(probe=0.0))
    assert tokens(free, PROMPTS, idle) == tokens(free, PROMPTS, unsteered)


def test_rows_stop_by_themselves_and_leave_their_neighbours_alone(model):
    free, stopping = without_stops(model), without_stops(model)
    names = ("two dynamic", "unsteered", "dynamic", "diminishing", "dynamic and static")
    steering = [every_schedule(model)[name] for name in names]
    prompts = PROMPTS[: len(steering)]
    whole = tokens(free, prompts, steering)
    stopping.stop_ids = frozenset({whole[0][3], whole[2][1]})
    for options in ({}, {"batch_size": 2}, {"use_cache": False}):
        for long, short in zip(whole, tokens(stopping, prompts, steering, **options), strict=True):
            ends = [i for i, token in enumerate(long) if token in stopping.stop_ids]
            assert short == (long[: ends[0] + 1] if ends else long)


def test_drawn_tokens_do_not_depend_on_the_cache_either(model):
    free = without_stops(model)
    names = ("dynamic", "unsteered", "two dynamic")
    steering = [every_schedule(model)[name] for name in names]
    sampling = Sampling(seed=5)
    drawn = tokens(free, PROMPTS[:3], steering, sampling=sampling)
    assert tokens(free, PROMPTS[:3], steering, sampling=sampling, use_cache=False) == drawn
    alone = [
        tokens(free, [p], s, sampling=sampling)[0]
        for p, s in zip(PROMPTS[:3], steering, strict=True)
    ]
    assert alone == drawn != tokens(free, PROMPTS[:3], steering)


# ---------------------------------------------------------------------------- what is probed
def test_streams_are_a_clean_one_and_a_probe_for_each_property(model):
    kinds = every_schedule(model)
    rows = [kinds[name] for name in ("fixed", "two dynamic", "dynamic and static")]
    streams = Streams(rows)
    assert [len(numbers) for numbers in streams.numbers] == [0, 3, 2]
    assert streams.owner == [1, 1, 1, 2, 2]
    clean, first, second, still, probe = streams.steering
    assert clean == unsteered and still == random_steps_of(kinds["dynamic and static"], "formal")
    assert {edit.direction.name for edit in first.edits} == {"italian"}
    assert {edit.direction.name for edit in second.edits} == {"formal"}
    assert {edit.schedule.weights for edit in (*first.edits, *second.edits)} == {(2.0,)}
    assert {edit.value for edit in second.edits} == {1.5}  # the coefficient stays
    assert len(probe.edits) == len(kinds["dynamic and static"].edits)


def random_steps_of(intervention: Intervention, name: str) -> Intervention:
    """The edits along directions of one name."""
    return Intervention(tuple(edit for edit in intervention.edits if edit.direction.name == name))


def test_edits_of_one_name_are_one_property(model):
    vector = random_steps(model)
    whole = vector.shift(1.0, Dynamic())
    assert len(whole.edits) == model.n_layers and whole.dynamic == (("italian", Dynamic()),)
    split = vector.only(layers=[0]).shift(1.0, Dynamic()) + vector.shift(1.0, Dynamic(0.7))
    assert [name for name, _ in split.dynamic] == ["italian (layers 0)", "italian"]


# ---------------------------------------------------------------------------- what is refused
def test_hooks_are_gone_afterwards_and_after_an_error(model, monkeypatch):
    before = n_hooks(model)
    steer = random_steps(model).shift(1.0, Dynamic())
    tokens(model, PROMPTS[:2], steer)
    assert n_hooks(model) == before
    monkeypatch.setattr(StopRule, "ended", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tokens(model, PROMPTS[:2], steer, through="hook_points")
    assert n_hooks(model) == before


@pytest.mark.parametrize("positions", ["all", "prompt", "not_bos"])
def test_no_weight_can_be_found_on_the_prompt(model, positions):
    vector = random_steps(model)
    with pytest.raises(InterventionError, match=r"act on the prompt.*positions='generated'"):
        vector.shift(1.0, Dynamic(), positions)
    assert vector.shift(1.0, Dynamic(), "last").dynamic


def test_what_a_dynamic_schedule_cannot_do(model):
    steer = random_steps(model).shift(1.0, Dynamic())
    with pytest.raises(GenerationError, match="compiled=True with a dynamic schedule"):
        generate(model, PROMPTS[:1], steer, max_new_tokens=2, compiled=True)
    with pytest.raises(InterventionError, match=r"fwd_hooks\(clock\)"):
        steer.fwd_hooks()
    with pytest.raises(InterventionError, match=r"ist\.generate, ist\.logprobs or ist\.trace"):
        steer.fwd_hooks(Clock())


def test_only_where_it_is_said_to_act(model):
    """A dynamic schedule at one site and the first two steps, by hand and as written."""
    free = without_stops(model)
    vector = random_steps(model, scale=4.0).only(layers=[2])
    [edit] = vector.direction(Site("z", 2), Site("z", 2)).shift(1.0, "first(2)", Dynamic()).edits
    steer = Intervention((edit,))
    short = SteppedVector(vector.directions[:2], vector.counts[:, :2], vector.layers, vector.card)
    assert str(steer) == str(short.shift(1.0, Dynamic()))
    [prompt] = model.tokenize(PROMPTS[:1])
    expected, _, _ = by_hand(free, prompt, [(short, 1.0, Dynamic())])
    assert (
        tokens(free, PROMPTS[:1], steer)
        == [expected]
        == tokens(free, PROMPTS[:1], short.shift(1.0, Dynamic()))
    )
