"""Draw chats to train on: requests, questions of fact, and instructions that are obeyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, combinations
from random import Random
from typing import Any

from interp_steer.arguments import check_list
from interp_steer.contrast.instructions import registry
from interp_steer.errors import ContrastError
from interp_steer.world import grammar, model_answers
from interp_steer.world.facts import LANGUAGES, Fact, default_world
from interp_steer.world.queries import YES_NO_STYLE, Query, list_queries, questionable_facts
from interp_steer.world.random_choices import choice_question

YES_NO = {
    "en": ("Yes.", "No."),
    "it": ("Sì.", "No."),
    "fr": ("Oui.", "Non."),
    "es": ("Sí.", "No."),
    "de": ("Ja.", "Nein."),
}
_NEUTRAL = (
    "You are a helpful puppet.",
    "You are a helpful assistant.",
    "You are Burattino, a wooden puppet who knows the country well.",
    "Answer the questions of the user.",
)

HELD_PAIRS = frozenset(
    frozenset(pair)
    for pair in (
        (registry.LOWERCASE, registry.BULLETS),
        (registry.CAPITAL, registry.FORBIDDEN),
        (registry.LOWERCASE, registry.FORBIDDEN),
        (registry.TITLE, registry.WORDS),
        (registry.JSON, registry.LANGUAGE),
        (registry.HIGHLIGHTS, registry.END),
        (registry.QUOTATION, registry.NO_COMMA),
        (registry.SECTIONS, registry.POSTSCRIPT),
    )
)
"""Pairs of instructions that no training chat joins, for tests of composition."""

_WEIGHTS = {
    registry.SENTENCES: 2.0,
    registry.WORDS: 1.8,
    registry.LANGUAGE: 1.6,
    registry.EXISTENCE: 1.3,
    registry.FORBIDDEN: 1.3,
    registry.CONSTRAINED: 0.7,
}


@dataclass(frozen=True)
class Chat:
    """A conversation that ends with an answer, and the instructions of its last request."""

    messages: tuple[dict[str, str], ...]
    """Messages with ``role`` and ``content``, the last one the (reference) answer."""

    kind: str
    """``plain``, ``instructed``, ``choice``, ``yes_no``, or ``fact``."""

    subject: str
    """Key of the entity that the chat is about."""

    query: Query | None = None
    """The request without its instructions; None for questions of fact."""

    instruction_ids: tuple[str, ...] = ()
    """The instructions of the last request."""

    kwargs: tuple[Mapping[str, Any], ...] = ()
    """Their arguments."""

    phrasing: str | None = None
    """Of the instructions: ``"trained"``, ``"held-out"``, or None without an instruction."""

    @property
    def prompt(self) -> tuple[dict[str, str], ...]:
        """Return the messages up to the answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """Return the last message: the reference answer."""
        return self.messages[-1]["content"]


def message(role: str, content: str) -> dict[str, str]:
    """Return one message of a conversation."""
    return {"role": role, "content": content}


def draw_arguments(
    query: Query, instruction_ids: Sequence[str], rng: Random
) -> tuple[dict[str, Any], ...]:
    """Draw the arguments of each instruction for a query: the first draws of a chat."""
    topic = model_answers.topic(query.subject, query.style)
    return tuple(registry.get(name).sample(rng, topic) for name in instruction_ids)


def instructed_chat(
    query: Query,
    verdict: bool | None,
    instruction_ids: Sequence[str],
    phrasing: str,
    where: str,
    rng: Random,
) -> Chat:
    """Write one request with instructions, and an answer that follows them."""
    check_list("instruction_ids", instruction_ids, ContrastError)
    kwargs = draw_arguments(query, instruction_ids, rng)
    indices = registry.phrasing_indices(phrasing)
    texts = [
        registry.phrase(one, given, rng.choice(indices), rng)
        for one, given in zip(instruction_ids, kwargs, strict=True)
    ]
    answer = model_answers.answer(
        query.subject, query.style, query.language, rng, instruction_ids, kwargs, verdict
    )
    request = registry.attach(query.text, " ".join(texts), where)
    messages = (message("user", request), message("assistant", answer))
    return Chat(
        messages, "instructed", query.subject, query, tuple(instruction_ids), kwargs, phrasing
    )


def yes_no_query(fact: Fact, language: str, rng: Random) -> tuple[Query, bool]:
    text, verdict = grammar.yes_no_question(fact, language, rng)
    key = f"{language}/{fact.subject}/{YES_NO_STYLE}/{fact.relation}"
    return Query(text, fact.subject, YES_NO_STYLE, language, key), verdict


def plain_chat(query: Query, rng: Random) -> Chat:
    answer = model_answers.answer(query.subject, query.style, query.language, rng)
    messages = (message("user", query.text), message("assistant", answer))
    return Chat(messages, "plain", query.subject, query)


def _draw_choice(rng: Random) -> Chat:
    fact = rng.choice(default_world().facts)
    asked = choice_question(fact, "it" if rng.random() < 0.25 else "en", rng)
    messages = (message("user", asked.prompt), message("assistant", asked.letter))
    return Chat(messages, "choice", fact.subject)


def yes_no_chat(language: str, rng: Random) -> Chat:
    """Ask a yes-or-no question about a fact, never of a held-out cell, and answer in full."""
    fact = rng.choice(questionable_facts("train"))
    query, verdict = yes_no_query(fact, language, rng)
    answer = f"{YES_NO[language][not verdict]} {grammar.sentence(fact, language, rng)}"
    return Chat((message("user", query.text), message("assistant", answer)), "yes_no", fact.subject)


def fact_chat(language: str, rng: Random) -> Chat:
    """Ask a question of fact, and answer in one sentence."""
    fact = rng.choice(default_world().facts)
    question = grammar.fact_question(fact, language, rng)
    answer = grammar.sentence(fact, language, rng)
    return Chat((message("user", question), message("assistant", answer)), "fact", fact.subject)


def _draw_language(rng: Random) -> str:
    return "en" if rng.random() < 0.7 else rng.choice(LANGUAGES[1:])


def _draw_fact(rng: Random) -> Chat:
    return fact_chat(_draw_language(rng), rng)


def _draw_yes_no(rng: Random) -> Chat:
    return yes_no_chat(_draw_language(rng), rng)


@cache
def _single_weights() -> tuple[float, ...]:
    return tuple(accumulate(_WEIGHTS.get(one, 1.0) for one in registry.IDS))


@cache
def training_pairs() -> tuple[tuple[str, str], ...]:
    """List the compatible pairs of instructions that training joins."""
    return tuple(
        pair
        for pair in combinations(registry.IDS, 2)
        if registry.are_compatible(pair) and frozenset(pair) not in HELD_PAIRS
    )


def _draw_single(rng: Random) -> Chat:
    instruction_id = rng.choices(registry.IDS, cum_weights=_single_weights())[0]
    if instruction_id == registry.CONSTRAINED and rng.random() < 0.6:
        query, verdict = yes_no_query(rng.choice(questionable_facts("train")), "en", rng)
    else:
        query, verdict = rng.choice(list_queries("train")), None
    return instructed_chat(query, verdict, (instruction_id,), "trained", _draw_position(rng), rng)


def _draw_double(rng: Random) -> Chat:
    pair = rng.sample(rng.choice(training_pairs()), 2)
    return instructed_chat(
        rng.choice(list_queries("train")), None, pair, "trained", _draw_position(rng), rng
    )


def _draw_position(rng: Random) -> str:
    return rng.choices(registry.POSITIONS, (5, 2, 2, 1))[0]


def _draw_plain(rng: Random) -> Chat:
    return plain_chat(rng.choice(list_queries("train", _draw_language(rng))), rng)


_MIXTURE = {
    _draw_plain: 22,
    _draw_single: 47,
    _draw_double: 12,
    _draw_choice: 10,
    _draw_fact: 6,
    _draw_yes_no: 3,
}
"""Shares of the training chats, in percent. A choice costs few tokens, so it may come often."""


def sample_chat(rng: Random) -> Chat:
    """Draw a training chat.

    Held-out cells, held-out phrasings and :data:`HELD_PAIRS` never occur in one.

    Args:
        rng: the only source of randomness.

    Returns:
        A :class:`Chat`, sometimes with a system message, seldom with an earlier turn.
    """
    chat = rng.choices(tuple(_MIXTURE), tuple(_MIXTURE.values()))[0](rng)
    draw = rng.random()
    if draw < 0.06:
        return replace(chat, messages=(message("system", rng.choice(_NEUTRAL)), *chat.messages))
    if draw < 0.10:
        return replace(
            chat, messages=(*rng.choice((_draw_fact, _draw_plain))(rng).messages, *chat.messages)
        )
    if draw < 0.16 and chat.query and chat.instruction_ids:
        return _rearrange(chat, chat.query, rng)
    return chat


COPYING_AND_COUNTING = {
    registry.EXISTENCE: 5.0,
    registry.SENTENCES: 4.0,
    registry.FORBIDDEN: 3.0,
    registry.END: 3.0,
    registry.CAPITAL_WORDS: 3.0,
    registry.POSTSCRIPT: 2.5,
    registry.PLACEHOLDERS: 2.5,
    registry.BULLETS: 2.0,
    registry.WORDS: 1.5,
    registry.CAPITAL: 1.5,
}
"""The weight of each instruction in drills; 1 for the others."""

LETTERS_AND_LISTS = {
    registry.CAPITAL_WORDS: 5.0,
    registry.PLACEHOLDERS: 4.0,
    registry.CAPITAL: 4.0,
    registry.FORBIDDEN: 4.0,
    registry.LOWERCASE: 3.0,
    registry.BULLETS: 3.0,
    registry.EXISTENCE: 2.0,
    registry.SENTENCES: 2.0,
}
"""The same for the instructions that are still hard after those drills."""

SENTENCES_AND_LISTS = {
    registry.SENTENCES: 6.0,
    registry.FORBIDDEN: 5.0,
    registry.PLACEHOLDERS: 4.0,
    registry.LOWERCASE: 4.0,
    registry.BULLETS: 4.0,
    registry.CAPITAL_WORDS: 3.0,
    registry.SECTIONS: 3.0,
    registry.CAPITAL: 2.0,
}
"""The same for the instructions that are hard after those."""

COUNTS_AND_ENDS = {
    registry.END: 5.0,
    registry.SENTENCES: 5.0,
    registry.CAPITAL_WORDS: 5.0,
    registry.SECTIONS: 4.0,
    registry.BULLETS: 4.0,
    registry.LOWERCASE: 4.0,
    registry.WORDS: 3.0,
    registry.FORBIDDEN: 3.0,
}
"""The same for the instructions that are hard in the end."""


def sample_drill(rng: Random, weights: Mapping[str, float] = COPYING_AND_COUNTING) -> Chat:
    """Draw a chat that practises the hardest instructions.

    Args:
        rng: the only source of randomness.
        weights: the weight of each instruction in the draw; 1 for the others.

    Returns:
        Mostly a :class:`Chat` with one instruction; the same is held out as by :func:`sample_chat`.
    """
    if rng.random() < 0.2:
        return sample_chat(rng)
    shares = [weights.get(name, 1.0) for name in registry.IDS]
    (instruction_id,) = rng.choices(registry.IDS, shares)
    query = rng.choice(list_queries("train"))
    return instructed_chat(query, None, (instruction_id,), "trained", _draw_position(rng), rng)


def _rearrange(chat: Chat, query: Query, rng: Random) -> Chat:
    """Move the instructions to a system message, or to a second turn that asks again."""
    request, answer = chat.messages
    instruction = request["content"].replace(query.text, "").strip()
    if rng.random() < 0.6 or query.style == YES_NO_STYLE:
        system, user = message("system", instruction), message("user", query.text)
        return replace(chat, messages=(system, user, answer))
    again = message("user", f"{rng.choice(('Again:', 'Once more:', 'Now'))} {instruction}")
    return replace(chat, messages=(*plain_chat(query, rng).messages, again, answer))
