"""Choose the rows that run together, pad them, and split them when they do not fit in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp_steer.errors import InterpSteerError


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Rows of tokens of one length, padded on the left.

    Args:
        tokens: token ids; the mask hides the ids at pads.
        mask: true at tokens, false at pads. With a cache the mask is wider than the tokens: its
            first columns cover the cache.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch held_and_pos"]

    @property
    def attention_mask(self) -> Int[Tensor, "batch held_and_pos"]:
        """Return the mask as integers, the form that models accept."""
        return self.mask.long()

    @property
    def position_ids(self) -> Int[Tensor, "batch pos"]:
        """Count positions from the first token of each row; 0 at pads."""
        counted = (self.mask.long().cumsum(dim=1) - 1).clamp(min=0)
        return counted[:, -self.tokens.shape[1] :]


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Sort row numbers by length, the longest first, so that memory peaks early."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])


def batches_by_length(
    lengths: Sequence[int], batch_size: int, batch_tokens: int | None = None
) -> tuple[list[int], list[slice]]:
    """Put rows of similar length together, the longest first, so that memory runs out early.

    Args:
        lengths: the number of tokens of each row.
        batch_size: the most rows in a batch.
        batch_tokens: the most tokens in a batch, including pads (a longer row runs alone); None
            for any number.

    Returns:
        The order of the rows, and for each batch its slice of that order.
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


Row = TypeVar("Row")
Result = TypeVar("Result")


class OutOfMemory(InterpSteerError):
    """A single row does not fit in memory."""


class SmallerBatch(UserWarning):
    """A batch did not fit in memory; fewer rows are run at once."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Check whether PyTorch raised an error because memory ran out, on any device."""
    # On the CPU it is a plain RuntimeError, which only its text distinguishes.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def fewer(n_rows: int, device: torch.device | str) -> int:
    """Halve the number of rows that did not fit in memory, with a warning.

    Args:
        n_rows: the number of rows that did not fit.
        device: the device whose memory ran out.

    Raises:
        OutOfMemory: when a single row did not fit.
    """
    if n_rows == 1:
        raise OutOfMemory(
            f"a single row does not fit in the memory of {device}; shorten the prompt, ask for "
            "fewer new tokens, or load the model in a smaller dtype"
        )
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    warnings.warn(
        f"{n_rows} rows did not fit in the memory of {device}; continuing with "
        f"{n_rows // 2} at once",
        SmallerBatch,
        stacklevel=2,
    )
    return n_rows // 2


def in_parts(
    rows: Sequence[Row], run: Callable[[Sequence[Row]], Result], device: torch.device | str
) -> Iterator[Result]:
    """Run rows together or, where they do not fit in memory, in halves, in order.

    Args:
        rows: the rows of a batch.
        run: runs some of the rows.
        device: the device on which they run.

    Yields:
        The result of ``run`` for each part.

    Raises:
        OutOfMemory: when a single row does not fit.
    """
    try:
        result = run(rows)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    else:
        yield result
        return
    # This stands outside the except block, whose traceback would keep the tensors of the failed run
    # alive.
    half = fewer(len(rows), device)
    yield from in_parts(rows[:half], run, device)
    yield from in_parts(rows[half:], run, device)
