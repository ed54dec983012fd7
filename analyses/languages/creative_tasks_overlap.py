"""How much answers are alike, by the runs of words that they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from interp_steer.statistics.intervals import Interval, leave_one_out_interval

ALIKE = 4
"""Words in a row that two answers share, where one repeats the other."""


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return re.findall(r"\w+", text.lower())


def grams_of(text: str, n: int) -> list[tuple[str, ...]]:
    """Every run of ``n`` words of a text."""
    words = words_of(text)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def repeats(texts: Sequence[str], n: int = ALIKE) -> list[float | None]:
    """For each text the share of its runs of ``n`` words that another of the texts has too."""
    each = [grams_of(text, n) for text in texts]
    texts_with = Counter(gram for grams in each for gram in set(grams))
    return [
        sum(texts_with[gram] > 1 for gram in grams) / len(grams) if grams else None
        for grams in each
    ]


def distinct(texts: Sequence[str], n: int) -> Interval | None:
    """Different runs of ``n`` words among all that some texts have (distinct-n, Li et al. 2016).

    It falls as texts get longer: compare it with their lengths beside it.

    Returns:
        The share with its jackknife interval, one text being left out at a time; None where it is
        not known without some text.
    """
    each = [grams_of(text, n) for text in texts]

    def of(kept: Sequence[list[tuple[str, ...]]]) -> float | None:
        grams = [gram for one in kept for gram in one]
        return len(set(grams)) / len(grams) if grams else None

    whole = of(each)
    without = [of([*each[:i], *each[i + 1 :]]) for i in range(len(each))]
    known = [value for value in without if value is not None]
    if whole is None or len(known) < max(2, len(each)):
        return None
    return leave_one_out_interval(whole, known)
