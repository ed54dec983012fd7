"""Decoding in slots: a batch that keeps its shape, so that the pass over it can be compiled.

Rows are admitted by an ordinary pass over their prompts, whose keys and values fill their slots of
a cache of fixed size. A step then runs every slot, free ones idly, by one compiled graph, to which
the edits of the rows are data. All slots write the same column of the cache at a step; when the
last one is full, columns that no row needs any longer are shifted out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import StaticLayer

from interp_steer.errors import GenerationError
from interp_steer.generation.row_batches import Answer, Uncached
from interp_steer.interventions.hooks import SiteHook
from interp_steer.interventions.positions import Clock, SlotClock
from interp_steer.models.forward import Forward, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.kv_cache import RowCache

SPARE = 64
"""Columns beyond what the longest row takes; the more, the seldomer columns are shifted."""


class SlotCache(Cache):
    """Keys and values of fixed size. Every layer keeps every column; the mask says which count.

    Args:
        slots: how many rows it has room for.
        columns: how many tokens each.
        like: a cache of the same model, for the shape of a token's keys and values.
    """

    def __init__(self, slots: int, columns: int, like: RowCache) -> None:
        self._slots = [StaticLayer(columns) for _ in like.filled]
        super().__init__(layers=[*self._slots])
        for layer, states in zip(self._slots, like.filled, strict=True):
            keys, values = (each[:1].expand(slots, -1, -1, -1) for each in states)
            layer.lazy_initialization(keys, values)

    def put(self, slots: Int[Tensor, " row"], rows: RowCache, end: int) -> None:
        """Let rows take slots, with their last tokens in the column before ``end``."""
        for layer, states in zip(self._slots, rows.filled, strict=True):
            for held, given in zip((layer.keys, layer.values), states, strict=True):
                assert held is not None
                held[slots, :, end - given.shape[2] : end] = given

    def shift(self, by: int) -> None:
        """Move all columns to the right, around the end."""
        for layer in self._slots:
            for held in (layer.keys, layer.values):
                assert held is not None
                held.copy_(held.roll(by, dims=2))

    def write_at(self, column: int) -> None:
        """Let the next step write this column."""
        for layer in self._slots:
            layer.cumulative_length.fill_(column)


class Slots(Uncached):
    """The rows that are being decoded, each in a slot of its own.

    Args:
        model: pads prompts.
        prompts: the token ids of all rows.
        forward: runs the passes over prompts.
        clock: is told of these.
        plain: runs the steps, under ``hooks``.
        steps: the clock that these hooks read; it says how many slots there are.
        hooks: act on the steps.
        columns: of the cache; more than the longest row ever takes.
    """

    def __init__(
        self,
        model: HookedLM,
        prompts: list[list[int]],
        forward: Forward,
        clock: Clock,
        *,
        plain: PreTrainedModel,
        steps: SlotClock,
        hooks: Sequence[SiteHook],
        columns: int,
    ) -> None:
        super().__init__(model, prompts, forward, clock)
        self._steps, self._hooks = steps, hooks
        self._free = list(range(len(steps.rows)))
        self._slots: list[int] = []  # of each row
        shape = len(steps.rows), columns
        self._mask: Bool[Tensor, "slot column"] = torch.zeros(
            shape, dtype=torch.bool, device=model.device
        )
        self._column = 0  # the next to be written
        self._cache: SlotCache | None = None
        self._pass = _compiled(plain)

    def admit(self, rows: list[int], answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        batch, cache = self._begin(rows, answers), RowCache()
        logits = self._last_logits(batch, cache)
        width = batch.mask.shape[1]
        if self._cache is None:
            self._cache = SlotCache(*self._mask.shape, like=cache)
        if width > self._column:
            self._shift(width - self._column)
        taken = [self._free.pop() for _ in rows]
        slots = torch.tensor(taken, device=self._mask.device)
        self._cache.put(slots, cache, self._column)
        self._mask[slots] = False
        self._mask[slots, self._column - width : self._column] = batch.mask
        self._steps.seat(
            slots, self._clock.rows, self._clock.index[:, -1:], self._clock.step[:, -1:]
        )
        self.rows, self._slots = self.rows + rows, self._slots + taken
        return logits

    def step(self, answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        assert self._cache is not None
        if self._column == self._mask.shape[1]:
            self._shift(-int(self._mask[self._slots].any(0).long().argmax()))
        tokens = torch.full((len(self._mask), 1), self._model.pad_id)
        for slot, row in zip(self._slots, self.rows, strict=True):
            tokens[slot, 0] = answers[row].tokens[-1]
        self._mask[:, self._column] = True
        self._steps.tick()
        for hook in self._hooks:
            hook.prepare(self._mask.device)
        self._cache.write_at(self._column)
        logits = self._pass(
            tokens.to(self._mask.device), self._mask, self._steps.index.clamp(min=0), self._cache
        )
        self._column += 1
        return logits[self._slots]

    def release(self, ended: Iterable[int]) -> None:
        gone = set(ended)
        self._free += [
            slot for slot, row in zip(self._slots, self.rows, strict=True) if row in gone
        ]
        self._slots = [
            slot for slot, row in zip(self._slots, self.rows, strict=True) if row not in gone
        ]
        super().release(gone)

    def _shift(self, by: int) -> None:
        assert self._cache is not None
        self._cache.shift(by)
        self._mask = self._mask.roll(by, dims=1)
        self._column += by
        self._mask[:, self._column :] = False  # what free slots held has come around the end


StepPass = Callable[[Tensor, Tensor, Tensor, Cache], Tensor]


def _compiled(plain: PreTrainedModel) -> StepPass:
    """The pass over one token of each slot, from tokens, mask, positions and cache to logits."""

    def step(
        tokens: Int[Tensor, "slot 1"],
        mask: Bool[Tensor, "slot column"],
        positions: Int[Tensor, "slot 1"],
        cache: Cache,
    ) -> Float[Tensor, "slot vocabulary"]:
        held = plain(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return held.logits[:, -1]

    return torch.compile(  # pyright: ignore[reportCallIssue]  # its overloads lag behind
        step,
        fullgraph=True,
        dynamic=False,
        mode="reduce-overhead" if plain.device.type == "cuda" else None,
        # Hooks are not among what compiled code is guarded by: it must not serve another call.
        isolate_recompiles=True,
    )


@contextmanager
def slots_of(
    model: HookedLM, prompts: list[list[int]], hooks: Callable[[Clock], Hooks], max_new_tokens: int
) -> Iterator[Callable[[int], Slots]]:
    """What makes an empty batch of so many slots.

    Args:
        model: the model.
        prompts: the token ids of all rows that are to be decoded.
        hooks: makes the hooks under which they are, given the clock to read.
        max_new_tokens: the most tokens of an answer.

    Raises:
        GenerationError: when PyTorch is too old to keep compiled passes apart.
    """
    if "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
        raise GenerationError(
            f"compiled=True needs PyTorch 2.13 or later, this is {torch.__version__}; "
            "update it, or decode without"
        )
    own = model.with_own_twin()  # before hooks are put on the one that it is a copy of
    columns = max(map(len, prompts)) + max_new_tokens + SPARE
    clock = Clock()
    with forward_under(model, hooks(clock), "plain") as forward, ExitStack() as stack:

        def empty(size: int) -> Slots:
            stack.close()  # the hooks of a batch that did not fit in memory
            steps = SlotClock(size, model.device)
            given = hooks(steps)
            plain = stack.enter_context(own.steered_plain(given))
            edits = [hook for _, hook in given if isinstance(hook, SiteHook)]
            return Slots(
                model,
                prompts,
                forward,
                clock,
                plain=plain,
                steps=steps,
                hooks=edits,
                columns=columns,
            )

        yield empty
