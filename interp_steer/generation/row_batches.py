"""The rows that are being decoded: whole ones, or ones with a cache, which they leave and join."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.forward import Forward
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.kv_cache import DecodingCache


@dataclass
class Answer:
    """What one row has generated so far."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = "length"


@runtime_checkable
class Batch(Protocol):
    """Rows that are being decoded: they are taken in, stepped, and let go."""

    @property
    def rows(self) -> list[int]: ...

    def admit(self, rows: list[int], answers: list[Answer]) -> Float[Tensor, "row vocabulary"]: ...

    def step(self, answers: list[Answer]) -> Float[Tensor, "row vocabulary"]: ...

    def release(self, ended: Iterable[int]) -> None: ...


class Uncached:
    """The rows that are being decoded, run whole at every step: slow, and hard to get wrong.

    Args:
        model: pads prompts.
        prompts: the token ids of all rows.
        forward: runs a pass.
        clock: is told of every pass before it runs.
    """

    def __init__(
        self, model: HookedLM, prompts: list[list[int]], forward: Forward, clock: Clock
    ) -> None:
        self.rows: list[int] = []
        self._model, self._prompts, self._forward, self._clock = model, prompts, forward, clock

    def admit(self, rows: list[int], answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        """Take rows in; return the logits of their first tokens, or those of every row's next."""
        self.rows += rows
        return self.step(answers)

    def step(self, answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        """Return the logits of every row's next token."""
        return self._last_logits(self._begin(self.rows, answers), None)

    def _begin(self, rows: list[int], answers: list[Answer]) -> PaddedBatch:
        """Announce a pass over the prompts of rows and what they have said so far."""
        batch = self._model.pad([self._prompts[row] + answers[row].tokens for row in rows])
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
        """Let rows go."""
        gone = set(ended)
        self.rows = [row for row in self.rows if row not in gone]


class Cached(Uncached):
    """The rows that are being decoded with a cache, which rows leave and join."""

    def __init__(
        self, model: HookedLM, prompts: list[list[int]], forward: Forward, clock: Clock
    ) -> None:
        super().__init__(model, prompts, forward, clock)
        self._cache = model.wrapped.new_cache()
        self._mask: Bool[Tensor, "row pos"] = torch.zeros(0, 0, dtype=torch.bool)

    def admit(self, rows: list[int], answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        batch, cache = self._begin(rows, answers), self._model.wrapped.new_cache()
        logits = self._last_logits(batch, cache)
        if self.rows:
            self._clock.join()
            self._cache.join(cache)
            width = max(self._mask.shape[1], batch.mask.shape[1])
            self._mask = torch.cat([_widened(mask, width) for mask in (self._mask, batch.mask)])
        else:
            self._cache, self._mask = cache, batch.mask
        self.rows = self.rows + rows
        return logits

    def step(self, answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        last = [answers[row].tokens[-1] for row in self.rows]
        tokens = torch.tensor(last, device=self._mask.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(tokens, dtype=torch.bool)], dim=1)
        self._clock.tick()
        return self._last_logits(PaddedBatch(tokens, self._mask), self._cache)

    def release(self, ended: Iterable[int]) -> None:
        gone = set(ended)
        if not gone:
            return
        places = [place for place, row in enumerate(self.rows) if row not in gone]
        super().release(gone)
        if not places:
            return
        kept = torch.tensor(places, device=self._mask.device)
        self._clock.keep(kept)
        self._mask = self._mask[kept]
        # Columns in which only those who left had tokens go with them.
        first = int(self._mask.any(0).long().argmax())
        self._mask = self._mask[:, first:]
        self._cache.keep(kept, first)


def _widened(mask: Bool[Tensor, "row pos"], width: int) -> Bool[Tensor, "row width"]:
    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))
