"""Conditions: cosines written out, thresholds against every threshold, gates row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import ContrastError, InterventionError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.conditions import (
    Condition,
    choose_condition,
    find_threshold,
    measure_detection,
)
from interp_steer.vectors.fitting import fit
from interp_steer.vectors.steering_vector import SteeringVector

PROMPTS = ["Tell me about the castle.", "A whale.", "Write a story about the sea in lowercase."]


@pytest.fixture(scope="module")
def pairs() -> ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=6, select=6, test=5)


@pytest.fixture(scope="module")
def vector(tiny: Callable[[str], HookedLM], pairs: ContrastSet) -> SteeringVector:
    return fit(tiny("llama3"), pairs, position="all")


@torch.no_grad()
def cosine(model: HookedLM, prompt: object, condition: Condition) -> float:
    """One prompt at a time, by a plain hook: the mean over its tokens, or the last one."""
    tokens = torch.tensor(model.tokenize([prompt]))  # type: ignore[list-item]
    module, side = model.module_of(condition.direction.site)
    assert side == "output"
    seen: list[torch.Tensor] = []
    handle = module.register_forward_hook(
        lambda _, args, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    model.plain(tokens)
    handle.remove()
    rows = seen[0][0].double()
    h = rows.mean(0) if condition.reads == "all" else rows[-1]
    return float(torch.cosine_similarity(h, condition.direction.vector.double(), dim=0))


@pytest.mark.parametrize("reads", ["all", "last"])
def test_scores_are_cosines_of_each_prompt_alone(
    model: HookedLM, vector: SteeringVector, reads: str
) -> None:
    condition = Condition(vector.at(2), 0.0, reads)  # type: ignore[arg-type]
    together = condition.scores(model, PROMPTS)
    alone = [cosine(model, prompt, condition) for prompt in PROMPTS]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)
    each = [float(condition.scores(model, [prompt])) for prompt in PROMPTS]
    assert each == pytest.approx(alone, abs=1e-5)
    scaled = Condition((7 * vector).at(2), 0.0, reads)  # type: ignore[arg-type]
    assert scaled.scores(model, PROMPTS).tolist() == pytest.approx(alone, abs=1e-5)
    # The paper's similarity to the projection is this without its sign.
    against = Condition((-vector).at(2), 0.0, reads)  # type: ignore[arg-type]
    assert against.scores(model, PROMPTS).tolist() == pytest.approx([-s for s in alone], abs=1e-5)


def test_a_gate_steers_the_prompts_that_meet_the_condition_alone(
    model: HookedLM, vector: SteeringVector
) -> None:
    scores = Condition(vector.at(2), 0.0).scores(model, PROMPTS).tolist()
    ranked = sorted(scores)
    condition = Condition(vector.at(2), (ranked[1] + ranked[2]) / 2)
    steer = vector.at(1).shift(4.0)
    steering = condition.gate(model, PROMPTS, steer)
    met = [score == ranked[2] for score in scores]
    assert steering == [steer if one else ist.unsteered for one in met]
    gated = ist.generate(model, PROMPTS, steering, max_new_tokens=6)
    by_itself = ist.generate(model, PROMPTS, max_new_tokens=6)
    steered = ist.generate(model, PROMPTS, steer, max_new_tokens=6)
    assert [one.tokens for one in gated] == [
        (steered if one else by_itself)[k].tokens for k, one in enumerate(met)
    ]
    assert [one.applied for one in gated] == [str(each) for each in steering]
    assert steered[0].tokens != by_itself[0].tokens
    assert Condition(vector.at(2), 1.0).gate(model, PROMPTS, steer) == [ist.unsteered] * 3
    assert Condition(vector.at(2), -1.0).gate(model, PROMPTS, steer) == [steer] * 3
    other = vector.at(3).ablate()
    assert Condition(vector.at(2), 1.0).gate(model, PROMPTS, steer, other) == [other] * 3


def test_what_is_steered_does_not_move_its_own_condition(
    model: HookedLM, vector: SteeringVector
) -> None:
    condition = Condition(vector.at(2), 0.0)
    before = condition.scores(model, PROMPTS)
    ist.generate(model, PROMPTS, condition.gate(model, PROMPTS, vector.at(0).shift(9.0)))
    assert torch.equal(condition.scores(model, PROMPTS), before)


def test_layer_and_threshold_are_chosen_on_select_and_told_on_test(
    model: HookedLM, vector: SteeringVector, pairs: ContrastSet
) -> None:
    condition = choose_condition(model, vector, pairs)
    by_layer = {}
    for layer in vector.layers:
        reading = Condition(vector.at(layer), 0.0)
        sides = (pairs.select.present, pairs.select.absent)
        by_layer[layer] = find_threshold(*(reading.scores(model, side) for side in sides))
    assert condition.f1 == max(f1 for _, f1, _ in by_layer.values())
    assert condition.threshold == by_layer[condition.direction.site.layer][0]
    assert str(choose_condition(model, vector, pairs.select)) == str(condition)
    told = measure_detection(condition, model, pairs)
    assert told == measure_detection(condition, model, pairs.test)
    assert (told.hits.n, told.false_alarms.n) == (5, 5)
    assert told.hits.value == float(condition.fires(model, pairs.test.present).double().mean())
    # The instruction is in every prompt of one side and in none of the other.
    assert condition.f1 == 1.0 and told.f1 > 0.6
    only = choose_condition(model, vector, pairs, layers=[1], reads="last")
    assert only.direction.site == Site("resid_post", 1) and only.reads == "last"
    with pytest.raises(ContrastError, match="no 'select' pairs"):
        choose_condition(model, vector, ContrastSet(pairs.name, pairs.fit.pairs + pairs.test.pairs))
    with pytest.raises(ContrastError, match="no 'test' pairs"):
        measure_detection(
            condition, model, ContrastSet(pairs.name, pairs.fit.pairs + pairs.select.pairs)
        )


numbers = st.lists(st.integers(-8, 8).map(lambda n: n / 10), min_size=1, max_size=9)


@given(numbers, numbers)
@settings(max_examples=120, deadline=None)
def test_no_threshold_has_a_higher_f1(present: list[float], absent: list[float]) -> None:
    sides = [torch.tensor(side, dtype=torch.float64) for side in (present, absent)]
    threshold, f1, gap = find_threshold(*sides)

    def counted(at: float) -> float:
        hits = sum(score > at for score in present)
        alarms = sum(score > at for score in absent)
        return 2 * hits / (hits + alarms + len(present))

    assert f1 == pytest.approx(counted(threshold))
    assert f1 >= max(counted(k / 20 + 0.01) for k in range(-20, 20)) - 1e-12
    assert gap >= 0 and -1 <= threshold <= 1
    if min(present) > max(absent):
        assert f1 == 1 and threshold == pytest.approx((min(present) + max(absent)) / 2)


def test_what_is_no_condition_is_refused(vector: SteeringVector) -> None:
    for threshold in (1.5, float("nan")):
        with pytest.raises(InterventionError, match="is not a cosine"):
            Condition(vector.at(1), threshold)
    with pytest.raises(InterventionError, match="scores of both sides, got 0 and 2"):
        find_threshold(torch.zeros(0).double(), torch.zeros(2).double())
    assert str(Condition(vector.at(1), 0.25)) == "cos(english_lowercase@resid_post.1) > 0.25"
