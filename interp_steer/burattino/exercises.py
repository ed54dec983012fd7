"""Copying: what stands in the text itself has to be found and told again.

From plain documents a model as small as this one learns what is true, and hardly ever how to tell
again what it has just read. That takes an exercise in which every answer stands in the prompt,
with short lists first.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

SHORT, LONG = 8, 40
"""The most words of a list, at first and in the end."""


def copying(words: Sequence[int], rng: Random, progress: float) -> tuple[list[int], list[bool]]:
    """Arbitrary tokens, then the same once more: only the second telling can be known.

    Args:
        words: the tokens to draw from.
        rng: the only source of randomness.
        progress: from 0, where the lists are short, to 1.

    Returns:
        The tokens, and which of them are to be learned.
    """
    length = rng.randint(3, SHORT + round((LONG - SHORT) * progress))
    told = [rng.choice(words) for _ in range(length)]
    # What comes first in the second telling cannot be known: nothing says that it starts.
    return [*told, *told], [False] * (length + 1) + [True] * (length - 1)
