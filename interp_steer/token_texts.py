"""The text of each token of an answer, such that together they are the answer's text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from interp_steer.models.hooked_lm import HookedLM

HALF = "\ufffd"
"""What half a character decodes to."""


def token_texts(model: HookedLM, tokens: Sequence[int], text: str | None = None) -> list[str]:
    """What each token adds to the text of those before it.

    A token may hold half a character, as those of byte-level tokenizers do, or decode to something
    else alone than behind others: the whole is decoded, and cut where the tokens end. A character
    belongs to the token that completes it; special tokens are empty.

    Args:
        model: whose tokenizer decodes.
        tokens: token ids, such as ``completion.tokens``.
        text: what of their text is wanted, a beginning of it, such as ``completion.text``, which
            ends before the stop string; all of it when not given.

    Returns:
        A text for each token, which joined are the whole.

    Example:
        >>> "".join(token_texts(model, said.tokens, said.text)) == said.text  # doctest: +SKIP
        True
    """
    whole = model.decode(tokens)
    end = len(whole) if text is None else min(len(text), len(whole))
    ends = [0]
    for count in range(1, len(tokens)):
        known = model.decode(tokens[:count]).rstrip(HALF)
        stands = len(known) >= ends[-1] and whole.startswith(known)
        ends.append(len(known) if stands else ends[-1])
    bounds = [min(at, end) for at in (*ends, len(whole))]
    return [whole[start:stop] for start, stop in pairwise(bounds)][: len(tokens)]
