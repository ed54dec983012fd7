"""Measure how similar answers are, by the word sequences that they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from interp_steer.statistics import Interval, leave_one_out_interval

ALIKE = 4
"""Number of consecutive words that two answers share where one repeats the other."""


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def grams_of(text: str, n: int) -> list[tuple[str, ...]]:
    """Return every sequence of ``n`` consecutive words of a text."""
    words = words_of(text)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def repeats(texts: Sequence[str], n: int = ALIKE) -> list[float | None]:
    """Return the share of each text's sequences of ``n`` words that other texts have too."""
    grams_of_text = [grams_of(text, n) for text in texts]
    texts_with = Counter(gram for grams in grams_of_text for gram in set(grams))
    return [
        sum(texts_with[gram] > 1 for gram in grams) / len(grams) if grams else None
        for grams in grams_of_text
    ]


def distinct(texts: Sequence[str], n: int) -> Interval | None:
    """Return the share of distinct sequences of ``n`` words in texts (distinct-n, Li et al. 2016).

    The share falls as texts get longer, so compare it together with their lengths.

    Returns:
        The share with its jackknife interval, which leaves out one text at a time; None where the
        share cannot be computed without some text.
    """
    grams_of_text = [grams_of(text, n) for text in texts]

    def share_of(some: Sequence[list[tuple[str, ...]]]) -> float | None:
        grams = [gram for one in some for gram in one]
        return len(set(grams)) / len(grams) if grams else None

    whole = share_of(grams_of_text)
    without = [
        share_of([*grams_of_text[:i], *grams_of_text[i + 1 :]]) for i in range(len(grams_of_text))
    ]
    known = [value for value in without if value is not None]
    if whole is None or len(known) < max(2, len(grams_of_text)):
        return None
    return leave_one_out_interval(whole, known)
