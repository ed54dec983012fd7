"""Run the rows of a batch together: the whole rows at every step, or only the new tokens.

A *row* is a prompt with the tokens generated after it. Rows have numbers, which index the list of
all prompts of the call; a batch holds some of them. The decoding loop
(:mod:`interp_steer.generation.decoding`) talks to a batch in three ways: it *admits* rows (runs
their prompts), *steps* all rows that are in the batch (one more token each), and *releases* rows
whose answers have ended. Rows are padded on the left, so that the last column of a batch always
holds the newest token of every row.

:class:`Uncached` runs whole rows at every step. :class:`Cached` keeps the keys and values of the
columns that were run: admitted rows are run on their own and appended to the cache, released rows
are dropped from it, together with the columns in which only released rows had tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.forward import Forward
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.kv_cache import DecodingCache


@runtime_checkable
class Batch(Protocol):
    """Rows that are decoded together.

    ``generated`` holds the tokens that every row of the call has so far, by the number of the row.
    """

    @property
    def rows(self) -> list[int]:
        """Return the numbers of the rows in the batch."""
        ...

    def admit(self, rows: list[int], generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Take rows in; return the logits of their next tokens, or of those of all rows."""
        ...

    def step(self, generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Return the logits of the next token of every row."""
        ...

    def release(self, ended: Iterable[int]) -> None:
        """Remove rows."""
        ...


class Uncached:
    """A batch that is run whole at every step: slow, and a reference for the cache.

    Args:
        model: pads rows.
        prompts: the token ids of all prompts.
        forward: runs a forward pass.
        clock: is informed of every pass before it runs.
    """

    def __init__(
        self, model: HookedLM, prompts: list[list[int]], forward: Forward, clock: Clock
    ) -> None:
        self.rows: list[int] = []
        self._model, self._prompts, self._forward, self._clock = model, prompts, forward, clock

    def admit(self, rows: list[int], generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Take rows in; return the logits of the next tokens of all rows."""
        self.rows += rows
        return self.step(generated)

    def step(self, generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Return the logits of the next token of every row."""
        return self._last_logits(self._begin(self.rows, generated), None)

    def _begin(self, rows: list[int], generated: list[list[int]]) -> PaddedBatch:
        """Start a pass over whole rows at the clock; return the padded tokens."""
        batch = self._model.pad([self._prompts[row] + generated[row] for row in rows])
        lengths = torch.tensor([len(self._prompts[row]) for row in rows])
        self._clock.begin(batch.mask, lengths, torch.tensor(rows))
        return batch

    def _last_logits(
        self, batch: PaddedBatch, cache: DecodingCache | None
    ) -> Float[Tensor, "row vocabulary"]:
        logits = self._forward(batch, cache, 1)
        assert logits is not None
        return logits[:, -1]

    def release(self, ended: Iterable[int]) -> None:
        """Remove rows."""
        ended_rows = set(ended)
        self.rows = [row for row in self.rows if row not in ended_rows]


class Cached(Uncached):
    """A batch with a key-value cache, which rows join when admitted and leave when released."""

    def __init__(
        self, model: HookedLM, prompts: list[list[int]], forward: Forward, clock: Clock
    ) -> None:
        super().__init__(model, prompts, forward, clock)
        self._cache = model.wrapped.new_cache()
        self._mask: Bool[Tensor, "row pos"] = torch.zeros(0, 0, dtype=torch.bool)

    def admit(self, rows: list[int], generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Run rows on their own and append them; return the logits of their next tokens."""
        batch, cache = self._begin(rows, generated), self._model.wrapped.new_cache()
        logits = self._last_logits(batch, cache)
        if self.rows:
            self._clock.join()
            self._cache.join(cache)
            width = max(self._mask.shape[1], batch.mask.shape[1])
            self._mask = torch.cat([_pad_left(mask, width) for mask in (self._mask, batch.mask)])
        else:
            self._cache, self._mask = cache, batch.mask
        self.rows = self.rows + rows
        return logits

    def step(self, generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Run the newest token of every row; return the logits of the next."""
        last = [generated[row][-1] for row in self.rows]
        tokens = torch.tensor(last, device=self._mask.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(tokens, dtype=torch.bool)], dim=1)
        self._clock.tick()
        return self._last_logits(PaddedBatch(tokens, self._mask), self._cache)

    def release(self, ended: Iterable[int]) -> None:
        """Remove rows, and the columns in which only removed rows had tokens."""
        ended_rows = set(ended)
        if not ended_rows:
            return
        places = [place for place, row in enumerate(self.rows) if row not in ended_rows]
        super().release(ended_rows)
        if not places:
            return
        remaining = torch.tensor(places, device=self._mask.device)
        self._clock.keep(remaining)
        self._mask = self._mask[remaining]
        first_column = int(self._mask.any(0).long().argmax())
        self._mask = self._mask[:, first_column:]
        self._cache.keep(remaining, first_column)


def _pad_left(mask: Bool[Tensor, "row pos"], width: int) -> Bool[Tensor, "row width"]:
    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))
