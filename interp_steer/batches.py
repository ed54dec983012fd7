"""Which rows run together."""

from __future__ import annotations

from collections.abc import Sequence


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
