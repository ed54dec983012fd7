"""A key-value cache whose rows come and go, and which a step lengthens without copying it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

SPARE = 64
"""Columns set aside at a time; a step fills one."""


@runtime_checkable
class DecodingCache(Protocol):
    """A cache for a batch that rows leave and join while it is decoded; each kind of model has its
    own, and takes no other."""

    def keep(self, rows: Int[Tensor, " kept"], first: int = 0) -> None:
        """Keep these rows, by their places, and drop the columns before ``first``."""
        ...

    def join(self, other: Any) -> None:
        """Append the rows of another cache of the same model."""
        ...


class RowLayer(DynamicLayer):
    """The keys and values of one layer, in buffers with spare columns on the right.

    ``keys`` and ``values`` are views of what is filled, as Transformers reads them. Rows are padded
    on the left, where the attention mask hides them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append columns; return all keys and values, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used, more = self.get_seq_length(), key_states.shape[-2]
        if self._room is None or used + more > self._room[0].shape[-2]:
            keys, values = self.filled if used else (key_states[:, :, :0], value_states[:, :, :0])
            room = _padded(keys, right=more + SPARE), _padded(values, right=more + SPARE)
        else:
            room = self._room
        for buffer, states in zip(room, (key_states, value_states), strict=True):
            buffer[:, :, used : used + more] = states
        self._set_aside(*room, used + more)
        return self.filled

    @property
    def filled(self) -> tuple[Tensor, Tensor]:
        """The keys and the values."""
        assert self.keys is not None and self.values is not None
        return self.keys, self.values

    def keep(self, rows: Int[Tensor, " kept"], first: int) -> None:
        """Keep these rows, and of their columns those from ``first`` on."""
        assert self._room is not None
        width = self.get_seq_length() - first
        keys, values = self._room
        rows = rows.to(keys.device)  # the layers of one model may lie on several
        self._set_aside(keys[rows, :, first:], values[rows, :, first:], width)

    def join(self, other: RowLayer) -> None:
        """Append another cache's rows; the narrower of the two is padded on the left."""
        width = max(self.get_seq_length(), other.get_seq_length())

        def joined(mine: Tensor, theirs: Tensor) -> Tensor:
            both = [_padded(one, left=width - one.shape[-2]) for one in (mine, theirs)]
            return _padded(torch.cat(both), right=SPARE)

        (keys, values), (their_keys, their_values) = self.filled, other.filled
        self._set_aside(joined(keys, their_keys), joined(values, their_values), width)

    def _set_aside(self, keys: Tensor, values: Tensor, width: int) -> None:
        self._room = (keys, values)
        self.keys, self.values = keys[:, :, :width], values[:, :, :width]


class RowCache(Cache):
    """A cache for a batch that rows leave and join while it is decoded.

    Every layer keeps every column, also where attention slides over a window: the mask hides what
    lies outside of it, and rows may then begin at different columns.
    """

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RowLayer)

    def keep(self, rows: Int[Tensor, " kept"], first: int = 0) -> None:
        """Keep these rows, by their places, and drop the columns before ``first``."""
        for layer in self._row_layers:
            layer.keep(rows, first)

    def join(self, other: RowCache) -> None:
        """Append the rows of another cache of the same model."""
        for mine, theirs in zip(self._row_layers, other._row_layers, strict=True):
            mine.join(theirs)

    @property
    def filled(self) -> list[tuple[Tensor, Tensor]]:
        """The keys and the values of every layer."""
        return [layer.filled for layer in self._row_layers]

    @property
    def _row_layers(self) -> list[RowLayer]:
        return [layer for layer in self.layers if isinstance(layer, RowLayer)]


def _padded(
    states: Float[Tensor, "row head pos d_head"], left: int = 0, right: int = 0
) -> Float[Tensor, "row head more d_head"]:
    return torch.nn.functional.pad(states, (0, 0, left, right))
