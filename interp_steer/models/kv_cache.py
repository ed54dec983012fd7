"""Cache keys and values for a batch whose rows change while it is decoded.

A key-value cache holds, for each layer, the keys and values of all tokens that were run, as tensors
``[row, head, column, d_head]``; a pass over one new token per row reads them instead of running the
earlier tokens again. Two things are particular here:

- Rows join and leave. All rows end in the same last column; a shorter row has pads on its left,
  which the attention mask hides. A row that joins is padded to the width of the others. When a row
  leaves, the first columns may hold nothing but pads, and are dropped.
- A step does not copy the cache. Each layer keeps its keys and values in buffers with spare columns
  on the right, so that a step writes into the next spare column; ``keys`` and ``values`` are views
  of the filled columns. New buffers are made only when the spare columns are used up.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

SPARE_COLUMNS = 64
"""The number of spare columns of new buffers; a step fills one column."""


@runtime_checkable
class DecodingCache(Protocol):
    """A cache for a batch that rows join and leave; every kind of model has its kind of cache."""

    def keep(self, rows: Int[Tensor, " kept"], first: int = 0) -> None:
        """Keep the rows at these places, and drop the columns before ``first``."""
        ...

    def join(self, other: Any) -> None:
        """Append the rows of another cache of the same model."""
        ...


class RowLayer(DynamicLayer):
    """The keys and values of one layer, in buffers with spare columns on the right.

    ``keys`` and ``values``, which Transformers reads, are views of the filled columns.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append columns; return all keys and values, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used, more = self.get_seq_length(), key_states.shape[-2]
        if self._buffers is None or used + more > self._buffers[0].shape[-2]:
            keys, values = self.filled if used else (key_states[:, :, :0], value_states[:, :, :0])
            buffers = (
                _pad(keys, right=more + SPARE_COLUMNS),
                _pad(values, right=more + SPARE_COLUMNS),
            )
        else:
            buffers = self._buffers
        for buffer, states in zip(buffers, (key_states, value_states), strict=True):
            buffer[:, :, used : used + more] = states
        self._set_buffers(*buffers, used + more)
        return self.filled

    @property
    def filled(self) -> tuple[Tensor, Tensor]:
        """Return the filled columns of the keys and of the values."""
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def keep(self, rows: Int[Tensor, " kept"], first: int) -> None:
        """Keep the rows at these places, and their columns from ``first`` on."""
        assert self._buffers is not None
        width = self.get_seq_length() - first
        keys, values = self._buffers
        rows = rows.to(keys.device)  # the layers of one model may lie on several
        self._set_buffers(keys[rows, :, first:], values[rows, :, first:], width)

    def join(self, other: RowLayer) -> None:
        """Append the rows of another cache; the narrower cache is padded on the left."""
        width = max(self.get_seq_length(), other.get_seq_length())

        def join(mine: Tensor, theirs: Tensor) -> Tensor:
            both = [_pad(states, left=width - states.shape[-2]) for states in (mine, theirs)]
            return _pad(torch.cat(both), right=SPARE_COLUMNS)

        (keys, values), (their_keys, their_values) = self.filled, other.filled
        self._set_buffers(join(keys, their_keys), join(values, their_values), width)

    def _set_buffers(self, keys: Tensor, values: Tensor, width: int) -> None:
        self._buffers = (keys, values)
        self.keys, self.values = keys[:, :, :width], values[:, :, :width]


class RowCache(Cache):
    """A cache for a batch that rows join and leave while it is decoded.

    Every layer keeps every column, also where attention is limited to a window: the mask hides the
    columns outside of the window, and the rows may begin at different columns.
    """

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RowLayer)

    def keep(self, rows: Int[Tensor, " kept"], first: int = 0) -> None:
        """Keep the rows at these places, and drop the columns before ``first``."""
        for layer in self._row_layers:
            layer.keep(rows, first)

    def join(self, other: RowCache) -> None:
        """Append the rows of another cache of the same model."""
        for mine, theirs in zip(self._row_layers, other._row_layers, strict=True):
            mine.join(theirs)

    @property
    def filled(self) -> list[tuple[Tensor, Tensor]]:
        """Return the filled keys and values of every layer."""
        return [layer.filled for layer in self._row_layers]

    @property
    def _row_layers(self) -> list[RowLayer]:
        return [layer for layer in self.layers if isinstance(layer, RowLayer)]


def _pad(
    states: Float[Tensor, "row head pos d_head"], left: int = 0, right: int = 0
) -> Float[Tensor, "row head more d_head"]:
    return torch.nn.functional.pad(states, (0, 0, left, right))
