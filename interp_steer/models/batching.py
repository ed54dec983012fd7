"""Which rows run together, and how they are padded."""

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


Row = TypeVar("Row")
Result = TypeVar("Result")


class OutOfMemory(InterpSteerError):
    """A single row that does not fit in memory."""


class SmallerBatch(UserWarning):
    """A batch did not fit in memory; fewer rows are run at once."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch raised this because there was no memory left, on whatever device."""
    # On the CPU it is a plain RuntimeError, told by its text alone.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def fewer(n_rows: int, device: torch.device | str) -> int:
    """How many rows to try after so many did not fit: half of them. Warns.

    Args:
        n_rows: how many did not fit.
        device: where they did not.

    Raises:
        OutOfMemory: when it was a single one.
    """
    if n_rows == 1:
        raise OutOfMemory(
            f"a single row does not fit in the memory of {device}; shorten the prompt, ask for "
            "fewer new tokens, or load the model in a smaller dtype"
        )
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    warnings.warn(
        f"{n_rows} rows did not fit in the memory of {device}; going on with {n_rows // 2} at once",
        SmallerBatch,
        stacklevel=2,
    )
    return n_rows // 2


def in_parts(
    rows: Sequence[Row], run: Callable[[Sequence[Row]], Result], device: torch.device | str
) -> Iterator[Result]:
    """Run rows together or, where they do not fit, in halves, in order.

    Args:
        rows: the rows of a batch.
        run: runs some of them.
        device: where they run.

    Yields:
        What ``run`` returned for each part.

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
    # Out of the except block: its traceback would keep the tensors of the failed run alive.
    half = fewer(len(rows), device)
    yield from in_parts(rows[:half], run, device)
    yield from in_parts(rows[half:], run, device)
