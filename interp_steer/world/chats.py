"""Chats to train on: requests, questions of fact, and instructions that are obeyed."""

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
    """A conversation whose last message is the assistant's, and what its last request asks for."""

    messages: tuple[dict[str, str], ...]
    """Messages with ``role`` and ``content``, the last one the (reference) answer."""

    kind: str
    """``plain``, ``instructed``, ``choice``, ``yes_no``, or ``fact``."""

    subject: str
    """Key of the entity that it is about."""

    query: Query | None = None
    """The request without its instructions; None for questions of fact."""

    instruction_ids: tuple[str, ...] = ()
    """The instructions of the last request."""

    kwargs: tuple[Mapping[str, Any], ...] = ()
    """Their arguments."""

    phrasing: str | None = None
    """Of the instructions: ``"trained"``, ``"held-out"``, or None where none is said."""

    @property
    def prompt(self) -> tuple[dict[str, str], ...]:
        """The messages up to the answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last message: the reference answer."""
        return self.messages[-1]["content"]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def instructed_chat(
    query: Query,
    verdict: bool | None,
    instruction_ids: Sequence[str],
    phrasing: str,
    where: str,
    rng: Random,
) -> Chat:
    """One request with instructions, and an answer that follows them."""
    check_list("instruction_ids", instruction_ids, ContrastError)
    topic = model_answers.topic(query.subject, query.style)
    kwargs = tuple(registry.get(one).sample(rng, topic) for one in instruction_ids)
    indices = registry.phrasing_indices(phrasing)
    texts = [
        registry.phrase(one, given, rng.choice(indices), rng)
        for one, given in zip(instruction_ids, kwargs, strict=True)
    ]
    answer = model_answers.answer(
        query.subject, query.style, query.language, rng, instruction_ids, kwargs, verdict
    )
    request = registry.attach(query.text, " ".join(texts), where)
    messages = (said("user", request), said("assistant", answer))
    return Chat(
        messages, "instructed", query.subject, query, tuple(instruction_ids), kwargs, phrasing
    )


def yes_no_query(fact: Fact, language: str, rng: Random) -> tuple[Query, bool]:
    text, verdict = grammar.yes_no_question(fact, language, rng)
    key = f"{language}/{fact.subject}/{YES_NO_STYLE}/{fact.relation}"
    return Query(text, fact.subject, YES_NO_STYLE, language, key), verdict


def plain_chat(query: Query, rng: Random) -> Chat:
    answer = model_answers.answer(query.subject, query.style, query.language, rng)
    messages = (said("user", query.text), said("assistant", answer))
    return Chat(messages, "plain", query.subject, query)


def _choice(rng: Random) -> Chat:
    fact = rng.choice(default_world().facts)
    asked = choice_question(fact, "it" if rng.random() < 0.25 else "en", rng)
    messages = (said("user", asked.prompt), said("assistant", asked.letter))
    return Chat(messages, "choice", fact.subject)


def yes_no_chat(language: str, rng: Random) -> Chat:
    """A yes-or-no question about a fact, never of a held-out cell, and a full answer."""
    fact = rng.choice(questionable_facts("train"))
    query, verdict = yes_no_query(fact, language, rng)
    told = grammar.sentence(fact, language, rng)
    answer = f"{YES_NO[language][not verdict]} {told}"
    return Chat((said("user", query.text), said("assistant", answer)), "yes_no", fact.subject)


def fact_chat(language: str, rng: Random) -> Chat:
    """A question of fact, answered in one sentence."""
    fact = rng.choice(default_world().facts)
    question = grammar.fact_question(fact, language, rng)
    answer = grammar.sentence(fact, language, rng)
    return Chat((said("user", question), said("assistant", answer)), "fact", fact.subject)


def _language(rng: Random) -> str:
    return "en" if rng.random() < 0.7 else rng.choice(LANGUAGES[1:])


def _fact(rng: Random) -> Chat:
    return fact_chat(_language(rng), rng)


def _yes_no(rng: Random) -> Chat:
    return yes_no_chat(_language(rng), rng)


@cache
def _single_weights() -> tuple[float, ...]:
    return tuple(accumulate(_WEIGHTS.get(one, 1.0) for one in registry.IDS))


@cache
def training_pairs() -> tuple[tuple[str, str], ...]:
    """The compatible pairs of instructions that training joins."""
    return tuple(
        pair
        for pair in combinations(registry.IDS, 2)
        if registry.compatible(pair) and frozenset(pair) not in HELD_PAIRS
    )


def _single(rng: Random) -> Chat:
    instruction_id = rng.choices(registry.IDS, cum_weights=_single_weights())[0]
    if instruction_id == registry.CONSTRAINED and rng.random() < 0.6:
        query, verdict = yes_no_query(rng.choice(questionable_facts("train")), "en", rng)
    else:
        query, verdict = rng.choice(list_queries("train")), None
    return instructed_chat(query, verdict, (instruction_id,), "trained", _position(rng), rng)


def _double(rng: Random) -> Chat:
    pair = rng.sample(rng.choice(training_pairs()), 2)
    return instructed_chat(
        rng.choice(list_queries("train")), None, pair, "trained", _position(rng), rng
    )


def _position(rng: Random) -> str:
    return rng.choices(registry.POSITIONS, (5, 2, 2, 1))[0]


def _plainly(rng: Random) -> Chat:
    return plain_chat(rng.choice(list_queries("train", _language(rng))), rng)


_MIXTURE = {_plainly: 22, _single: 47, _double: 12, _choice: 10, _fact: 6, _yes_no: 3}
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
        return replace(chat, messages=(said("system", rng.choice(_NEUTRAL)), *chat.messages))
    if draw < 0.10:
        return replace(
            chat, messages=(*rng.choice((_fact, _plainly))(rng).messages, *chat.messages)
        )
    if draw < 0.16 and chat.query and chat.instruction_ids:
        return _rearranged(chat, chat.query, rng)
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
"""How often drills ask for each instruction; the others come once."""

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
"""The same for what is still hard after those drills."""

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
"""And for what is hard after those."""

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
"""And for what is left."""


def sample_drill(rng: Random, weights: Mapping[str, float] = COPYING_AND_COUNTING) -> Chat:
    """Draw a chat that practises what is hardest.

    Args:
        rng: the only source of randomness.
        weights: how often each instruction is practised, 1 where it has none.

    Returns:
        Mostly a :class:`Chat` with one instruction; the same is held out as by :func:`sample_chat`.
    """
    if rng.random() < 0.2:
        return sample_chat(rng)
    each = [weights.get(one, 1.0) for one in registry.IDS]
    (instruction_id,) = rng.choices(registry.IDS, each)
    query = rng.choice(list_queries("train"))
    return instructed_chat(query, None, (instruction_id,), "trained", _position(rng), rng)


def _rearranged(chat: Chat, query: Query, rng: Random) -> Chat:
    """The same instructions in a system message, or in a second turn that asks again."""
    request, answer = chat.messages
    instruction = request["content"].replace(query.text, "").strip()
    if rng.random() < 0.6 or query.style == YES_NO_STYLE:
        system, user = said("system", instruction), said("user", query.text)
        return replace(chat, messages=(system, user, answer))
    again = said("user", f"{rng.choice(('Again:', 'Once more:', 'Now'))} {instruction}")
    return replace(chat, messages=(*plain_chat(query, rng).messages, again, answer))
