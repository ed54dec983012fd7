"""Weights by step, and those that follow a divergence, against their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.errors import InterventionError
from interp_steer.interventions import schedules
from interp_steer.interventions.schedules import (
    LONGEST,
    AnySchedule,
    Dynamic,
    Schedule,
    diminishing,
    exponential,
    fixed,
    start,
)

# Checking types at run time draws from `random`, which Hypothesis warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random`")
few = settings(max_examples=40, deadline=None)

positive = st.floats(1e-6, 1e6)
dynamics = st.builds(
    Dynamic,
    top_p=st.floats(1e-6, 1),
    probe=st.floats(-50, 50),
    most=positive,
    reduction=st.sampled_from(["sum", "mean"]),
)
every_kind: st.SearchStrategy[AnySchedule] = st.one_of(
    st.sampled_from([fixed, start]),
    st.integers(1, 200).map(diminishing),
    st.floats(0.001, 0.99).map(exponential),
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6).map(
        lambda weights: schedules.of(lambda i: weights[i], len(weights))
    ),
    dynamics,
)


@few
@given(every_kind)
def test_what_is_written_reads_back(schedule):
    again = schedules.parse(str(schedule))
    assert again == schedule and str(again) == str(schedule)


def test_schedules_are_written_as_the_papers_say_them():
    assert list(map(str, (fixed, start, diminishing(30), exponential(0.9)))) == [
        "fixed",
        "start",
        "diminishing(30)",
        "exponential(0.9)",
    ]
    assert str(Dynamic(0.6)) == "dynamic(0.6)"
    long = "dynamic(0.5; probe=1.5; most=3; mean)"
    assert schedules.parse(long) == Dynamic(0.5, probe=1.5, most=3.0, reduction="mean")
    assert str(schedules.parse(long)) == long
    assert schedules.parse("steps(1;0.5;0)").weights == (1.0, 0.5, 0.0)  # type: ignore[union-attr]


@few
@given(st.integers(1, LONGEST - 1))
def test_diminishing_falls_evenly_from_one_to_nothing(steps):
    weights = diminishing(steps).weights
    assert len(weights) == steps + 1 and weights[0] == 1.0 and weights[steps] == 0.0
    falls = [a - b for a, b in pairwise(weights)]
    assert all(math.isclose(fall, 1 / steps, abs_tol=1e-12) for fall in falls)


@few
@given(st.floats(0.001, 0.99))
def test_exponential_is_a_power_until_it_is_nothing(rate):
    weights = exponential(rate).weights
    assert weights[0] == 1.0 and weights[-1] == 0.0
    assert weights[:-1] == tuple(rate**i for i in range(len(weights) - 1))
    assert min(weights[:-1]) > 0.99e-6 and rate ** (len(weights) - 1) < 1.01e-6


def test_start_and_fixed():
    assert start.weights == (1.0, 0.0)  # the last one holds from then on
    assert fixed.weights == (1.0,)


@few
@given(st.integers(1, 20), st.integers(-5, 5))
def test_any_function_of_the_step(steps, slope):
    assert schedules.of(lambda i: slope * i, steps).weights == tuple(
        float(slope * i) for i in range(steps)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "often",
        "Fixed",
        "fixed()",
        "fixed(3)",
        "start(1)",
        "diminishing",
        "diminishing(2.5)",
        "diminishing(many)",
        "exponential",
        "exponential(fast)",
        "steps",
        "steps(1;)",
        "steps(1,2)",
        "dynamic",
        "dynamic(often)",
        "dynamic(0.5; 3)",
        "dynamic(0.5; top_p=0.4)",
        "dynamic(0.5; heat=3)",
        "dynamic(0.5; reduction=sum)",
        "dynamic(0.5; median)",
        "dynamic(0.5",
        "diminishing(3) ",
        "fixed + start",
    ],
)
def test_texts_that_are_no_schedule(text):
    with pytest.raises(InterventionError, match=r"unknown; use one of fixed, start, diminishing"):
        schedules.parse(text)


@pytest.mark.parametrize(
    "text, said",
    [
        ("diminishing(0)", "diminishing of 0 steps"),
        ("diminishing(-3)", "diminishing of -3 steps"),
        (f"diminishing({LONGEST})", f"of {LONGEST} steps: give from 1 to {LONGEST - 1}"),
        ("exponential(1)", "between 0 and 1"),
        ("exponential(0)", "between 0 and 1"),
        ("exponential(nan)", "between 0 and 1"),
        ("exponential(0.99999)", "give from 1 to"),
        ("steps(1;nan)", "1 are not finite"),
        ("steps(inf)", "1 are not finite"),
        ("dynamic(0)", "top_p must be above 0"),
        ("dynamic(1.01)", "top_p must be above 0"),
        ("dynamic(nan)", "all finite"),
        ("dynamic(0.5; most=0)", "most above 0"),
        ("dynamic(0.5; most=inf)", "all finite"),
        ("dynamic(0.5; probe=nan)", "all finite"),
    ],
)
def test_numbers_out_of_range_are_named(text, said):
    with pytest.raises(InterventionError, match=said):
        schedules.parse(text)


def test_values_that_make_no_schedule():
    with pytest.raises(InterventionError, match="empty has 0 weights"):
        Schedule("empty", ())
    with pytest.raises(InterventionError, match="give from 1 to"):
        Schedule("endless", (1.0,) * (LONGEST + 1))
    with pytest.raises(InterventionError, match="of 0 steps"):
        schedules.of(lambda i: 1.0, 0)
    with pytest.raises(Exception, match="median"):  # named by the type check in these tests
        Dynamic(reduction="median")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- dynamic
P = (0.5, 0.3, 0.1, 0.06, 0.04)
Q = (0.1, 0.2, 0.6, 0.06, 0.04)


def logits(*rows: Sequence[float]) -> torch.Tensor:
    """What has these probabilities, not normalised."""
    return torch.tensor(rows).log() + 3.7


def by_hand(p: Sequence[float], q: Sequence[float], top_p: float) -> tuple[float, int]:
    """``KL(p || q)`` over the union of the two sets, and the size of that."""

    def likeliest(shares: Sequence[float]) -> set[int]:
        kept: set[int] = set()
        for token in sorted(range(len(shares)), key=lambda i: -shares[i]):
            if sum(shares[i] for i in kept) >= top_p:
                break
            kept.add(token)
        return kept

    among = likeliest(p) | likeliest(q)
    whole = {"p": sum(p[i] for i in among), "q": sum(q[i] for i in among)}
    apart = sum(p[i] / whole["p"] * math.log(p[i] / whole["p"] * whole["q"] / q[i]) for i in among)
    return apart, len(among)


def test_a_divergence_worked_out_on_paper():
    # Of p the tokens 0 and 1 reach 0.65 (0.8, the crossing one kept), of q the tokens 2 and 1.
    # Over the three both sum to 0.9: p is 5/9, 3/9, 1/9 and q is 1/9, 2/9, 6/9.
    expected = 5 / 9 * math.log(5) + 3 / 9 * math.log(3 / 2) + 1 / 9 * math.log(1 / 6)
    found = Dynamic(0.65).divergence(logits(P), logits(Q))
    assert found.tolist() == pytest.approx([expected], rel=1e-5)
    mean = Dynamic(0.65, reduction="mean").divergence(logits(P), logits(Q))
    assert mean.tolist() == pytest.approx([expected / 3], rel=1e-5)
    assert by_hand(P, Q, 0.65) == (pytest.approx(expected), 3)


def test_the_token_that_crosses_is_kept_and_the_next_is_not():
    # At 0.4 one token of each is enough: 0 and 2, of which p has 5/6 and 1/6, q 1/7 and 6/7.
    expected = 5 / 6 * math.log(35 / 6) + 1 / 6 * math.log(7 / 36)
    assert Dynamic(0.4).divergence(logits(P), logits(Q)).item() == pytest.approx(expected, rel=1e-5)


@few
@given(st.integers(2, 7), st.floats(0.05, 0.98), st.integers(0, 10_000))
def test_divergences_are_as_by_hand_and_never_negative(size, top_p, seed):
    noise = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(seed)) * 2
    p, q = noise.double().softmax(-1)
    borderline = min(
        (side.sort(descending=True).values.cumsum(-1) - top_p).abs().min() for side in (p, q)
    )
    if borderline < 1e-5:  # rounding may put the next token on either side
        return
    sums = Dynamic(top_p).divergence(*noise)
    means = Dynamic(top_p, reduction="mean").divergence(*noise)
    expected = [by_hand(a, b, top_p) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    assert sums.tolist() == pytest.approx([apart for apart, _ in expected], abs=1e-4)
    assert means.tolist() == pytest.approx([apart / n for apart, n in expected], abs=1e-4)
    assert bool((sums >= 0).all())


@few
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=6), st.floats(0.01, 1))
def test_nothing_is_added_where_probe_and_plain_agree(raw, top_p):
    same = torch.tensor([raw])
    schedule = Dynamic(top_p)
    apart = schedule.divergence(same, same + 5.0)  # what is added to all logits says nothing
    assert apart.item() < 1e-4
    assert schedule.weights(schedule.divergence(same, same)).item() == 0.0


def test_weights_are_clipped():
    schedule = Dynamic(most=1.5)
    assert schedule.weights(torch.tensor([0.0, 0.7, 1.5, 9.0])).tolist() == pytest.approx(
        [0.0, 0.7, 1.5, 1.5]
    )
    far = schedule.divergence(logits((0.999, 0.001)), logits((1e-9, 1.0)))
    assert schedule.weights(far).item() == 1.5


@pytest.mark.parametrize("top_p", [0.5, 1.0])
def test_tokens_that_a_model_rules_out_do_no_harm(top_p):
    ruled_out = torch.tensor([[2.0, 1.0, -torch.inf], [2.0, 1.0, -torch.inf]])
    other = torch.tensor([[1.0, 2.0, -torch.inf], [1.0, 2.0, 1.5]])
    apart = Dynamic(top_p).divergence(ruled_out, other)
    assert bool(apart.isfinite().all()) and bool((apart > 0).all())
    # The other way round the model says what the probe never would: as far as can be.
    assert Dynamic(1.0).weights(Dynamic(1.0).divergence(other, ruled_out))[1].item() == 2.0


def test_a_probe_is_steered_alike_at_every_step():
    assert Dynamic(probe=1.25).probing.weights == (1.25,)


def test_half_precision_is_compared_in_single():
    rows = [torch.randn(2, 50, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]
    exact = Dynamic().divergence(*(row.bfloat16().float() for row in rows))
    assert torch.equal(Dynamic().divergence(*(row.bfloat16() for row in rows)), exact)
