"""What some work costs: time, floating-point operations, and memory.

Operations are those of matrix products and attention, forward and backward, as PyTorch's counter
knows them; a multiplication and an addition are two. What is done element by element is not
counted: norms, activations, the optimiser, and the edits of steering, which are ``2 * d_model``
operations at a site and token, against twice the number of weights for the pass that they are in.

Memory is what tensors hold at most beyond what they held before the work. On a GPU it is the
allocator's own count; on a CPU, which keeps none, every operation is watched for the tensors that
it makes and for when they are freed (buffers inside an operation are not seen).
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
    """What some work takes, on any machine.

    Example:
        >>> Count(10.0, 4) + Count(1.0, 6)
        Count(flops=11.0, peak_bytes=6)
    """

    flops: float = 0.0
    """Floating-point operations."""
    peak_bytes: int = 0
    """The most that tensors held at once, beyond what they held before."""

    def __add__(self, other: Count) -> Count:
        """One work after the other."""
        return Count(self.flops + other.flops, max(self.peak_bytes, other.peak_bytes))

    def times(self, repeats: float) -> Count:
        """The same work over and over."""
        return Count(self.flops * repeats, self.peak_bytes)


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """What some work returns, and how many seconds it took; a GPU is waited for."""
    _wait(device)
    start = time.perf_counter()
    found = work()
    _wait(device)
    return found, time.perf_counter() - start


def counted(work: Callable[[], Result], device: torch.device) -> tuple[Result, Count]:
    """What some work returns, and what it takes.

    To be watched makes work several times slower: time it apart.

    Args:
        work: what is done.
        device: where.

    Example:
        >>> a, b = torch.ones(2, 3), torch.ones(3, 5)
        >>> counted(lambda: a @ b, a.device)[1]
        Count(flops=60.0, peak_bytes=40)
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ON_CPU)
    held = _Held()
    on_gpu = device.type == "cuda"
    if on_gpu:
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with ExitStack() as watching:
        if not on_gpu:
            watching.enter_context(held)
        watching.enter_context(counter)
        found = work()
    peak = torch.cuda.max_memory_allocated(device) - before if on_gpu else held.peak
    return found, Count(float(counter.get_total_flops()), peak)


class _Held(TorchDispatchMode):
    """Watches what the tensors that operations make hold together."""

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
        for given in tree_leaves((args, kwargs)):
            self._meet(given, made=False)  # was there before, and so may what is made share it
        found = func(*args, **kwargs)
        for one in tree_leaves(found):
            self._meet(one, made=True)
        return found

    def _meet(self, value: Any, *, made: bool) -> None:
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
        weakref.finalize(storage, self._freed, name, size)

    def _freed(self, name: int, size: int) -> None:
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
"""Attention on a CPU, which PyTorch's counter has no formula for."""


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
