"""Draw chats that no model was trained on: held-out requests, with and without instructions."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from interp_steer.contrast.instructions import registry
from interp_steer.errors import ContrastError
from interp_steer.world import grammar
from interp_steer.world.chats import (
    YES_NO,
    Chat,
    draw_arguments,
    instructed_chat,
    message,
    plain_chat,
    yes_no_query,
)
from interp_steer.world.facts import default_world
from interp_steer.world.queries import YES_NO_STYLE, Query, list_queries, questionable_facts


def evaluation_chats(
    instruction_id: str, *, phrasing: str = "trained", n: int = 48, seed: int = 0
) -> list[Chat]:
    """Draw chats with one instruction on held-out queries.

    The queries, and the arguments of the instruction, depend on ``instruction_id``, ``n`` and
    ``seed`` alone, so that both phrasings and :func:`unsolicited_chats` ask about the same things.

    Args:
        instruction_id: one of :data:`interp_steer.contrast.instructions.registry.IDS`.
        phrasing: ``"trained"`` or ``"held-out"``.
        n: how many; the queries are distinct while there are enough of them (about 400).
        seed: of the draw.

    Returns:
        `n` chats of one turn whose answer follows the instruction.

    Raises:
        ContrastError: for an unknown instruction or phrasing, or fewer than one chat.
    """
    return [
        instructed_chat(query, verdict, (instruction_id,), phrasing, "after", Random(chat_seed))
        for query, verdict, chat_seed in _draw_queries(instruction_id, n, seed)
    ]


def evaluation_queries(
    instruction_id: str, *, n: int = 48, seed: int = 0
) -> list[tuple[Query, dict[str, Any]]]:
    """Draw the queries of :func:`evaluation_chats` and their arguments, and write no answers.

    Args:
        instruction_id: one of :data:`interp_steer.contrast.instructions.registry.IDS`.
        n: see :func:`evaluation_chats`.
        seed: see :func:`evaluation_chats`.

    Returns:
        `n` queries, each with the arguments of the instruction, in the order of
        :func:`evaluation_chats`.

    Raises:
        ContrastError: as :func:`evaluation_chats`.
    """
    return [
        (query, draw_arguments(query, (instruction_id,), Random(chat_seed))[0])
        for query, _, chat_seed in _draw_queries(instruction_id, n, seed)
    ]


def unsolicited_chats(instruction_id: str, *, n: int = 48, seed: int = 0) -> list[Chat]:
    """Draw the chats of :func:`evaluation_chats` without the text of their instruction.

    The chats still name the id and the arguments of the instruction, to verify answers with.

    Args:
        instruction_id: one of :data:`interp_steer.contrast.instructions.registry.IDS`.
        n: how many.
        seed: of the draw.

    Returns:
        `n` chats with plain answers, in the order of :func:`evaluation_chats`.
    """
    asked = evaluation_chats(instruction_id, n=n, seed=seed)
    return [replace(chat, messages=_plain_messages(chat, seed), phrasing=None) for chat in asked]


def _plain_messages(chat: Chat, seed: int) -> tuple[dict[str, str], ...]:
    query = chat.query
    assert query is not None
    rng = Random(f"{seed}/{query.key}")
    if query.style != YES_NO_STYLE:
        return plain_chat(query, rng).messages
    relation = query.key.rpartition("/")[2]
    fact = next(f for f in default_world().about(query.subject) if f.relation == relation)
    verdict = chat.answer == registry.CONSTRAINED_OPTIONS[0]
    answer = f"{YES_NO[query.language][not verdict]} {grammar.sentence(fact, query.language, rng)}"
    return (message("user", query.text), message("assistant", answer))


def _draw_queries(instruction_id: str, n: int, seed: int) -> list[tuple[Query, bool | None, str]]:
    """Draw held-out queries; return each with its verdict, if any, and the seed of its chat."""
    if n < 1:
        raise ContrastError(f"n={n} chats cannot be drawn; ask for one or more")
    registry.get(instruction_id)
    rng = Random(f"{seed}/{instruction_id}")
    pool: list[tuple[Query, bool | None]] = [(query, None) for query in list_queries("held")]
    if instruction_id == registry.CONSTRAINED:
        facts = [yes_no_query(fact, "en", rng) for fact in questionable_facts("held")]
        pool = [*facts, *rng.sample(pool, min(len(pool), len(facts)))]
    drawn = [one for _ in range(-(-n // len(pool))) for one in rng.sample(pool, len(pool))][:n]
    return [(*one, f"{seed}/{instruction_id}/{index}") for index, one in enumerate(drawn)]
