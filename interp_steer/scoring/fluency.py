"""Measure whether an answer is still language: perplexity under a reference model, and repetition.

Steering too hard ends in loops. Paper A calls an output degenerate when its perplexity under GPT-2
is below 2.5, because nothing is easier to predict than a loop. Two facts limit that rule. The
threshold is GPT-2's: another reference needs another threshold, computed from good texts (see
:func:`interp_steer.sweeps.damage.with_fluency`). And GPT-2 spells scripts that it hardly knows byte
by byte, which alone makes their perplexity low. The share of repeated n-grams, which needs no
model, is therefore measured too.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from interp_steer.arguments import check_list
from interp_steer.errors import ScoringError
from interp_steer.models.batching import in_parts
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import load

PAPER_THRESHOLD = 2.5
"""Perplexity under GPT-2 below which paper A calls an output degenerate."""

REPETITION_THRESHOLD = 0.5
"""Share of repeated 4-grams above which a text counts as a loop.

Set on the paper's published layer search (3,220 steered Phi-3 outputs with their GPT-2 perplexity):
at 0.5 it flags 5 of 6 outputs that the perplexity rule flags, and 4% of the others, many of them
loops that the perplexity rule misses.
"""

_PIECE = 12  # the longest piece of a word: "SESESESE...", without spaces, is repetition too


@dataclass(frozen=True)
class Reference:
    """A plain Hugging Face causal LM that measures perplexity, without hook points."""

    plain: Any
    """The model."""
    tokenizer: Any
    """Its tokenizer."""


def is_degenerate(
    perplexity: float | None,
    repetition: float = 0.0,
    *,
    threshold: float = PAPER_THRESHOLD,
    most_repetition: float = REPETITION_THRESHOLD,
) -> bool:
    """Return whether a text is a loop: too easy to predict, or too much of it repeated.

    Args:
        perplexity: the perplexity of the text; ``None`` (nothing to predict) is not degenerate.
        repetition: the share of repeated n-grams; leave it out for the paper's rule alone.
        threshold: the perplexity below which a text is degenerate.
        most_repetition: the share above which a text is degenerate.

    Returns:
        True when the text is degenerate by at least one rule. A blank text is short, but not
        degenerate.
    """
    return (perplexity is not None and perplexity < threshold) or repetition > most_repetition


def repetition(text: str, n: int = 4) -> float:
    """Return the share of a text's n-grams that repeat an earlier n-gram of the text.

    Pieces are words, single punctuation marks, and long runs of spaces. All numbers count as equal
    ("Day 1", "Day 2", ... is a loop). Words longer than 12 characters are cut into pieces, so that
    loops without spaces and scripts without spaces count too.

    Args:
        text: any text.
        n: the length of the n-grams, in pieces.

    Returns:
        A share in [0, 1): 0.0 when no n-gram recurs, as in any text with fewer than n + 1 pieces.

    Raises:
        ScoringError: when n is less than 1.

    Example:
        >>> round(repetition("the cat sat down. the cat sat down. the cat sat down."), 3)
        0.583
    """
    if n < 1:
        raise ScoringError(f"n-grams of {n} pieces; n is 1 or more, usually 4")
    pieces = ["0" if piece.isdigit() else piece for piece in _piece().findall(text)]
    grams = [tuple(pieces[i : i + n]) for i in range(len(pieces) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


Window: TypeAlias = tuple[int, list[int], int]
"""The number of a text, some of its token ids, and how many of them other windows score."""


def perplexity(
    reference: HookedLM | Reference | str, texts: Sequence[str], *, batch_tokens: int = 4096
) -> list[float | None]:
    """Return the perplexity of each text under a reference model: exp of the mean token loss.

    Each text is read alone, after one BOS (GPT-2's end-of-text), so that its first token counts. A
    model with neither BOS nor EOS scores from the second token on. A text longer than the model's
    context is read in windows that overlap by half, and every token is scored once.

    Args:
        reference: the model: a :class:`HookedLM`, a :class:`Reference`, or a name for
            :func:`interp_steer.load` (loaded at each call: load the model yourself to use it
            twice). Never steered.
        texts: any texts.
        batch_tokens: the most tokens, including padding, in one forward pass.

    Returns:
        One perplexity per text, at least 1.0; ``None`` for a text without a token to predict.

    Raises:
        ScoringError: for one text in place of a list, or when the reference's losses are not
            finite.
    """
    check_list("texts", texts, ScoringError)
    source = load(reference) if isinstance(reference, str) else reference
    model, tokenizer = source.plain, source.tokenizer
    context = getattr(model.config, "max_position_embeddings", None) or 2048
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    windows = [
        (index, ids, skip)
        for text, index in places.items()
        for ids, skip in _windows(_tokens(tokenizer, text), context)
    ]
    windows.sort(key=lambda window: len(window[1]), reverse=True)
    losses, counts = np.zeros(len(places)), np.zeros(len(places), dtype=int)
    was_training = model.training
    model.eval()
    try:
        with tqdm(total=len(windows), desc="perplexity", disable=None) as progress:
            while windows:
                fit = max(1, batch_tokens // len(windows[0][1]))
                batch, windows = windows[:fit], windows[fit:]
                sums = in_parts(batch, partial(_losses, model), model.device)
                for (index, ids, skip), loss in zip(batch, chain.from_iterable(sums), strict=True):
                    losses[index] += loss
                    counts[index] += len(ids) - skip
                progress.update(len(batch))
    finally:
        model.train(was_training)
    if not np.isfinite(losses).all():
        first = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise ScoringError(
            f"the reference's loss on the text {list(places)[first][:60]!r} is {losses[first]}; "
            "load it in float32 or bfloat16, and check that its weights are finite"
        )
    perplexities = [
        math.exp(loss / count) if count else None
        for loss, count in zip(losses, counts.tolist(), strict=True)
    ]
    return [perplexities[places[text]] for text in texts]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    """Return the text's ids after one BOS; alone when the tokenizer has neither BOS nor EOS."""
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return ids if start is None else [start, *ids]


def _windows(ids: list[int], context: int) -> Iterator[tuple[list[int], int]]:
    """Yield windows of at most ``context`` ids, with the number of ids that are already scored."""
    if len(ids) < 2:
        return
    end = min(context, len(ids))
    yield ids[:end], 1  # nothing predicts the very first id
    while end < len(ids):
        start, scored = end - context // 2, end
        end = min(start + context, len(ids))
        yield ids[start:end], scored - start


@torch.inference_mode()
def _losses(model: Any, windows: Sequence[Window]) -> list[float]:
    """Return the summed loss of each window's ids from ``skip`` on; pad rows on the right."""
    rows, skips = [ids for _, ids, _ in windows], [skip for *_, skip in windows]
    width = max(map(len, rows))
    device = next(model.parameters()).device
    # A causal model does not attend to the right, so pads on the right change nothing.
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    place = torch.arange(width, device=device)
    lengths, first = torch.tensor([list(map(len, rows)), skips], device=device)
    mask = place < lengths[:, None]
    logits = model(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
    loss = functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), tokens[:, 1:], reduction="none"
    )
    scored = (mask & (place >= first[:, None]))[:, 1:]
    return torch.where(scored, loss, 0.0).double().sum(dim=1).tolist()


@cache
def _piece() -> re.Pattern[str]:
    # Combining marks belong to words in Hindi, Tamil, Thai and others, and are not in \w.
    every = map(chr, range(sys.maxunicode + 1))
    marks = "".join(mark for mark in every if unicodedata.category(mark).startswith("M"))
    return re.compile(rf"[\w{marks}]{{1,{_PIECE}}}|\s{{{_PIECE}}}|[^\w\s]")
