"""Which option an answer chooses, and what is measured of it: lm-eval's filter and metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval.api.filter import Filter
from lm_eval.api.registry import register_filter

LETTERS = "ABCDE"
"""The letters of options."""

FEWEST_WORDS = 5
"""Of an answer whose language is looked at; :mod:`interp_steer.scoring.language` says why."""


@dataclass(frozen=True)
class Chosen:
    """What an answer says.

    Args:
        option: the number of the option that it chooses; None where it chooses none.
        text: the answer.
    """

    option: int | None
    text: str


def by_letter(text: str, n_options: int) -> int | None:
    """The option whose letter an answer gives.

    That is the letter that follows a word such as "answer", "risposta" or "opzione"; or else the
    one that the answer begins with, set off by a mark or alone; or else the one that stands in
    parentheses. A word of one letter, such as the Italian "e" and "a", is none.

    Args:
        text: the answer.
        n_options: how many options there are, at most five.

    Returns:
        Its number, from 0; None where there is no letter, or the answer gives several.

    Example:
        >>> by_letter("La risposta corretta è la B.", 4)
        1
        >>> by_letter("A volte piove.", 4) is None
        True
    """
    letter = f"([{LETTERS[:n_options]}])"
    end = r"(?=[\W_]*$|[\W_]*\n|\s*[.):,;\]*])"
    ways = (
        rf"\b(?:answer|risposta|option|opzione|letter|lettera)\b[^.\n]{{0,40}}?\W{letter}{end}",
        rf"^\W*{letter}{end}",
        rf"\({letter}\)",
    )
    for way in ways:
        found = {match.upper() for match in re.findall(way, text, re.IGNORECASE * (way != ways[1]))}
        if found:
            return LETTERS.index(found.pop()) if len(found) == 1 else None
    return None


def by_words(text: str, options: Sequence[Sequence[str]]) -> int | None:
    """The option whose words stand in an answer.

    Args:
        text: the answer.
        options: the forms in which each option may be said, such as "rosso" and "rossa". Where
            one is part of another ("wine", "red wine"), the longer one counts.

    Returns:
        Its number; None where the answer holds none of the options, or several.
    """
    forms = {form.casefold(): number for number, said in enumerate(options) for form in said}
    longest_first = sorted(forms, key=len, reverse=True)
    way = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    found = {forms[match] for match in re.findall(way, text.casefold())}
    return found.pop() if len(found) == 1 else None


@register_filter("choice_by_letter")
class ByLetter(Filter):
    """lm-eval's filter for answers that name a letter, of documents with ``choices``."""

    def apply(
        self, resps: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """From each answer to :class:`Chosen`, as a dictionary."""
        return [
            [asdict(Chosen(by_letter(text, len(doc["choices"])), text)) for text in texts]
            for texts, doc in zip(resps, docs, strict=True)
        ]


@register_filter("choice_by_words")
class ByWords(Filter):
    """lm-eval's filter for answers in words, of documents whose ``words`` are options' forms."""

    def apply(
        self, resps: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """From each answer to :class:`Chosen`, as a dictionary."""
        return [
            [asdict(Chosen(by_words(text, doc["words"]), text)) for text in texts]
            for texts, doc in zip(resps, docs, strict=True)
        ]


def in_english(doc: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of an answer that should be English; see :func:`measured`."""
    return measured(doc, Chosen(**results[0]), "en")


def in_italian(doc: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of an answer that should be Italian; see :func:`measured`."""
    return measured(doc, Chosen(**results[0]), "it")


def measured(doc: Mapping[str, Any], chosen: Chosen, language: str) -> dict[str, float]:
    """What is measured of an answer.

    Args:
        doc: with ``gold``, the number of the right option.
        chosen: what the answer says.
        language: ISO 639-1 code of the language that it should be in.

    Returns:
        ``acc``: whether it chooses the right option (none at all is wrong); ``parses``: whether it
        chooses one; and ``in_language``, which is left out for an answer of fewer than
        :data:`FEWEST_WORDS`, whose language nobody can tell.
    """
    found = {
        "acc": float(chosen.option == doc["gold"]),
        "parses": float(chosen.option is not None),
    }
    if len(re.findall(r"[^\W\d_]+", chosen.text)) >= FEWEST_WORDS:
        from interp_steer.scoring import language as detection

        found["in_language"] = float(detection.detect(chosen.text) == language)
    return found
