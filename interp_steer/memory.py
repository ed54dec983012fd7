"""What to do when a batch does not fit in memory: go on with fewer rows, and say so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from interp_steer.errors import InterpSteerError

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
