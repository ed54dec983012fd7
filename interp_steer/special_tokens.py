"""The tokens that end an answer, and the one that pads."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from interp_steer.prompts import PromptFormat, closing_token
from interp_steer.wrapped.protocol import Wrapped


def token_ids(*found: Any) -> list[int]:
    """The ids in what configurations and tokenizers give: an id, several, or None."""
    several = [one if isinstance(one, (list, tuple)) else [one] for one in found]
    return [int(token) for one in several for token in one if token is not None]


def stop_ids(
    wrapped: Wrapped, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat
) -> frozenset[int]:
    """The tokens that end an answer, by whatever says so."""
    return frozenset(
        token_ids(
            *wrapped.end_ids,
            tokenizer.eos_token_id,
            closing_token(tokenizer, prompt_format),
        )
    )


def pad_id(wrapped: Wrapped, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> int:
    """The token that is written at masked positions; never one of those that end an answer."""
    # Pads are masked, so any id that the embedding has would do. The tokenizer's own is passed
    # over where it also ends an answer (a common habit): a finished row would look padded.
    n_rows = wrapped.n_embeddings
    own = token_ids(tokenizer.pad_token_id, tokenizer.unk_token_id)
    taken = {*ends, *token_ids(tokenizer.bos_token_id)}
    return next(token for token in (*own, *range(n_rows)) if token < n_rows and token not in taken)
