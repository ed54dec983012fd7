"""Strengths in comparable units, and what steering does to answers that are given."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.errors import InterventionError
from interp_steer.models.sites import Site
from interp_steer.vectors.strength import Strength, StrengthCalibrator, Unit, find_largest_within

QUERIES = [f"Tell me about the {thing}." for thing in ("sea", "castle", "puppet", "fox")]


@pytest.fixture(scope="module")
def gauge(tiny):
    pairs = ist.contrast.build(
        "small", QUERIES, ["No capitals.", "In lowercase."], fit=4, select=0, test=0
    )
    model = tiny("llama3")
    return StrengthCalibrator(model, ist.fit(model, pairs), QUERIES[:3], max_new_tokens=6)


@given(st.floats(-1e6, 1e6), st.sampled_from(["norm", "residual", "sd", "kl", "ppl", "raw"]))
def test_a_strength_is_read_as_it_is_written(amount, unit):
    strength = Strength(float(f"{amount:g}"), unit)
    assert Strength.parse(str(strength)) == strength


@pytest.mark.parametrize("text", ["", "kl", "2 norm", "1.2.3", "3furlongs", "nan", "inf", "2kl3"])
def test_what_is_no_strength_is_refused(text):
    with pytest.raises(InterventionError, match="write a number and one of the units"):
        Strength.parse(text)


def test_one_norm_is_the_papers_projection(gauge):
    for layer in gauge.vector.layers:
        own = gauge.vector.at(layer).project()
        measured = gauge.steering(layer, "project", Strength(1.0))
        assert measured.edits[0].value == pytest.approx(own.edits[0].value, abs=1e-4)
        assert str(gauge.steering(layer, "project")) == str(own)


def test_units_are_those_of_the_captured_activations(gauge):
    rows = ist.capture.capture_moments(gauge.model, QUERIES[:3], keep_rows=True).rows
    for layer in gauge.vector.layers:
        values = rows.values[Site("resid_post", layer)].double()
        length = float(values.square().sum(1).mean().sqrt())
        spread = float((values @ gauge.vector.at(layer).unit.double()).std())
        assert gauge.coefficient(layer, Strength(2.0, "residual")) == pytest.approx(2 * length)
        assert gauge.coefficient(layer, Strength(-1.0, "sd")) == pytest.approx(-spread)
        assert gauge.coefficient(layer, Strength(3.0, "raw")) == 3.0


@pytest.mark.parametrize("nats", [0.05, 0.5, -0.2])
@pytest.mark.parametrize("positions", ["all", "generated"])
def test_the_kl_that_was_asked_for_is_reached_and_not_passed(gauge, nats, positions):
    found = gauge.coefficient(2, Strength(nats, "kl"), positions=positions)
    assert math.copysign(1, found) == math.copysign(1, nats)
    direction = gauge.vector.at(2)
    kl = gauge.damage(direction.add(found, positions)).kl
    beyond = gauge.damage(direction.add(found * 1.021, positions)).kl
    assert kl <= abs(nats) < beyond


@pytest.mark.parametrize("times", [1.2, 4.0, -1.5])
@pytest.mark.parametrize("how", ["add", "turn", "project"])
def test_the_perplexity_stays_within_its_budget_and_a_little_more_does_not(gauge, times, how):
    found = gauge.coefficient(2, Strength(times, "ppl"), how)
    assert math.copysign(1, found) == math.copysign(1, times)

    def ratio(coefficient: float) -> float:
        raw = Strength(coefficient, "raw")
        damage = gauge.damage(gauge.steering(2, how, raw))
        return damage.perplexity / damage.plain_perplexity

    assert ratio(found) <= abs(times) < ratio(found * 1.021)


def test_a_larger_budget_of_perplexity_lets_steer_harder(gauge):
    budgets = (1.1, 1.5, 3.0, 10.0)
    found = [gauge.coefficient(2, Strength(times, "ppl")) for times in budgets]
    assert found == sorted(set(found)) and found[0] > 0


@pytest.mark.parametrize("times", [1.0, 0.5, -1.0])
def test_a_budget_that_leaves_no_perplexity_is_refused(gauge, times):
    with pytest.raises(InterventionError, match=r"add at small@.*leaves no room.*such as 1.5ppl"):
        gauge.steering(2, "add", Strength(times, "ppl"))


def test_a_strength_is_measured_where_the_vector_acts(gauge):
    read, acts = 1, 3
    unit = gauge.vector.at(read).unit.double()
    captured = ist.capture.capture_moments(gauge.model, QUERIES[:3], keep_rows=True).rows
    assert captured is not None
    rows = captured.values[Site("resid_post", acts)].double()
    expected: dict[Unit, float] = {
        "norm": float(gauge.vector.norms[read]),
        "residual": float(rows.square().sum(1).mean().sqrt()),
        "sd": float((rows @ unit).std()),
    }
    for name, value in expected.items():
        found = gauge.coefficient(read, Strength(1.0, name), apply_layer=acts)
        assert found == pytest.approx(value)
    projected = gauge.steering(read, "project", Strength(2.0, "raw"), apply_layer=acts).edits[0]
    assert projected.value == pytest.approx(float(gauge.vector.baseline[acts].double() @ unit) + 2)
    there, here = (
        gauge.coefficient(read, Strength(0.1, "kl"), apply_layer=k) for k in (acts, read)
    )
    assert there != here
    moved = gauge.damage(gauge.steering(read, "add", Strength(0.1, "kl"), apply_layer=acts)).kl
    assert 0.09 < moved <= 0.1


def test_what_is_not_known_where_a_vector_acts_is_refused(gauge):
    narrow = ist.fit(
        gauge.model,
        ist.contrast.build("narrow", QUERIES, ["No capitals."], fit=4, select=0, test=0),
        layers=[1],
    )
    only = StrengthCalibrator(gauge.model, narrow, QUERIES[:2])
    for strength in ("1sd", "1residual"):
        with pytest.raises(InterventionError, match=r"was not read.*or give the strength in norm"):
            only.coefficient(1, Strength.parse(strength), apply_layer=2)
    with pytest.raises(InterventionError, match="project without a strength"):
        only.steering(1, "project", Strength(1.0), apply_layer=2)
    assert str(only.steering(1, "project", apply_layer=2)).count("[resid_post.1]@resid_post.2") == 1


def test_a_control_acts_with_the_coefficient_of_the_vector(gauge):
    control = gauge.vector.like_random(3)
    for how in ("add", "project"):
        ours = gauge.steering(1, how, Strength(0.1, "kl")).edits[0]
        theirs = gauge.steering(1, how, Strength(0.1, "kl"), along=control).edits[0]
        assert theirs.direction.name == "random-3(small)"
        start = {
            "add": (0.0, 0.0),
            "project": tuple(
                float(v.baseline[1].double() @ v.at(1).unit.double())
                for v in (gauge.vector, control)
            ),
        }[how]
        assert ours.value - start[0] == pytest.approx(theirs.value - start[1], rel=1e-5)


def test_what_cannot_be_reached_is_refused_with_the_mend(gauge):
    with pytest.raises(InterventionError, match="give a smaller budget"):
        find_largest_within(2.0, lambda c: 1.0)
    with pytest.raises(InterventionError, match="give a larger budget"):
        find_largest_within(0.5, lambda c: 1.0)
    with pytest.raises(InterventionError, match="finite and above 0"):
        find_largest_within(math.nan, lambda c: c)
    with pytest.raises(InterventionError, match="give one of add, project, turn"):
        gauge.steering(1, "push", Strength(1.0))
    with pytest.raises(InterventionError, match=r"add at small@resid_post.1.*smaller budget"):
        gauge.steering(1, "add", Strength(1e4, "kl"))


@given(st.floats(1e-3, 1e3), st.floats(1e-2, 1e2), st.floats(0.3, 3.0), st.floats(1e-3, 0.5))
def test_the_largest_coefficient_within_a_budget_is_found(budget, start, power, tolerance):
    scale = budget / start**power  # so that it lies within reach of the start
    truth = start
    found = find_largest_within(
        budget * 3.0**power, lambda c: scale * c**power, start=start, tolerance=tolerance
    )
    assert found <= 3 * truth * (1 + 1e-9)
    assert found * (1 + tolerance) >= 3 * truth * (1 - 1e-9)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 3), st.floats(-40, 40))
def test_divergence_is_nil_without_steering_and_never_negative(gauge, layer, coefficient):
    answers = ["a whale", " wood and the sea", "I", "12 apples"]
    steer = gauge.vector.at(layer).add(coefficient)
    plain = ist.divergence(gauge.model, QUERIES, answers, ist.unsteered)
    moved = ist.divergence(gauge.model, QUERIES, answers, steer)
    assert all(one.kl < 1e-7 for one in plain)
    for one, other in zip(plain, moved, strict=True):
        assert one.perplexity == one.plain_perplexity == pytest.approx(other.plain_perplexity)
        assert other.kl >= 0


def test_divergence_agrees_with_logprobs_and_does_not_know_its_neighbours(gauge):
    answers = ["a whale", " wood and the sea is very large", "I", "12 apples"]
    steering = [gauge.vector.at(k).add(3.0 * k - 4) for k in range(4)]
    together = ist.divergence(gauge.model, QUERIES, answers, steering)
    scores = ist.logprobs(gauge.model, QUERIES, answers, steering)
    for query, answer, steer, found, score in zip(
        QUERIES, answers, steering, together, scores, strict=True
    ):
        assert found.perplexity == pytest.approx(
            math.exp(-score.total / len(score.tokens)), rel=1e-4
        )
        [alone] = ist.divergence(gauge.model, [query], [answer], steer)
        assert alone.kl == pytest.approx(found.kl, abs=1e-5)
        assert alone.perplexity == pytest.approx(found.perplexity, rel=1e-4)


def test_divergence_is_its_formula(gauge):
    model, steer = gauge.model, gauge.vector.at(2).add(5.0)
    prompt = model.tokenize([QUERIES[0]])[0]
    answer = list(model.tokenizer(" a large sea", add_special_tokens=False)["input_ids"])
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        plain = model.bridge(ids, return_type="logits")[0]
        steered = model.bridge.run_with_hooks(ids, fwd_hooks=steer.fwd_hooks())[0]
    p, q = (torch.log_softmax(each[len(prompt) - 1 : -1].double(), -1) for each in (plain, steered))
    expected = float((p.exp() * (p - q)).sum(-1).mean())
    [found] = ist.divergence(model, [QUERIES[0]], [answer], steer)
    assert found.kl == pytest.approx(expected, rel=1e-3, abs=1e-6)
