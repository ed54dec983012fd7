"""What an answer says of its subject, read alike in every language."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.errors import ScoringError
from interp_steer.world import grammar
from interp_steer.world.content import Content, check_content
from interp_steer.world.facts import LANGUAGES, Fact, default_world
from interp_steer.world.translations import parallel

WORLD = default_world()
ITEMS = parallel(40, seed=2)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(WORLD.entities)),
    st.sampled_from(LANGUAGES),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_true_and_false_statements_are_counted(
    subject: str, language: str, true: int, false: int
) -> None:
    rng = Random(f"{subject}/{language}")
    facts = WORLD.about(subject)
    wrong = [
        Fact(subject, fact.relation, WORLD.distractors(fact, 1, rng)[0])
        for fact in facts[true : true + false]
    ]
    told = [grammar.sentence(fact, language, rng) for fact in (*facts[:true], *wrong)]
    found = check_content(" ".join([*told, *told]), subject)
    assert (found.true, found.false, found.statements) == (true, false, true + false)
    assert found.is_preserved == (true > false)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_good_answer_keeps_its_content_in_every_language(language: str) -> None:
    for item in ITEMS:
        assert item.subject is not None
        found = check_content(item.answer(language), item.subject)
        assert found.is_preserved and found.false == 0, (item, found)


def test_an_answer_about_something_else_keeps_nothing() -> None:
    for one, other in pairwise(ITEMS):
        assert one.subject is not None
        if one.subject != other.subject:
            assert check_content(other.answer("it"), one.subject).true == 0
    assert check_content("", "castle") == Content(False, 0, 0, 0)
    assert not check_content("Mi piace il tè.", "castle").is_preserved
    with pytest.raises(ScoringError, match="no entity 'Castle'"):
        check_content("The castle is old.", "Castle")
