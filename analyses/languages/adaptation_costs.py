"""Measure the cost of some work: time, floating-point operations, and memory.

The operations are those of matrix products and attention, forward and backward, as counted by
PyTorch; a multiplication and an addition are two operations. Element-wise work is not counted:
norms, activations, the optimiser, and the edits of steering. An edit takes ``2 * d_model``
operations per site and token, compared with twice the number of weights for the forward pass.

Memory is the maximum that tensors hold in addition to what they held before the work. On a GPU, the
allocator counts it. On a CPU, no allocator counts, so every operation is watched for the tensors
that it makes and for the moment when they are freed. Buffers inside an operation are not seen.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Count:
    """Cost of some work that does not depend on the machine.

    Example:
        >>> Count(10.0, 4) + Count(1.0, 6)
        Count(flops=11.0, peak_bytes=6)
    """

    flops: float = 0.0
    """Floating-point operations."""
    peak_bytes: int = 0
    """The maximum that tensors held at once, in addition to what they held before."""

    def __add__(self, other: Count) -> Count:
        """Add the cost of other work that is done afterwards."""
        return Count(self.flops + other.flops, max(self.peak_bytes, other.peak_bytes))

    def times(self, repeats: float) -> Count:
        """Return the cost of the same work done several times."""
        return Count(self.flops * repeats, self.peak_bytes)


def time_work(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Do some work and return its result with the seconds it took; wait for a GPU to finish."""
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return result, time.perf_counter() - start


def count_work(work: Callable[[], Result], device: torch.device) -> tuple[Result, Count]:
    """Do some work and return its result with its cost.

    Counting makes the work several times slower, so measure its time separately.

    Args:
        work: the work.
        device: the device of the work.

    Example:
        >>> a, b = torch.ones(2, 3), torch.ones(3, 5)
        >>> count_work(lambda: a @ b, a.device)[1]
        Count(flops=60.0, peak_bytes=40)
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ON_CPU)
    watcher = _MemoryWatcher()
    on_gpu = device.type == "cuda"
    if on_gpu:
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with ExitStack() as watching:
        if not on_gpu:
            watching.enter_context(watcher)
        watching.enter_context(counter)
        result = work()
    peak = torch.cuda.max_memory_allocated(device) - before if on_gpu else watcher.peak
    return result, Count(float(counter.get_total_flops()), peak)


class _MemoryWatcher(TorchDispatchMode):
    """Watcher of the memory that the tensors of operations hold together."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for argument in tree_leaves((args, kwargs)):
            self._register(
                argument, made=False
            )  # its memory was there before, and results may share it
        result = func(*args, **kwargs)
        for output in tree_leaves(result):
            self._register(output, made=True)
        return result

    def _register(self, value: Any, *, made: bool) -> None:
        if not isinstance(value, Tensor):
            return
        storage = value.untyped_storage()
        name = storage._cdata
        if name in self._known:
            return
        size = storage.nbytes() if made else 0
        self._known.add(name)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._release, name, size)

    def _release(self, name: int, size: int) -> None:
        self._known.discard(name)
        self._now -= size


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Formulas for attention on a CPU, which PyTorch's counter lacks."""


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
