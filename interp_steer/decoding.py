"""The decoding loop: rows are admitted, stepped and released until every one has its answer.

The loop counts the steps and tells them to the clock, so that no hook has to guess from the shape
of a tensor where it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_steer.batches import longest_first
from interp_steer.hooked import HookedLM, Hooks, PaddedBatch
from interp_steer.kv_cache import RowCache
from interp_steer.memory import fewer, is_out_of_memory
from interp_steer.passes import Forward, Through, forward_under
from interp_steer.positions import Clock

REFILL_AT = 0.75
"""Waiting rows are admitted when no more than this share of the batch is still decoding: each
admission is a pass of its own and copies the cache."""


@dataclass
class Answer:
    """What one row has generated so far."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = "length"


Chooser: TypeAlias = Callable[
    [Float[Tensor, "active vocabulary"], Int[Tensor, " active"], Int[Tensor, " active"]],
    Int[Tensor, " active"],
]
"""Chooses a token for each active row from its logits, its number, and how many tokens it has."""


Settled: TypeAlias = Callable[[int, str], bool]
"""Of a row's number and what it has said so far: whether the rest can be done without."""

SETTLED_EVERY = 4
"""Every so many tokens an answer is asked whether it is settled: its text has to be decoded."""


def of_rows(settled: Settled, rows: Sequence[int], place: int, said: str) -> bool:
    """An early verdict on some of the rows, which are told by their place among these."""
    return settled(rows[place], said)


@dataclass(frozen=True)
class StopRule:
    """When an answer ends, and what of it is its text; the same whatever the steering."""

    model: HookedLM
    max_new_tokens: int
    settled: Settled | None = None

    @cached_property
    def _tail(self) -> int:
        # Every token of text holds a byte or more of it, while special tokens decode to nothing:
        # hence more tokens than the longest string has bytes.
        return 8 + max((2 * len(text.encode()) for text in self.model.stop_strings), default=0)

    def ended(self, row: int, answer: Answer) -> bool:
        """Whether an answer has its last token; if so, its text and why it ended are written."""
        if self._stops(answer.tokens):
            stopped = answer.tokens[-1] in self.model.stop_ids
            text = self.model.decode(answer.tokens[:-1] if stopped else answer.tokens)
            cuts = [text.find(string) for string in self.model.stop_strings if string in text]
            answer.text = text[: min(cuts)] if cuts else text
            answer.finish_reason = "stop" if stopped or cuts else "length"
            return True
        said = len(answer.tokens)
        if self.settled is None or (said > 1 and said % SETTLED_EVERY):
            return False
        text = self._certain(self.model.decode(answer.tokens))
        if not self.settled(row, text):
            return False
        answer.text, answer.finish_reason = text, "settled"
        return True

    def _stops(self, tokens: list[int]) -> bool:
        if tokens[-1] in self.model.stop_ids or len(tokens) >= self.max_new_tokens:
            return True
        if not self.model.stop_strings:
            return False
        text = self.model.decode(tokens[-self._tail :])
        return any(string in text for string in self.model.stop_strings)

    def _certain(self, text: str) -> str:
        """What of an unfinished text will stand: no half character, no beginning of a stop."""
        text = text.rstrip("\ufffd")
        begun = [
            length
            for string in self.model.stop_strings
            for length in range(1, len(string))
            if text.endswith(string[:length])
        ]
        return text[: len(text) - max(begun, default=0)]


def greedy(
    logits: Float[Tensor, "active vocabulary"],
    rows: Int[Tensor, " active"],
    steps: Int[Tensor, " active"],
) -> Int[Tensor, " active"]:
    """The likeliest token of each row."""
    return logits.argmax(-1)


def decode(
    model: HookedLM,
    prompts: list[list[int]],
    stop: StopRule,
    *,
    choose: Chooser = greedy,
    hooks: Hooks | None = None,
    clock: Clock | None = None,
    batch_size: int,
    use_cache: bool = True,
    through: Through | None = None,
    on_finished: Callable[[int, Answer], object],
) -> list[Answer]:
    """Decode every row to its end.

    Args:
        model: the model.
        prompts: the token ids of each row.
        stop: ends answers.
        choose: chooses tokens.
        hooks: what acts on the model meanwhile, if anything does.
        clock: the clock that the hooks read.
        batch_size: how many rows are decoded at once, fewer once they do not fit in memory.
        use_cache: False runs whole rows again at every step.
        through: what runs the passes; see :func:`interp_steer.passes.forward_under`.
        on_finished: called for each row as it ends, with its number and its answer.

    Returns:
        The answers in the order of the rows.

    Raises:
        OutOfMemory: when a single row does not fit.
    """
    answers = [Answer() for _ in prompts]
    waiting = deque(longest_first([len(prompt) for prompt in prompts]))
    with torch.inference_mode(), forward_under(model, hooks or [], through) as forward:
        empty = partial(
            _Cached if use_cache else _Uncached, model, prompts, forward, clock or Clock()
        )
        batch = empty()
        while waiting or batch.rows:
            admitted: list[int] = []
            if waiting and len(batch.rows) <= REFILL_AT * batch_size:
                free = min(batch_size - len(batch.rows), len(waiting))
                admitted = [waiting.popleft() for _ in range(free)]
            logits = _in_memory(batch, admitted, answers)
            if logits is None:
                # What the cache holds may be half a step: all rows are admitted anew, with the
                # tokens that they have.
                rows = list(dict.fromkeys([*batch.rows, *admitted]))
                waiting.extendleft(reversed(rows))
                batch, batch_size = empty(), fewer(len(rows), model.device)
                continue
            fresh = batch.rows[-len(logits) :]
            steps = torch.tensor([len(answers[row].tokens) for row in fresh])
            chosen = choose(logits, torch.tensor(fresh), steps).tolist()
            for row, token in zip(fresh, chosen, strict=True):
                answers[row].tokens.append(token)
            ended = [row for row in fresh if stop.ended(row, answers[row])]
            for row in ended:
                on_finished(row, answers[row])
            batch.release(ended)
    return answers


def _in_memory(
    batch: _Uncached, admitted: list[int], answers: list[Answer]
) -> Float[Tensor, "row vocabulary"] | None:
    """The logits of the rows that are admitted, or of a step where none are; None without room."""
    try:
        return batch.admit(admitted, answers) if admitted else batch.step(answers)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


class _Uncached:
    """The rows that are being decoded, run whole at every step: slow, and hard to get wrong."""

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
        self, batch: PaddedBatch, cache: RowCache | None
    ) -> Float[Tensor, "row vocabulary"]:
        logits = self._forward(batch, cache, 1)
        assert logits is not None
        return logits[:, -1]

    def release(self, ended: Iterable[int]) -> None:
        """Let rows go."""
        gone = set(ended)
        self.rows = [row for row in self.rows if row not in gone]


class _Cached(_Uncached):
    """The rows that are being decoded with a cache, which rows leave and join."""

    def __init__(
        self, model: HookedLM, prompts: list[list[int]], forward: Forward, clock: Clock
    ) -> None:
        super().__init__(model, prompts, forward, clock)
        self._cache = RowCache()
        self._mask: Bool[Tensor, "row pos"] = torch.zeros(0, 0, dtype=torch.bool)

    def admit(self, rows: list[int], answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        batch, cache = self._begin(rows, answers), RowCache()
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
