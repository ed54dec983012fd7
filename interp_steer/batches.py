"""Which rows run together, and how they are padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Rows of tokens of one length, padded on the left.

    Args:
        tokens: token ids; at a pad, an id that the mask makes inert.
        mask: true where there is a token, false at pads. It is wider than the tokens when a cache
            holds what came before them: it then covers that first.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch held_and_pos"]

    @property
    def attention_mask(self) -> Int[Tensor, "batch held_and_pos"]:
        """The mask as integers, as models take it."""
        return self.mask.long()

    @property
    def position_ids(self) -> Int[Tensor, "batch pos"]:
        """Positions counted from each row's first token; 0 at pads."""
        counted = (self.mask.long().cumsum(dim=1) - 1).clamp(min=0)
        return counted[:, -self.tokens.shape[1] :]


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Row numbers by length, the longest first: like beside like, and memory peaks early."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])


def batches_by_length(
    lengths: Sequence[int], batch_size: int, batch_tokens: int | None = None
) -> tuple[list[int], list[slice]]:
    """Put rows of like length together, the longest first, so that too large a batch fails early.

    Args:
        lengths: the number of tokens of each row.
        batch_size: the most rows in a batch.
        batch_tokens: the most tokens in a batch, padding included (a longer row goes alone); None
            for any number.

    Returns:
        The order of the rows, and the slice of that order that each batch is.
    """
    order = longest_first(lengths)
    batches: list[slice] = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        size = batch_size if batch_tokens is None else min(batch_size, batch_tokens // longest)
        batches.append(slice(start, min(start + max(1, size), len(order))))
        start = batches[-1].stop
    return order, batches
