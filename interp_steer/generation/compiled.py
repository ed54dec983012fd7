"""Decode in slots: a batch of constant shape, so that its forward pass can be compiled.

``torch.compile`` makes a fast graph for tensors of fixed shapes. An ordinary batch changes its
shape whenever a row joins or leaves it, and whenever its cache grows. This batch does not:

- It has a fixed number of *slots*. A row takes a free slot when it is admitted and frees the slot
  when its answer ends; free slots are run too, and their results are ignored.
- Its cache has a fixed number of *columns*, one for each token of a slot. A mask says which columns
  of a slot hold tokens of its row.

An admitted row is run by an ordinary pass over its prompt. The keys and values of that pass are
copied into the slot so that the last token of the prompt stands in the last written column, which
is the same for all slots. Each step then writes the next column, in all slots at once. When all
columns are written, the columns that no row needs any more are moved to the end, where they are
written again (:meth:`Slots._shift`). The interventions of the rows are tensors that the graph reads
(:class:`~interp_steer.interventions.positions.SlotClock`), so that rows come and go without another
compilation.
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
from interp_steer.generation.row_batches import Uncached
from interp_steer.interventions.hooks import SiteHook
from interp_steer.interventions.positions import Clock, SlotClock
from interp_steer.models.forward import Forward, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.kv_cache import RowCache

COLUMNS_TO_SPARE = 64
"""Columns beyond the tokens of the longest row; with more columns they are shifted less often."""


class SlotCache(Cache):
    """Keys and values of fixed size; the mask says which columns hold tokens.

    Args:
        slots: the number of rows.
        columns: the number of tokens of each row.
        like: a cache of the same model, for the shape of the keys and values of a token.
    """

    def __init__(self, slots: int, columns: int, like: RowCache) -> None:
        self._slots = [StaticLayer(columns) for _ in like.filled]
        super().__init__(layers=[*self._slots])
        for layer, states in zip(self._slots, like.filled, strict=True):
            keys, values = (tensor[:1].expand(slots, -1, -1, -1) for tensor in states)
            layer.lazy_initialization(keys, values)

    def put(self, slots: Int[Tensor, " row"], rows: RowCache, end: int) -> None:
        """Copy rows into slots, with their last tokens in the column before ``end``."""
        for layer, states in zip(self._slots, rows.filled, strict=True):
            for stored, given in zip((layer.keys, layer.values), states, strict=True):
                assert stored is not None
                stored[slots, :, end - given.shape[2] : end] = given

    def shift(self, by: int) -> None:
        """Move all columns to the right; the last columns become the first."""
        for layer in self._slots:
            for stored in (layer.keys, layer.values):
                assert stored is not None
                stored.copy_(stored.roll(by, dims=2))

    def write_at(self, column: int) -> None:
        """Make the next step write this column."""
        for layer in self._slots:
            layer.cumulative_length.fill_(column)


class Slots(Uncached):
    """A batch in which each row has a slot.

    Args:
        model: pads prompts.
        prompts: the token ids of all rows.
        forward: runs the passes over prompts.
        clock: is informed of the passes over prompts.
        plain: runs the steps, under ``hooks``.
        steps: the clock of the steps, which ``hooks`` read; it has an entry for every slot.
        hooks: the edits of the steps.
        columns: of the cache; more than the longest row ever needs.
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
        self._slots: list[int] = []  # the slot of each row in self.rows
        shape = len(steps.rows), columns
        self._mask: Bool[Tensor, "slot column"] = torch.zeros(
            shape, dtype=torch.bool, device=model.device
        )
        self._column = 0  # the column that is written next
        self._cache: SlotCache | None = None
        self._pass = _compile_step(plain)

    def admit(self, rows: list[int], generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Run rows by an ordinary pass and put them into slots; return their next logits."""
        batch, cache = self._begin(rows, generated), RowCache()
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

    def step(self, generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Run the newest token of every slot; return the logits of the next token of every row."""
        assert self._cache is not None
        if self._column == self._mask.shape[1]:
            self._shift(-int(self._mask[self._slots].any(0).long().argmax()))
        tokens = torch.full((len(self._mask), 1), self._model.pad_id)
        for slot, row in zip(self._slots, self.rows, strict=True):
            tokens[slot, 0] = generated[row][-1]
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
        """Free the slots of rows."""
        ended_rows = set(ended)
        self._free += [
            slot for slot, row in zip(self._slots, self.rows, strict=True) if row in ended_rows
        ]
        self._slots = [
            slot for slot, row in zip(self._slots, self.rows, strict=True) if row not in ended_rows
        ]
        super().release(ended_rows)

    def _shift(self, by: int) -> None:
        """Move all columns to the right, or to the left when ``by`` is negative."""
        assert self._cache is not None
        self._cache.shift(by)
        self._mask = self._mask.roll(by, dims=1)
        self._column += by
        self._mask[:, self._column :] = False  # the tokens of free slots, moved around the end


StepPass = Callable[[Tensor, Tensor, Tensor, Cache], Tensor]


def _compile_step(plain: PreTrainedModel) -> StepPass:
    """Compile the pass over a token of each slot: from tokens, mask, positions, cache to logits."""

    def step(
        tokens: Int[Tensor, "slot 1"],
        mask: Bool[Tensor, "slot column"],
        positions: Int[Tensor, "slot 1"],
        cache: Cache,
    ) -> Float[Tensor, "slot vocabulary"]:
        output = plain(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    return torch.compile(  # pyright: ignore[reportCallIssue]  # its overloads lag behind
        step,
        fullgraph=True,
        dynamic=False,
        mode="reduce-overhead" if plain.device.type == "cuda" else None,
        # torch.compile does not guard on registered hooks, so code compiled for one set of
        # interventions would be reused for another. Every call gets its own compilation cache.
        isolate_recompiles=True,
    )


@contextmanager
def open_slot_batches(
    model: HookedLM, prompts: list[list[int]], hooks: Callable[[Clock], Hooks], max_new_tokens: int
) -> Iterator[Callable[[int], Slots]]:
    """Run rows in slots, by a compiled pass, while the context lasts.

    Args:
        model: the model.
        prompts: the token ids of all rows that are to be decoded.
        hooks: makes the hooks from the clock that they read.
        max_new_tokens: the most tokens of an answer.

    Yields:
        A function from a number of slots to an empty batch.

    Raises:
        GenerationError: when PyTorch is too old to keep compiled passes apart.
    """
    if "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
        raise GenerationError(
            f"compiled=True needs PyTorch 2.13 or later, this is {torch.__version__}; "
            "update it, or decode without"
        )
    separate = model.with_own_twin()  # copied before the hooks for prompts are registered
    columns = max(map(len, prompts)) + max_new_tokens + COLUMNS_TO_SPARE
    clock = Clock()
    with forward_under(model, hooks(clock), "plain") as forward, ExitStack() as stack:

        def make_batch(size: int) -> Slots:
            stack.close()  # removes the hooks of an earlier batch that did not fit in memory
            steps = SlotClock(size, model.device)
            step_hooks = hooks(steps)
            plain = stack.enter_context(separate.steered_plain(step_hooks))
            edits = [hook for _, hook in step_hooks if isinstance(hook, SiteHook)]
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

        yield make_batch
