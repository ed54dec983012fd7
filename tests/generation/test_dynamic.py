"""Weights that are found while a model generates, against a loop that recomputes everything."""

from __future__ import annotations

import pytest

from interp_steer.errors import GenerationError, InterventionError
from interp_steer.generation.completions import GenerationOptions, generate
from interp_steer.generation.decoding import StopRule
from interp_steer.generation.dynamic import ProbeStreams
from interp_steer.generation.sampling import Sampling
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import Dynamic, diminishing, exponential, fixed, start
from interp_steer.models.sites import Site
from interp_steer.vectors.stepped_vector import SteppedVector
from tests.support.dynamic_weights import (
    STEPS,
    by_hand,
    every_schedule,
    on_three,
    random_steps,
    tokens,
)
from tests.support.steering import PROMPTS, n_hooks, without_stops

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
    streams = ProbeStreams(rows)
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
    monkeypatch.setattr(StopRule, "finish", lambda *_: 1 / 0)
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
        options = GenerationOptions(compiled=True)
        generate(model, PROMPTS[:1], steer, max_new_tokens=2, options=options)
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
