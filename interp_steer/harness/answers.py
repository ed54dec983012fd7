"""Find the option that an answer chooses, and measure the answer: lm-eval's filters and metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval.api.filter import Filter
from lm_eval.api.registry import register_filter

from interp_steer.arguments import check_list
from interp_steer.errors import ScoringError

LETTERS = "ABCDE"
"""The letters of options."""

FEWEST_WORDS = 5
"""The fewest words of an answer whose language is detected; :mod:`interp_steer.scoring.language`
says why."""


@dataclass(frozen=True)
class Chosen:
    """The choice of an answer.

    Args:
        option: the number of the option; None where the answer chooses none.
        text: the answer.
    """

    option: int | None
    text: str


def choose_by_letter(text: str, n_options: int) -> int | None:
    """Return the number of the option whose letter an answer gives.

    A letter counts when it follows a word such as "answer", "risposta" or "opzione". Otherwise a
    letter counts that the answer begins with, set off by a mark or alone; otherwise a letter in
    parentheses. A word of one letter, such as the Italian "e" and "a", does not count.

    Args:
        text: the answer.
        n_options: the number of options, at most five.

    Returns:
        The option's number, from 0; None for an answer that gives several letters or
        no letter.

    Example:
        >>> choose_by_letter("La risposta corretta è la B.", 4)
        1
        >>> choose_by_letter("A volte piove.", 4) is None
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
        flags = re.IGNORECASE * (way != ways[1])
        letters = {match.upper() for match in re.findall(way, text, flags)}
        if letters:
            return LETTERS.index(letters.pop()) if len(letters) == 1 else None
    return None


def choose_by_words(text: str, options: Sequence[Sequence[str]]) -> int | None:
    """Return the number of the option whose words stand in an answer.

    Args:
        text: the answer.
        options: the forms of each option, such as "rosso" and "rossa". Where a form is part of
            another ("wine", "red wine"), the longer form counts.

    Returns:
        The option's number; None where the answer holds none of the options, or several.
    """
    check_list("options", options, ScoringError)
    forms = {form.casefold(): number for number, words in enumerate(options) for form in words}
    longest_first = sorted(forms, key=len, reverse=True)
    way = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    chosen = {forms[match] for match in re.findall(way, text.casefold())}
    return chosen.pop() if len(chosen) == 1 else None


@register_filter("choice_by_letter")
class ByLetter(Filter):
    """lm-eval's filter for answers that name a letter, of documents with ``choices``."""

    def apply(
        self, resps: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """Return :class:`Chosen` for each answer, as a dictionary."""
        return [
            [asdict(Chosen(choose_by_letter(text, len(doc["choices"])), text)) for text in texts]
            for texts, doc in zip(resps, docs, strict=True)
        ]


@register_filter("choice_by_words")
class ByWords(Filter):
    """lm-eval's filter for answers in words, of documents whose ``words`` are options' forms."""

    def apply(
        self, resps: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """Return :class:`Chosen` for each answer, as a dictionary."""
        return [
            [asdict(Chosen(choose_by_words(text, doc["words"]), text)) for text in texts]
            for texts, doc in zip(resps, docs, strict=True)
        ]


def in_english(doc: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics of an answer that should be English; see :func:`measure_answer`."""
    return measure_answer(doc, Chosen(**results[0]), "en")


def in_italian(doc: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics of an answer that should be Italian; see :func:`measure_answer`."""
    return measure_answer(doc, Chosen(**results[0]), "it")


def measure_answer(doc: Mapping[str, Any], chosen: Chosen, language: str) -> dict[str, float]:
    """Return the metrics of an answer.

    Args:
        doc: the document, with ``gold``, the number of the right option.
        chosen: the choice of the answer.
        language: ISO 639-1 code of the language that the answer should be in.

    Returns:
        ``acc``: whether the answer chooses the right option (choosing no option is wrong);
        ``parses``: whether it chooses an option; and ``in_language``, which is left out for an
        answer of fewer than :data:`FEWEST_WORDS`, too short for detection.
    """
    metrics = {
        "acc": float(chosen.option == doc["gold"]),
        "parses": float(chosen.option is not None),
    }
    if len(re.findall(r"[^\W\d_]+", chosen.text)) >= FEWEST_WORDS:
        from interp_steer.scoring import language as detection

        metrics["in_language"] = float(detection.detect(chosen.text) == language)
    return metrics
