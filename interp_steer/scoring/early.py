"""Decide early whether an unfinished answer has broken its instructions for good.

The rules follow from IFEval's checkers: a comma stays a comma, a count only grows, a text that
begins with a word cannot become JSON.
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
    """Return whether an answer with this beginning can no longer follow its instructions.

    True is exact: however the answer goes on, ``ifeval.verify(...).strict`` is False. False means
    that the beginning does not decide, as for instructions that only the end decides.

    Args:
        beginning: the answer so far.
        instruction_ids: as for :func:`interp_steer.scoring.ifeval.verify`.
        kwargs: as for :func:`interp_steer.scoring.ifeval.verify`.

    Raises:
        ScoringError: for one text or mapping in place of a list.

    Example:
        >>> has_failed("Well, ", ["punctuation:no_comma"], [{}])
        True
    """
    check_list("instruction_ids", instruction_ids, ScoringError)
    check_list("kwargs", kwargs, ScoringError)
    return any(
        instruction_id in _BROKEN_FOR_GOOD and _BROKEN_FOR_GOOD[instruction_id](beginning, given)
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
    # A word at the end may still become a longer word, and only a word without special characters
    # is certain to match in a longer text.
    return any(
        match.end() < len(text)
        for word in words
        if re.fullmatch(r"[\w\s'-]+", word)
        for match in re.finditer(rf"\b{word}\b", text, flags=re.IGNORECASE)
    )


def _is_above(count: int, limit: int, relation: str) -> bool:
    """Return whether a count that can only grow has left the range of its relation."""
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


_BROKEN_FOR_GOOD: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = MappingProxyType(
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
"""The test of each instruction that an answer can break for good before its end."""
