"""Operations of the command line: parsed, refused, and what they do along which vector."""

from __future__ import annotations

import pytest

import interp_steer as ist
from analyses.kit.operations import Steerer, SteeringSpec
from interp_steer.errors import InterpSteerError
from interp_steer.interventions.operations import Operation

QUERIES = ["One.", "Two.", "Three.", "Four."]


@pytest.fixture(scope="module")
def steerer(tiny):
    pairs = ist.contrast.build("x", QUERIES, ["Be brief.", "Short."], fit=3, select=1, test=0)
    return Steerer.fit(tiny("llama3"), pairs, ["project", "generated/add:2"])


def test_operations_act_along_the_vector_that_was_read_where_they_say(steerer):
    direction = steerer.vectors["last"].at(1)
    norm = float(direction.vector.norm())
    assert str(steerer.steering(1, "project")) == str(direction.project())
    first = direction.project(positions="first(3)")
    assert str(steerer.steering(1, "project@first(3)")) == str(first)
    added = steerer.steering(1, "add:2@generated").edits[0]
    assert added.value == pytest.approx(2 * norm) and added.positions == "generated"
    assert steerer.steering(1, "add:-0.5").edits[0].value == pytest.approx(-0.5 * norm)
    read = steerer.steering(1, "generated/add:2").edits[0]
    assert read.direction.vector.equal(steerer.vectors["generated"].at(1).vector)
    assert not read.direction.vector.equal(direction.vector)
    assert steerer.steering(1, "last/add:1raw").edits[0].value == 1.0
    turned = direction.turn(added.value, "generated")
    assert str(steerer.steering(1, "turn:2@generated")) == str(turned)


def test_a_control_acts_in_the_place_of_the_vector(steerer):
    control = steerer.steering(2, "generated/add:2", lambda vector: vector.like_random(0))
    own = steerer.steering(2, "generated/add:2")
    assert control.edits[0].value == own.edits[0].value
    assert control.edits[0].direction.name == "random-0(x)"


@pytest.mark.parametrize(
    "wrong",
    ["push", "add", "turn", "add:", "add:much", "project:", "add:1@nowhere", "add:1@", "here/add:1",
     "", "/add:1", "add:1furlong", "add:1*", "project*often"],
)  # fmt: skip
def test_what_is_no_operation_is_refused(wrong):
    with pytest.raises(InterpSteerError, match=r"operation"):
        SteeringSpec.parse(wrong)


def test_a_budget_of_perplexity_is_a_strength():
    assert SteeringSpec.parse("add:1.5ppl@generated").strength == ist.Strength(1.5, "ppl")
    with pytest.raises(InterpSteerError, match=r"add:1.5ppl"):
        SteeringSpec.parse("add:1.5perplexity/")


def test_what_is_done_may_diminish(steerer):
    whole, less = (
        steerer.steering(1, f"generated/add:2@generated{share}").edits[0]
        for share in ("", "*exponential(0.9)")
    )
    assert str(less.schedule) == "exponential(0.9)" and str(whole.schedule) == "fixed"
    assert less.value == whole.value and less.positions == "generated"
    along = steerer.vector("generated/add:2@generated*exponential(0.9)")
    assert along is steerer.vectors["generated"]


def test_an_index_is_a_place_to_read():
    assert SteeringSpec.parse("-2/add:0.3kl@generated") == SteeringSpec(
        Operation.ADD, ist.Strength(0.3, "kl"), "generated", "-2"
    )
