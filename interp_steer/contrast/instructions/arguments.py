"""Check the arguments that instructions are verified with, as IFEval's checkers take them."""

from __future__ import annotations

import difflib
import functools
import math
import operator
from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any

from interp_steer.errors import ScoringError

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "keywords:existence": ("keywords",),
        "keywords:frequency": ("keyword", "frequency", "relation"),
        "keywords:forbidden_words": ("forbidden_words",),
        "keywords:letter_frequency": ("letter", "let_frequency", "let_relation"),
        "language:response_language": ("language",),
        "length_constraints:number_sentences": ("num_sentences", "relation"),
        "length_constraints:number_paragraphs": ("num_paragraphs",),
        "length_constraints:number_words": ("num_words", "relation"),
        "length_constraints:nth_paragraph_first_word": (
            "num_paragraphs",
            "nth_paragraph",
            "first_word",
        ),
        "detectable_content:number_placeholders": ("num_placeholders",),
        "detectable_content:postscript": ("postscript_marker",),
        "detectable_format:number_bullet_lists": ("num_bullets",),
        "detectable_format:constrained_response": (),
        "detectable_format:number_highlighted_sections": ("num_highlights",),
        "detectable_format:multiple_sections": ("section_spliter", "num_sections"),
        "detectable_format:json_format": (),
        "detectable_format:title": (),
        "combination:two_responses": (),
        "combination:repeat_prompt": ("prompt_to_repeat",),
        "startend:end_checker": ("end_phrase",),
        "startend:quotation": (),
        "change_case:capital_word_frequency": ("capital_frequency", "capital_relation"),
        "change_case:english_capital": (),
        "change_case:english_lowercase": (),
        "punctuation:no_comma": (),
    }
)
"""The arguments that each instruction is verified with (in lm-eval's spelling, typos included)."""


EXACTLY = ("length_constraints:number_sentences", "length_constraints:number_words")
"""Instructions that also take ``relation="exactly"``: this project's own, unknown to lm-eval."""


_RELATIONS = {"less than": operator.lt, "at least": operator.ge, "exactly": operator.eq}


_COUNTS = frozenset(
    name
    for names in REQUIRED.values()
    for name in names
    if name.startswith(("num_", "nth_")) or name.endswith("frequency")
)


_LISTS = frozenset(("keywords", "forbidden_words"))


def check_arguments(instruction_id: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments with which an answer to an instruction cannot be verified.

    Args:
        instruction_id: one of `REQUIRED`.
        arguments: its arguments, without values of None.

    Raises:
        ScoringError: naming the missing, unknown or impossible argument.
    """
    required = REQUIRED[instruction_id]
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ScoringError(
            f"{instruction_id} needs {', '.join(missing)} and was given {dict(arguments)}; the "
            f"threshold would be drawn at random: pass {', '.join(required)} in kwargs"
        )
    unknown = [name for name in arguments if name not in required]
    if unknown:
        raise ScoringError(
            f"{instruction_id} does not take {', '.join(unknown)}; it takes "
            f"{', '.join(required) or 'no arguments'}"
        )
    for name, value in arguments.items():
        problem = _find_problem(instruction_id, name, value, arguments)
        if problem:
            raise ScoringError(f"{instruction_id}: {name}={value!r} {problem}")


def _find_problem(instruction_id: str, name: str, value: Any, arguments: Mapping[str, Any]) -> str:
    """Describe the problem of an argument; return "" for an argument without a problem."""
    if name in _COUNTS:
        if not _is_whole(value):
            return "is not a whole number"
        if value < 0:
            return "is negative; lm-eval would draw a random number: pass 0 or more"
        most = arguments.get("num_paragraphs", math.inf)
        if name == "nth_paragraph" and _is_whole(most) and not 1 <= value <= most:
            return f"is not in 1..num_paragraphs ({most})"
    elif name.endswith("relation"):
        relations = [r for r in _RELATIONS if r != "exactly" or instruction_id in EXACTLY]
        if value not in relations:
            return f"is not one of {', '.join(map(repr, relations))}"
    elif name in _LISTS:
        listed = isinstance(value, (list, tuple)) and value
        if not listed or not all(isinstance(word, str) and word for word in value):
            return "is not a non-empty list of words"
    elif not isinstance(value, str) or not value.strip():
        return "is not a non-empty text"
    elif name == "letter" and len(value) != 1:
        return "is not a single character"
    elif name == "language":
        codes = lm_eval_instructions().instructions_util.LANGUAGE_CODES
        if value not in codes:
            return f"is not a language code that IFEval knows; known: {', '.join(codes)}"
    return ""


def _is_whole(value: Any) -> bool:
    known = isinstance(value, Real) and not isinstance(value, bool)
    return known and value % 1 == 0  # false for nan and infinities


def nearest_instructions(instruction_id: str) -> list[str]:
    """List the instructions of IFEval, three at most, whose names are most like a name."""
    wanted = instruction_id.lower().rpartition(":")[2]
    by_name = {known.rpartition(":")[2]: known for known in REQUIRED}
    inside = [known for name, known in by_name.items() if wanted and wanted in name]
    close = [by_name[n] for n in difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.0)]
    return list(dict.fromkeys([*inside, *close]))[:3]


@functools.cache
def lm_eval_instructions() -> Any:
    """Import the module ``lm_eval.tasks.ifeval.instructions`` without use of the network.

    When this module is imported, lm-eval looks for ``punkt_tab`` and downloads a missing file,
    which waits or fails on a machine without a network. Only while the import runs, that look-up
    is answered with yes. Whether the file exists is checked by
    `interp_steer.scoring.sentences.splitter`.
    """
    import lm_eval.tasks  # noqa: F401  the heavy part, before anything is set aside
    import nltk

    find = nltk.data.find

    def find_others(resource: str, *args: Any, **options: Any) -> Any:
        return resource if resource == "tokenizers/punkt_tab" else find(resource, *args, **options)

    nltk.data.find = find_others
    try:
        from lm_eval.tasks.ifeval import instructions
    finally:
        nltk.data.find = find
    return instructions
