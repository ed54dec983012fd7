"""Say IFEval's instructions to any model, and draw their arguments (paper A, section 3).

In the paper a language model wrote the phrasings. The authors' repository has them: the prompts
with an instruction of format in ``data/format/``, the phrasings for words, lengths and numbers of
sentences in its code. Here the phrasings are others: an instruction has those of
:data:`interp_steer.contrast.instructions.wordings.PHRASINGS`, or those of this file for an
instruction that is missing there, and IFEval's own description. Arguments are drawn from the ranges
that IFEval draws from, without values that plain answers satisfy.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

from interp_steer.contrast.instructions import registry as known
from interp_steer.contrast.instructions.arguments import REQUIRED, lm_eval_instructions
from interp_steer.contrast.instructions.wordings import PHRASINGS
from interp_steer.errors import ContrastError

IDS: tuple[str, ...] = tuple(REQUIRED)
"""The 25 instructions of IFEval."""

DESCRIPTION = "{description}"
"""The phrasing that stands for IFEval's own description, which its checker writes."""

FREQUENCY = "keywords:frequency"
LETTERS = "keywords:letter_frequency"
PARAGRAPHS = "length_constraints:number_paragraphs"
FIRST_WORD = "length_constraints:nth_paragraph_first_word"
TWO_RESPONSES = "combination:two_responses"
REPEAT = "combination:repeat_prompt"

MORE_PHRASINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        f"{FREQUENCY}/at least": (
            'Use the word "{keyword}" at least {frequency} times.',
            'The word "{keyword}" should come up {frequency} times or more.',
            'Please write "{keyword}" no fewer than {frequency} times in the text.',
            'I want to read "{keyword}" {frequency} or more times.',
            'Repeat the word "{keyword}", a minimum of {frequency} times.',
        ),
        f"{FREQUENCY}/less than": (
            'Use the word "{keyword}" fewer than {frequency} times.',
            'The word "{keyword}" should come up less than {frequency} times.',
            'Please do not write "{keyword}" {frequency} times or more.',
            'I want to read "{keyword}" less often than {frequency} times.',
            'Keep the word "{keyword}" to under {frequency} times.',
        ),
        f"{LETTERS}/at least": (
            'Use the letter "{letter}" at least {let_frequency} times.',
            'The reply must have {let_frequency} or more of the letter "{letter}".',
            'Please see to it that "{letter}" is written {let_frequency} times or more.',
            'I want a minimum of {let_frequency} times the letter "{letter}".',
            'No fewer than {let_frequency} of the letters should be "{letter}".',
        ),
        f"{LETTERS}/less than": (
            'Use the letter "{letter}" fewer than {let_frequency} times.',
            'The reply must have less than {let_frequency} of the letter "{letter}".',
            'Please see to it that "{letter}" is not written {let_frequency} times.',
            'I want under {let_frequency} times the letter "{letter}".',
            'Stay below {let_frequency} of the letter "{letter}".',
        ),
        f"{known.CAPITAL_WORDS}/less than": (
            "Write fewer than {capital_frequency} words in all capital letters.",
            "The answer may have some words in upper case, but not {capital_frequency}.",
            "Keep it under {capital_frequency} words in capitals.",
            "Please capitalize less than {capital_frequency} whole words.",
        ),
        PARAGRAPHS: (
            "Write exactly {num_paragraphs} paragraphs, with *** between them.",
            "Divide the answer into {num_paragraphs} paragraphs by the markdown divider ***.",
            "The reply must have {num_paragraphs} paragraphs. Put *** after each but the last.",
            "I want {num_paragraphs} paragraphs, separated by ***.",
            "Please use {num_paragraphs} paragraphs and mark where each ends with ***.",
        ),
        FIRST_WORD: (
            "Write {num_paragraphs} paragraphs with an empty line between them. Begin paragraph "
            'number {nth_paragraph} with the word "{first_word}".',
            "Use {num_paragraphs} paragraphs, divided by blank lines; the first word of paragraph "
            '{nth_paragraph} is to be "{first_word}".',
            "The reply must have {num_paragraphs} paragraphs, two line breaks apart, and "
            '"{first_word}" must open paragraph {nth_paragraph}.',
            'I want "{first_word}" as the first word of paragraph {nth_paragraph}, and '
            "{num_paragraphs} paragraphs in all, each set off by an empty line.",
            "Please answer in {num_paragraphs} paragraphs with two new lines in between. Let "
            'paragraph {nth_paragraph} start with "{first_word}".',
        ),
        TWO_RESPONSES: (
            "Give two different answers with six asterisks between them: ******",
            "Answer twice, in two ways, and put ****** between the answers.",
            "I want to choose between two replies. Separate them by ****** and by nothing else.",
            "Please write two versions that differ, divided by 6 asterisk symbols (******).",
            "The reply must hold two distinct responses, with ****** in the middle.",
        ),
        REPEAT: (
            "Before you answer, say my request again word for word.",
            "First repeat what I wrote, without a change, then answer it.",
            "Begin with an exact copy of my request and put the answer after it.",
            "Please start by repeating this request as it stands, up to this sentence.",
            "I want to see my request again, unchanged, at the very top of the reply.",
        ),
    }
)
"""Phrasings of instructions that :data:`PHRASINGS` lacks, by id or by ``id/relation``."""

INCLUDE = (
    'Use the word "{word}" in your answer.',
    'The reply has to contain the word "{word}".',
    'Please see to it that "{word}" is one of the words of the text.',
    "Work the word {word} in somewhere.",
    'I want to read the word "{word}".',
)
"""Five ways to ask for a word (paper A, words)."""

EXCLUDE = (
    'Write the answer without the word "{word}".',
    'The reply may not contain the word "{word}".',
    "Avoid the word {word}.",
    'Please leave out the word "{word}".',
    'Never use "{word}" in the text.',
    'I do not want to read the word "{word}".',
)
"""Six ways to forbid a word (paper A, words)."""

LENGTHS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "extremely concise": (
            "Be extremely concise.",
            "Answer in as few words as you possibly can.",
            "Keep it as short as can be: a bare line and not a word more.",
            "I want the shortest answer there is.",
            "Please reduce the reply to its very core.",
            "Say only what is strictly needed and stop at once.",
        ),
        "concise": (
            "Be concise.",
            "Answer briefly.",
            "Keep it short.",
            "I want a short answer.",
            "Please do not write much.",
            "Say it in a few lines.",
        ),
        "neither concise nor verbose": (
            "Be neither concise nor verbose.",
            "Answer at a usual length.",
            "Keep it neither short nor long.",
            "I want an answer of middle length.",
            "Please write a moderate amount.",
            "Say it in a paragraph of ordinary size.",
        ),
        "verbose": (
            "Be verbose.",
            "Answer at length.",
            "Make it long.",
            "I want a long answer.",
            "Please write a good deal.",
            "Say it with many details.",
        ),
        "extremely verbose": (
            "Be extremely verbose.",
            "Answer in as many words as you possibly can.",
            "Make it as long as can be, with every detail that there is.",
            "I want the longest answer that you are able to give.",
            "Please spread the reply over many long paragraphs.",
            "Say all that can be said, at the greatest length, and then go on.",
        ),
    }
)
"""Six ways to ask for each of the five lengths (paper A, length)."""

AT_MOST = (
    "Write at most {number} {sentences}.",
    "Use no more than {number} {sentences}.",
    "Your reply may have up to {number} {sentences}.",
    "I want {number} {sentences} at the most.",
    "Do not go beyond {number} {sentences}.",
    "Please stop after {number} {sentences} or before.",
    "The answer should be {number} {sentences} long or shorter.",
    "A maximum of {number} {sentences} is allowed.",
)
"""Eight ways to ask for at most so many sentences (paper A, length)."""


def list_phrasings(instruction_id: str, where: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """List the phrasings of an instruction, with blanks; the last is IFEval's description, if any.

    Args:
        instruction_id: one of :data:`IDS`.
        where: fixed arguments, of which only the relation matters; ``"at least"`` when not given.

    Raises:
        ContrastError: for an id or a relation that IFEval does not have.
    """
    _check_instruction(instruction_id, where or {})
    relation = next((v for k, v in (where or {}).items() if k.endswith("relation")), "at least")
    tables = {**PHRASINGS, **MORE_PHRASINGS}
    related = f"{instruction_id}/{relation}"
    if related not in tables and relation != "at least":
        raise ContrastError(
            f"{instruction_id} cannot be said with the relation {relation!r}; use 'at least' or "
            "'less than'"
        )
    listed = tables[related if related in tables else instruction_id]
    return listed if relation == "exactly" else (*listed, DESCRIPTION)


def draw_arguments(
    instruction_id: str, rng: Random, query: str, where: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Draw the arguments of an instruction.

    Args:
        instruction_id: one of :data:`IDS`.
        rng: the only source of randomness.
        query: the request, which ``combination:repeat_prompt`` asks to repeat.
        where: fixed arguments. A relation that is not fixed is ``"at least"``, since a vector
            stands for one relation.

    Returns:
        All the arguments that an answer is verified with.

    Raises:
        ContrastError: for an id that IFEval does not have, or an argument that the id does not
            take.
    """
    _check_instruction(instruction_id, where or {})
    drawn = _DRAWS[instruction_id](rng) if instruction_id in _DRAWS else {}
    if instruction_id == REPEAT:
        drawn = {"prompt_to_repeat": query}
    return {**drawn, **(where or {})}


def say(instruction_id: str, phrasing: str, kwargs: Mapping[str, Any]) -> str:
    """Fill the blanks of a phrasing.

    Args:
        instruction_id: one of :data:`IDS`.
        phrasing: one of :func:`list_phrasings` for this id and the relation in ``kwargs``.
        kwargs: all arguments of the instruction; see :func:`draw_arguments`.

    Raises:
        ContrastError: for a language that IFEval does not know.

    Example:
        >>> say("keywords:letter_frequency", 'I want a minimum of {let_frequency} times the letter '
        ...     '"{letter}".', {"letter": "q", "let_frequency": 4, "let_relation": "at least"})
        'I want a minimum of 4 times the letter "q".'
    """
    if phrasing == DESCRIPTION:
        lm_eval_instructions()  # imports the module without use of the network
        from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

        return INSTRUCTION_DICT[instruction_id](instruction_id).build_description(**kwargs)
    if instruction_id == known.LANGUAGE:
        return phrasing.format(language_name=_language_name(kwargs["language"]))
    relation = kwargs.get("relation")
    table = PHRASINGS.get(f"{instruction_id}/{relation}" if relation else instruction_id, ())
    if phrasing in table:
        return known.phrase(instruction_id, kwargs, table.index(phrasing))
    return phrasing.format(**kwargs)


def _check_instruction(instruction_id: str, where: Mapping[str, Any]) -> None:
    if instruction_id not in REQUIRED:
        near = difflib.get_close_matches(instruction_id, IDS, n=1, cutoff=0.0)
        raise ContrastError(
            f"{instruction_id!r} is not an instruction of IFEval; the nearest is {near[0]!r} (all "
            "of them: interp_steer.contrast.instructions.phrasings.IDS)"
        )
    unknown = [name for name in where if name not in REQUIRED[instruction_id]]
    if unknown:
        raise ContrastError(
            f"{instruction_id} does not take {', '.join(unknown)}; it takes "
            f"{', '.join(REQUIRED[instruction_id]) or 'no arguments'}"
        )


def _language_name(code: str) -> str:
    names = lm_eval_instructions().instructions_util.LANGUAGE_CODES
    if code not in names:
        raise ContrastError(f"{code!r} is not a language of IFEval; use one of {', '.join(names)}")
    return names[code]


def _draw_language(rng: Random) -> str:
    names = lm_eval_instructions().instructions_util.LANGUAGE_CODES
    return rng.choice([code for code in names if code != "en"])


def _draw_words(rng: Random, n: int) -> list[str]:
    """Draw words from the list that IFEval draws its keywords from."""
    return rng.sample(sorted(set(lm_eval_instructions().instructions_util.WORD_LIST)), n)


def _draw_first_word(rng: Random) -> dict[str, Any]:
    paragraphs = rng.randint(2, 5)
    return {
        "num_paragraphs": paragraphs,
        "nth_paragraph": rng.randint(1, paragraphs),
        "first_word": _draw_words(rng, 1)[0],
    }


_DRAWS: dict[str, Callable[[Random], dict[str, Any]]] = {
    known.EXISTENCE: lambda rng: {"keywords": _draw_words(rng, 2)},
    FREQUENCY: lambda rng: {
        "keyword": _draw_words(rng, 1)[0],
        "frequency": rng.randint(2, 3),
        "relation": "at least",
    },
    known.FORBIDDEN: lambda rng: {"forbidden_words": _draw_words(rng, 2)},
    LETTERS: lambda rng: {
        "letter": rng.choice(string.ascii_lowercase),
        "let_frequency": rng.randint(2, 10),
        "let_relation": "at least",
    },
    known.LANGUAGE: lambda rng: {"language": _draw_language(rng)},
    known.SENTENCES: lambda rng: {"relation": "at least", "num_sentences": rng.randint(2, 20)},
    PARAGRAPHS: lambda rng: {"num_paragraphs": rng.randint(2, 5)},
    known.WORDS: lambda rng: {"relation": "at least", "num_words": rng.randint(100, 500)},
    FIRST_WORD: _draw_first_word,
    known.PLACEHOLDERS: lambda rng: {"num_placeholders": rng.randint(2, 4)},
    known.POSTSCRIPT: lambda rng: {"postscript_marker": rng.choice(("P.S.", "P.P.S"))},
    known.BULLETS: lambda rng: {"num_bullets": rng.randint(2, 5)},
    known.HIGHLIGHTS: lambda rng: {"num_highlights": rng.randint(2, 4)},
    known.SECTIONS: lambda rng: {
        "section_spliter": rng.choice(("Section", "SECTION")),
        "num_sections": rng.randint(2, 5),
    },
    known.END: lambda rng: {"end_phrase": rng.choice(known.END_PHRASES)},
    known.CAPITAL_WORDS: lambda rng: {
        "capital_relation": "at least",
        "capital_frequency": rng.randint(2, 20),
    },
}
"""Draws the arguments of each instruction that takes arguments."""
