"""Chats to train and to test on: requests, questions of fact, and instructions that are obeyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, combinations
from random import Random
from typing import Any

from interp_steer.burattino import grammar, instructions, obeying
from interp_steer.burattino.queries import YES_NO_STYLE, Query, queries, questionable_facts
from interp_steer.burattino.world import LANGUAGES, Fact, default_world
from interp_steer.errors import ContrastError

LETTERS = "ABCD"
"""The letters of a multiple choice."""

_YES_NO = {
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
        (instructions.LOWERCASE, instructions.BULLETS),
        (instructions.CAPITAL, instructions.FORBIDDEN),
        (instructions.LOWERCASE, instructions.FORBIDDEN),
        (instructions.TITLE, instructions.WORDS),
        (instructions.JSON, instructions.LANGUAGE),
        (instructions.HIGHLIGHTS, instructions.END),
        (instructions.QUOTATION, instructions.NO_COMMA),
        (instructions.SECTIONS, instructions.POSTSCRIPT),
    )
)
"""Pairs of instructions that no training chat joins, for tests of composition."""

_WEIGHTS = {
    instructions.SENTENCES: 2.0,
    instructions.WORDS: 1.8,
    instructions.LANGUAGE: 1.6,
    instructions.EXISTENCE: 1.3,
    instructions.FORBIDDEN: 1.3,
    instructions.CONSTRAINED: 0.7,
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


@dataclass(frozen=True)
class MultipleChoice:
    """A question of fact with four options, one of them right."""

    prompt: str
    """The question and the lettered options, a line each."""

    options: tuple[str, ...]
    values: tuple[str, ...]
    """The keys of the options."""
    letter: str
    """The right answer."""

    fact: Fact


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _instructed(
    query: Query,
    verdict: bool | None,
    instruction_ids: Sequence[str],
    phrasing: str,
    where: str,
    rng: Random,
) -> Chat:
    """One request with instructions, and an answer that follows them."""
    topic = obeying.topic(query.subject, query.style)
    kwargs = tuple(instructions.get(one).sample(rng, topic) for one in instruction_ids)
    indices = instructions.phrasing_indices(phrasing)
    texts = [
        instructions.phrase(one, given, rng.choice(indices), rng)
        for one, given in zip(instruction_ids, kwargs, strict=True)
    ]
    answer = obeying.answer(
        query.subject, query.style, query.language, rng, instruction_ids, kwargs, verdict
    )
    request = instructions.attach(query.text, " ".join(texts), where)
    messages = (_said("user", request), _said("assistant", answer))
    return Chat(
        messages, "instructed", query.subject, query, tuple(instruction_ids), kwargs, phrasing
    )


def _yes_no_query(fact: Fact, language: str, rng: Random) -> tuple[Query, bool]:
    text, verdict = grammar.yes_no_question(fact, language, rng)
    key = f"{language}/{fact.subject}/{YES_NO_STYLE}/{fact.relation}"
    return Query(text, fact.subject, YES_NO_STYLE, language, key), verdict


def _plain(query: Query, rng: Random) -> Chat:
    answer = obeying.answer(query.subject, query.style, query.language, rng)
    messages = (_said("user", query.text), _said("assistant", answer))
    return Chat(messages, "plain", query.subject, query)


def choice_question(
    fact: Fact, language: str, rng: Random, options: int = len(LETTERS)
) -> MultipleChoice:
    """A question of fact with (by default four) options on lines of their own."""
    keys = [fact.value, *default_world().distractors(fact, options - 1, rng)]
    rng.shuffle(keys)
    words = tuple(grammar.word(key, language) for key in keys)
    lines = [f"{letter}. {word}" for letter, word in zip(LETTERS, words, strict=False)]
    prompt = "\n".join([grammar.fact_question(fact, language, rng), *lines])
    return MultipleChoice(prompt, words, tuple(keys), LETTERS[keys.index(fact.value)], fact)


def _choice(rng: Random) -> Chat:
    fact = rng.choice(default_world().facts)
    asked = choice_question(fact, "it" if rng.random() < 0.25 else "en", rng)
    messages = (_said("user", asked.prompt), _said("assistant", asked.letter))
    return Chat(messages, "choice", fact.subject)


def yes_no_chat(language: str, rng: Random) -> Chat:
    """A yes-or-no question about a fact, never of a held-out cell, and a full answer."""
    fact = rng.choice(questionable_facts("train"))
    query, verdict = _yes_no_query(fact, language, rng)
    told = grammar.sentence(fact, language, rng)
    answer = f"{_YES_NO[language][not verdict]} {told}"
    return Chat((_said("user", query.text), _said("assistant", answer)), "yes_no", fact.subject)


def fact_chat(language: str, rng: Random) -> Chat:
    """A question of fact, answered in one sentence."""
    fact = rng.choice(default_world().facts)
    question = grammar.fact_question(fact, language, rng)
    answer = grammar.sentence(fact, language, rng)
    return Chat((_said("user", question), _said("assistant", answer)), "fact", fact.subject)


def _language(rng: Random) -> str:
    return "en" if rng.random() < 0.7 else rng.choice(LANGUAGES[1:])


def _fact(rng: Random) -> Chat:
    return fact_chat(_language(rng), rng)


def _yes_no(rng: Random) -> Chat:
    return yes_no_chat(_language(rng), rng)


@cache
def _single_weights() -> tuple[float, ...]:
    return tuple(accumulate(_WEIGHTS.get(one, 1.0) for one in instructions.IDS))


@cache
def training_pairs() -> tuple[tuple[str, str], ...]:
    """The compatible pairs of instructions that training joins."""
    return tuple(
        pair
        for pair in combinations(instructions.IDS, 2)
        if instructions.compatible(pair) and frozenset(pair) not in HELD_PAIRS
    )


def _single(rng: Random) -> Chat:
    instruction_id = rng.choices(instructions.IDS, cum_weights=_single_weights())[0]
    if instruction_id == instructions.CONSTRAINED and rng.random() < 0.6:
        query, verdict = _yes_no_query(rng.choice(questionable_facts("train")), "en", rng)
    else:
        query, verdict = rng.choice(queries("train")), None
    return _instructed(query, verdict, (instruction_id,), "trained", _position(rng), rng)


def _double(rng: Random) -> Chat:
    pair = rng.sample(rng.choice(training_pairs()), 2)
    return _instructed(rng.choice(queries("train")), None, pair, "trained", _position(rng), rng)


def _position(rng: Random) -> str:
    return rng.choices(instructions.POSITIONS, (5, 2, 2, 1))[0]


def _plainly(rng: Random) -> Chat:
    return _plain(rng.choice(queries("train", _language(rng))), rng)


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
        return replace(chat, messages=(_said("system", rng.choice(_NEUTRAL)), *chat.messages))
    if draw < 0.10:
        return replace(
            chat, messages=(*rng.choice((_fact, _plainly))(rng).messages, *chat.messages)
        )
    if draw < 0.16 and chat.query and chat.instruction_ids:
        return _rearranged(chat, chat.query, rng)
    return chat


COPYING_AND_COUNTING = {
    instructions.EXISTENCE: 5.0,
    instructions.SENTENCES: 4.0,
    instructions.FORBIDDEN: 3.0,
    instructions.END: 3.0,
    instructions.CAPITAL_WORDS: 3.0,
    instructions.POSTSCRIPT: 2.5,
    instructions.PLACEHOLDERS: 2.5,
    instructions.BULLETS: 2.0,
    instructions.WORDS: 1.5,
    instructions.CAPITAL: 1.5,
}
"""How often drills ask for each instruction; the others come once."""

LETTERS_AND_LISTS = {
    instructions.CAPITAL_WORDS: 5.0,
    instructions.PLACEHOLDERS: 4.0,
    instructions.CAPITAL: 4.0,
    instructions.FORBIDDEN: 4.0,
    instructions.LOWERCASE: 3.0,
    instructions.BULLETS: 3.0,
    instructions.EXISTENCE: 2.0,
    instructions.SENTENCES: 2.0,
}
"""The same for what is still hard after those drills."""


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
    each = [weights.get(one, 1.0) for one in instructions.IDS]
    (instruction_id,) = rng.choices(instructions.IDS, each)
    query = rng.choice(queries("train"))
    return _instructed(query, None, (instruction_id,), "trained", _position(rng), rng)


def _rearranged(chat: Chat, query: Query, rng: Random) -> Chat:
    """The same instructions in a system message, or in a second turn that asks again."""
    request, answer = chat.messages
    instruction = request["content"].replace(query.text, "").strip()
    if rng.random() < 0.6 or query.style == YES_NO_STYLE:
        system, user = _said("system", instruction), _said("user", query.text)
        return replace(chat, messages=(system, user, answer))
    again = _said("user", f"{rng.choice(('Again:', 'Once more:', 'Now'))} {instruction}")
    return replace(chat, messages=(*_plain(query, rng).messages, again, answer))


def evaluation_chats(
    instruction_id: str, *, phrasing: str = "trained", n: int = 48, seed: int = 0
) -> list[Chat]:
    """Chats with one instruction on held-out queries.

    The queries, and the arguments of the instruction, depend on ``instruction_id``, ``n`` and
    ``seed`` alone, so that both phrasings and :func:`unsolicited` ask about the same things.

    Args:
        instruction_id: one of :data:`instructions.IDS`.
        phrasing: ``"trained"`` or ``"held-out"``.
        n: how many; the queries are distinct while there are enough of them (about 400).
        seed: of the draw.

    Returns:
        `n` chats of one turn whose answer follows the instruction.

    Raises:
        ContrastError: for an unknown instruction or phrasing, or fewer than one chat.
    """
    return [
        _instructed(query, verdict, (instruction_id,), phrasing, "after", Random(chat_seed))
        for query, verdict, chat_seed in _held(instruction_id, n, seed)
    ]


def unsolicited(instruction_id: str, *, n: int = 48, seed: int = 0) -> list[Chat]:
    """The queries of :func:`evaluation_chats` without the instruction, which the ids still name.

    Args:
        instruction_id: one of :data:`instructions.IDS`.
        n: how many.
        seed: of the draw.

    Returns:
        `n` chats with plain answers, in the order of :func:`evaluation_chats`.
    """
    asked = evaluation_chats(instruction_id, n=n, seed=seed)
    return [replace(chat, messages=_unasked(chat, seed), phrasing=None) for chat in asked]


def _unasked(chat: Chat, seed: int) -> tuple[dict[str, str], ...]:
    query = chat.query
    assert query is not None
    rng = Random(f"{seed}/{query.key}")
    if query.style != YES_NO_STYLE:
        return _plain(query, rng).messages
    relation = query.key.rpartition("/")[2]
    fact = next(f for f in default_world().about(query.subject) if f.relation == relation)
    verdict = chat.answer == instructions.CONSTRAINED_OPTIONS[0]
    told = f"{_YES_NO[query.language][not verdict]} {grammar.sentence(fact, query.language, rng)}"
    return (_said("user", query.text), _said("assistant", told))


def _held(instruction_id: str, n: int, seed: int) -> list[tuple[Query, bool | None, str]]:
    """Held-out queries, the verdict of those with one, and a seed for each chat."""
    if n < 1:
        raise ContrastError(f"n={n} chats cannot be drawn; ask for one or more")
    instructions.get(instruction_id)
    rng = Random(f"{seed}/{instruction_id}")
    pool: list[tuple[Query, bool | None]] = [(query, None) for query in queries("held")]
    if instruction_id == instructions.CONSTRAINED:
        facts = [_yes_no_query(fact, "en", rng) for fact in questionable_facts("held")]
        pool = [*facts, *rng.sample(pool, min(len(pool), len(facts)))]
    drawn = [one for _ in range(-(-n // len(pool))) for one in rng.sample(pool, len(pool))][:n]
    return [(*one, f"{seed}/{instruction_id}/{index}") for index, one in enumerate(drawn)]


def multiple_choice(language: str = "en", *, n: int = 200, seed: int = 0) -> list[MultipleChoice]:
    """Questions about the world, facts drawn evenly.

    Args:
        language: one of :data:`LANGUAGES`.
        n: how many; the facts are distinct while there are enough of them (about 1,200).
        seed: of the draw.

    Returns:
        `n` questions.

    Raises:
        ContrastError: for a language that the world is not told in, or fewer than one question.
    """
    if language not in LANGUAGES or n < 1:
        raise ContrastError(
            f"cannot ask n={n} questions in {language!r}; n is one or more and the languages are "
            f"{', '.join(LANGUAGES)}"
        )
    rng = Random(f"{seed}/{language}")
    facts = default_world().facts
    drawn = [fact for _ in range(-(-n // len(facts))) for fact in rng.sample(facts, len(facts))]
    return [choice_question(fact, language, rng) for fact in drawn[:n]]
