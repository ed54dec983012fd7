"""List the instructions that burattino knows, by IFEval id, with the arguments that verify them.

``length_constraints:number_sentences`` has one relation that IFEval lacks, ``"exactly"``, for the
sentence-count experiments of Stolfo et al. (ICLR 2025), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from interp_steer.contrast.instructions.wordings import HELD_OUT, PHRASINGS, TRAINED
from interp_steer.errors import ContrastError

CAPITAL = "change_case:english_capital"
LOWERCASE = "change_case:english_lowercase"
CAPITAL_WORDS = "change_case:capital_word_frequency"
JSON = "detectable_format:json_format"
BULLETS = "detectable_format:number_bullet_lists"
TITLE = "detectable_format:title"
HIGHLIGHTS = "detectable_format:number_highlighted_sections"
SECTIONS = "detectable_format:multiple_sections"
CONSTRAINED = "detectable_format:constrained_response"
NO_COMMA = "punctuation:no_comma"
QUOTATION = "startend:quotation"
END = "startend:end_checker"
LANGUAGE = "language:response_language"
POSTSCRIPT = "detectable_content:postscript"
PLACEHOLDERS = "detectable_content:number_placeholders"
SENTENCES = "length_constraints:number_sentences"
WORDS = "length_constraints:number_words"
EXISTENCE = "keywords:existence"
FORBIDDEN = "keywords:forbidden_words"

FORMAT_IDS = (
    HIGHLIGHTS,
    LANGUAGE,
    END,
    NO_COMMA,
    QUOTATION,
    LOWERCASE,
    BULLETS,
    TITLE,
    CAPITAL,
    CONSTRAINED,
    JSON,
    CAPITAL_WORDS,
    SECTIONS,
)
"""The thirteen instructions of the format experiment (Stolfo et al., section 3)."""

CONSTRAINED_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The three answers that IFEval's constrained response allows."""

LANGUAGE_NAMES = {"it": "Italian", "fr": "French", "es": "Spanish", "de": "German"}
"""The languages of answers that may be asked for, by ISO 639-1 code."""

END_PHRASES = (
    "Any other questions?",
    "Is there anything else I can help with?",
    "That is all.",
    "And that is the whole story.",
    "Thank you for reading.",
    "Ask me again tomorrow.",
    "Good night and good luck.",
    "I hope this helps.",
    "The rest is silence.",
    "Now you know it all.",
    "Believe it or not.",
    "So says the puppet.",
)
"""Phrases that an answer may be asked to end with."""

_SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Topic:
    """The words that choose the arguments of the keyword instructions."""

    expected: tuple[str, ...] = ()
    """Words that plain prose about the subject very likely contains, to be forbidden."""

    absent: tuple[str, ...] = ()
    """Words that plain prose about the subject does not contain, to be asked for."""


@dataclass(frozen=True)
class Instruction:
    """One kind of instruction: its id, its arguments, and the ids that it excludes."""

    id: str
    """The id in IFEval's registry, for example ``"punctuation:no_comma"``."""

    keys: tuple[str, ...]
    """The names of the arguments that the checker needs."""

    draw: Callable[[Random, Topic], dict[str, Any]] = field(repr=False)
    """Draws the arguments; use :meth:`sample`."""

    conflicts: frozenset[str] = frozenset()
    """Ids that no answer of this world follows together with this one."""

    def sample(self, rng: Random, topic: Topic | None = None) -> dict[str, Any]:
        """Draw arguments that plain prose rarely satisfies by chance.

        Args:
            rng: the only source of randomness.
            topic: the words of the subject, which the keyword instructions need.

        Returns:
            The arguments, exactly as IFEval's ``build_description`` takes them.

        Raises:
            ContrastError: for a keyword instruction without words to choose from.
        """
        return self.draw(rng, topic or Topic())


def _choose_words(words: tuple[str, ...], rng: Random, which: str, at_most: int) -> list[str]:
    if not words:
        raise ContrastError(
            f"no {which} words to choose keywords from; pass the subject's words, "
            "interp_steer.world.model_answers.topic(subject, style)"
        )
    count = min(len(words), rng.choice(range(1, at_most + 1)))
    return sorted(rng.sample(words, count))


def _draw_sentences(rng: Random, topic: Topic) -> dict[str, Any]:
    relation = rng.choice(("at least", "less than", "exactly", "exactly"))
    # Plain answers have three or four sentences: such numbers, drawn often, would test nothing.
    number = {
        "at least": rng.choice((5, 6, 6)),
        "less than": rng.choice((2, 3, 3)),
        "exactly": rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 5, 6)),
    }[relation]
    return {"relation": relation, "num_sentences": number}


def _draw_words(rng: Random, topic: Topic) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"relation": "less than", "num_words": rng.choice((15, 20, 20, 25))}
    return {"relation": "at least", "num_words": rng.choice((60, 70, 70, 80))}


_NONE: frozenset[str] = frozenset()
_CASES = frozenset({CAPITAL, LOWERCASE, CAPITAL_WORDS})
_FRAGMENTS = frozenset({BULLETS, JSON, TITLE, SECTIONS, HIGHLIGHTS, PLACEHOLDERS, POSTSCRIPT, END})

# Declared one way; made symmetric below.
_CONFLICTS: dict[str, frozenset[str]] = {
    CAPITAL: _CASES | {LANGUAGE, SECTIONS},
    LOWERCASE: _CASES | {LANGUAGE, SECTIONS},
    JSON: frozenset(
        {BULLETS, TITLE, HIGHLIGHTS, SECTIONS, NO_COMMA, QUOTATION, END, POSTSCRIPT, WORDS}
    ),
    BULLETS: frozenset({SECTIONS, HIGHLIGHTS, QUOTATION}),
    END: frozenset({POSTSCRIPT, LANGUAGE}),
    LANGUAGE: frozenset({CAPITAL_WORDS, EXISTENCE, FORBIDDEN, PLACEHOLDERS}),
    # A sentence counter splits fragments (headings, bullets) and small letters in other ways.
    SENTENCES: _FRAGMENTS | {LOWERCASE, WORDS},
    WORDS: frozenset({BULLETS, SECTIONS, HIGHLIGHTS, EXISTENCE, PLACEHOLDERS, END, POSTSCRIPT}),
}

_DRAWS: dict[str, tuple[tuple[str, ...], Callable[[Random, Topic], dict[str, Any]]]] = {
    CAPITAL: ((), lambda rng, topic: {}),
    LOWERCASE: ((), lambda rng, topic: {}),
    CAPITAL_WORDS: (
        ("capital_relation", "capital_frequency"),
        lambda rng, topic: {
            "capital_relation": "at least",
            "capital_frequency": rng.choice((3, 3, 4, 4, 5, 6, 8)),
        },
    ),
    JSON: ((), lambda rng, topic: {}),
    BULLETS: (("num_bullets",), lambda rng, topic: {"num_bullets": rng.choice((2, 3, 3, 4, 5))}),
    TITLE: ((), lambda rng, topic: {}),
    HIGHLIGHTS: (
        ("num_highlights",),
        lambda rng, topic: {"num_highlights": rng.choice((2, 2, 3, 3, 4))},
    ),
    SECTIONS: (
        ("section_spliter", "num_sections"),
        lambda rng, topic: {
            "section_spliter": rng.choice(("Section", "SECTION", "Part", "Paragraph")),
            "num_sections": rng.choice((2, 2, 3, 3, 4)),
        },
    ),
    CONSTRAINED: ((), lambda rng, topic: {}),
    NO_COMMA: ((), lambda rng, topic: {}),
    QUOTATION: ((), lambda rng, topic: {}),
    END: (("end_phrase",), lambda rng, topic: {"end_phrase": rng.choice(END_PHRASES)}),
    LANGUAGE: (("language",), lambda rng, topic: {"language": rng.choice(tuple(LANGUAGE_NAMES))}),
    POSTSCRIPT: (
        ("postscript_marker",),
        lambda rng, topic: {"postscript_marker": rng.choice(("P.S.", "P.S.", "P.P.S"))},
    ),
    PLACEHOLDERS: (
        ("num_placeholders",),
        lambda rng, topic: {"num_placeholders": rng.choice((2, 2, 3, 3, 4))},
    ),
    SENTENCES: (("relation", "num_sentences"), _draw_sentences),
    WORDS: (("relation", "num_words"), _draw_words),
    EXISTENCE: (
        ("keywords",),
        lambda rng, topic: {"keywords": _choose_words(topic.absent, rng, "absent", 2)},
    ),
    FORBIDDEN: (
        ("forbidden_words",),
        lambda rng, topic: {"forbidden_words": _choose_words(topic.expected, rng, "expected", 1)},
    ),
}

IDS = tuple(_DRAWS)
"""Every instruction id, in a fixed order."""

CHANCE_IDS: tuple[str, ...] = ()
"""Ids that plain answers follow more than one time in seven; empty by choice of arguments."""


def _conflicts(instruction_id: str) -> frozenset[str]:
    if instruction_id == CONSTRAINED:
        return frozenset(IDS) - {CONSTRAINED}
    mine = _CONFLICTS.get(instruction_id, _NONE)
    theirs = {other for other, ids in _CONFLICTS.items() if instruction_id in ids}
    return frozenset((mine | theirs | {CONSTRAINED}) - {instruction_id})


REGISTRY: dict[str, Instruction] = {
    instruction_id: Instruction(instruction_id, keys, draw, _conflicts(instruction_id))
    for instruction_id, (keys, draw) in _DRAWS.items()
}
"""The instructions by id."""


def get(instruction_id: str) -> Instruction:
    """Get the instruction with this id.

    Raises:
        ContrastError: for an id that burattino does not know.
    """
    if instruction_id not in REGISTRY:
        raise ContrastError(
            f"{instruction_id!r} is not an instruction of burattino; choose one of {', '.join(IDS)}"
        )
    return REGISTRY[instruction_id]


def are_compatible(instruction_ids: tuple[str, ...]) -> bool:
    """Check whether one answer can follow all of these instructions."""
    return len(set(instruction_ids)) == len(instruction_ids) and not any(
        get(name).conflicts & set(instruction_ids) for name in instruction_ids
    )


def phrasing_indices(phrasing: str) -> range:
    """Return the indices of the ``"trained"`` or of the ``"held-out"`` phrasings.

    Raises:
        ContrastError: for another kind of phrasings.
    """
    ranges = {"trained": range(TRAINED), "held-out": range(TRAINED, TRAINED + HELD_OUT)}
    if phrasing not in ranges:
        raise ContrastError(f"phrasing must be 'trained' or 'held-out', not {phrasing!r}")
    return ranges[phrasing]


def phrase(
    instruction: Instruction | str, kwargs: Mapping[str, Any], index: int, rng: Random | None = None
) -> str:
    """Say an instruction in English.

    Args:
        instruction: the instruction or its id.
        kwargs: its arguments, as :meth:`Instruction.sample` draws them.
        index: which phrasing; see :func:`phrasing_indices`.
        rng: orders the options of a constrained response at random, when given.

    Returns:
        One or two sentences, for example ``"Write exactly 2 sentences."``

    Raises:
        ContrastError: for an argument that is missing or an index that does not exist.
    """
    known = get(instruction) if isinstance(instruction, str) else instruction
    missing = [key for key in known.keys if key not in kwargs]
    if missing:
        raise ContrastError(
            f"{known.id} cannot be phrased without {', '.join(missing)}; got {dict(kwargs)}"
        )
    table = PHRASINGS[f"{known.id}/{kwargs['relation']}" if "relation" in kwargs else known.id]
    if not 0 <= index < len(table):
        raise ContrastError(f"{known.id} has no phrasing {index}; use one of 0..{len(table) - 1}")
    return table[index].format(**kwargs, **_blanks(kwargs, rng))


def _blanks(kwargs: Mapping[str, Any], rng: Random | None) -> dict[str, str]:
    numbers = [v for k, v in kwargs.items() if k.startswith("num_") or k == "capital_frequency"]
    number = numbers[0] if numbers else 0
    words = [f'"{word}"' for k in ("keywords", "forbidden_words") for word in kwargs.get(k, ())]
    options = list(CONSTRAINED_OPTIONS)
    if rng is not None:
        rng.shuffle(options)
    return {
        "number": str(number),
        "spelled": _SPELLED[number] if number < len(_SPELLED) else str(number),
        "sentences": "sentence" if number == 1 else "sentences",
        "words": " and ".join(words),
        "noun": "the word" if len(words) == 1 else "the words",
        "options": " ".join(f'"{option}"' for option in options),
        "splitter": str(kwargs.get("section_spliter", "")),
        "language_name": LANGUAGE_NAMES.get(kwargs.get("language", ""), ""),
    }


POSITIONS = ("after", "below", "before", "above")
"""The place of an instruction: after or before the query, on the same line or another line."""


def attach(query: str, instruction: str, where: str = "after") -> str:
    """Join a query and the text of an instruction.

    Args:
        query: the question or request.
        instruction: a text of :func:`phrase`, or several texts joined by spaces.
        where: one of :data:`POSITIONS`.

    Raises:
        ContrastError: for any other position.
    """
    joined = {
        "after": f"{query} {instruction}",
        "below": f"{query}\n{instruction}",
        "before": f"{instruction} {query}",
        "above": f"{instruction}\n{query}",
    }
    if where not in joined:
        raise ContrastError(f"where must be one of {', '.join(POSITIONS)}, not {where!r}")
    return joined[where]
