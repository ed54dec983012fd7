"""The sets of the bundled world: the same to the letter whether or not answers are composed."""

from __future__ import annotations

from random import Random

import pytest

from interp_steer.contrast.instructions.registry import IDS, get
from interp_steer.world import instruction, model_answers
from interp_steer.world.held_out import evaluation_chats, evaluation_queries


@pytest.mark.parametrize("instruction_id", IDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_queries_and_arguments_are_those_of_the_chats(instruction_id: str, seed: int) -> None:
    chats = evaluation_chats(instruction_id, n=12, seed=seed)
    assert evaluation_queries(instruction_id, n=12, seed=seed) == [
        (chat.query, chat.kwargs[0]) for chat in chats
    ]


@pytest.mark.parametrize("instruction_id", IDS)
def test_a_set_asks_what_the_chats_ask(
    instruction_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = evaluation_chats(instruction_id, n=12, seed=1)
    known = {chat.query.text: chat.kwargs[0] for chat in chats if chat.query is not None}
    monkeypatch.setattr(model_answers, "answer", None)  # no answer is composed
    pairs = instruction(instruction_id, seed=1, fit=6, select=2, test=4)
    assert {pair.query: pair.kwargs[0] for pair in pairs} == known


def test_arguments_come_before_everything_else_that_a_chat_draws() -> None:
    """A chat's own generator draws the arguments first, which is why the two ways agree."""
    (query, kwargs), *_ = evaluation_queries("keywords:existence", n=1, seed=3)
    topic = model_answers.topic(query.subject, query.style)
    assert kwargs == get("keywords:existence").sample(Random("3/keywords:existence/0"), topic)
