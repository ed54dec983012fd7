"""Early verdicts: has an unfinished answer broken its instructions for good?

What is said here of an instruction follows from how IFEval's checker reads it: a comma stays a
comma, a count only grows, a text that begins with a word is no JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from interp_steer.arguments import check_list
from interp_steer.errors import ScoringError
from interp_steer.scoring import ifeval


def has_failed(
    beginning: str, instruction_ids: Sequence[str], kwargs: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether an answer that begins so can no longer follow its instructions, strictly.

    Exact where it says yes: however the answer goes on, ``ifeval.verify(...).strict`` is False. It
    says no where it cannot know, as of instructions that only the end decides.

    Args:
        beginning: what has been said so far.
        instruction_ids: as for `ifeval.verify`.
        kwargs: as for `ifeval.verify`.

    Example:
        >>> has_failed("Well, ", ["punctuation:no_comma"], [{}])
        True
    """
    check_list("instruction_ids", instruction_ids, ScoringError)
    check_list("kwargs", kwargs, ScoringError)
    return any(
        instruction_id in _BEYOND_MENDING and _BEYOND_MENDING[instruction_id](beginning, given)
        for instruction_id, given in zip(instruction_ids, kwargs, strict=True)
    )


def _is_no_json(text: str) -> bool:
    start = text.lstrip()
    literals = ("true", "false", "null", "NaN", "Infinity")
    return (
        start != ""
        and start[0] not in '{["`-0123456789'
        and not any(start.startswith(word) or word.startswith(start) for word in literals)
    )


def _has_forbidden(text: str, words: Sequence[str]) -> bool:
    # A word at the very end may still become another, longer one; and only a plain word is
    # certain to be found again in a longer text.
    return any(
        match.end() < len(text)
        for word in words
        if re.fullmatch(r"[\w\s'-]+", word)
        for match in re.finditer(rf"\b{word}\b", text, flags=re.IGNORECASE)
    )


def _is_above(count: int, limit: int, relation: str) -> bool:
    """Whether a count that can only grow has left what its relation allows."""
    return count > limit or (count == limit and relation == "less than")


def _has_words_above(text: str, given: Mapping[str, Any]) -> bool:
    if given["relation"] == "at least":
        return False
    count = ifeval.lm_eval_instructions().instructions_util.count_words(text)
    return _is_above(count, given["num_words"], given["relation"])


def _has_letters_above(text: str, given: Mapping[str, Any]) -> bool:
    if given["let_relation"] == "at least":
        return False
    count = text.lower().count(given["letter"].lower())
    return _is_above(count, given["let_frequency"], given["let_relation"])


def _has_bullets_above(text: str, given: Mapping[str, Any]) -> bool:
    bullets = re.findall(r"^\s*(?:\*[^\*\n]|-)", text, flags=re.MULTILINE)
    return len(bullets) > given["num_bullets"]


_BEYOND_MENDING: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = MappingProxyType(
    {
        "punctuation:no_comma": lambda text, given: "," in text,
        "change_case:english_lowercase": lambda text, given: any(
            letter.isupper() or letter.istitle() for letter in text
        ),
        "change_case:english_capital": lambda text, given: any(map(str.islower, text)),
        "startend:quotation": lambda text, given: text.lstrip()[:1] not in ("", '"'),
        "detectable_format:json_format": lambda text, given: _is_no_json(text),
        "keywords:forbidden_words": lambda text, given: _has_forbidden(
            text, given["forbidden_words"]
        ),
        "detectable_format:number_bullet_lists": _has_bullets_above,
        "length_constraints:number_words": _has_words_above,
        "keywords:letter_frequency": _has_letters_above,
    }
)
"""Of the instructions that an answer can break for good before its end, how to see it."""
