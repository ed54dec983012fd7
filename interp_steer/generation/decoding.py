"""The decoding loop: rows are admitted, stepped and released until every one has its answer.

The loop counts the steps and tells them to the clock, so that no hook has to guess from the shape
of a tensor where it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_steer.generation.row_batches import Answer, Batch, Cached, Uncached
from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import fewer, is_out_of_memory, longest_first
from interp_steer.models.forward import Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks

REFILL_AT = 0.75
"""Waiting rows are admitted when no more than this share of the batch is still decoding: each
admission is a pass of its own and copies the cache."""

Chooser: TypeAlias = Callable[
    [Float[Tensor, "active vocabulary"], Int[Tensor, " active"], Int[Tensor, " active"]],
    Int[Tensor, " active"],
]
"""Chooses a token for each active row from its logits, its number, and how many tokens it has."""

HooksFor: TypeAlias = Callable[[Clock], Hooks]
"""Makes the hooks under which rows are decoded, given the clock that they are to read."""

Batches: TypeAlias = AbstractContextManager[Callable[[int], Batch]]
"""Says how rows are run: while it is entered, it makes an empty batch, of whatever size."""

EarlyStop: TypeAlias = Callable[[int, str], bool]
"""Of a row's number and what it has said so far: whether the rest can be done without."""

OnToken: TypeAlias = Callable[[int, int], object]
"""Is told the number of a row and a token of its answer, as soon as it is chosen."""

SETTLED_EVERY = 4
"""Every so many tokens an answer is asked whether it is settled: its text has to be decoded."""


def of_rows(settled: EarlyStop, rows: Sequence[int], place: int, said: str) -> bool:
    """An early verdict on some of the rows, which are told by their place among these."""
    return settled(rows[place], said)


@dataclass(frozen=True)
class StopRule:
    """When an answer ends, and what of it is its text; the same whatever the steering."""

    model: HookedLM
    max_new_tokens: int
    settled: EarlyStop | None = None

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
    batches: Batches,
    choose: Chooser = greedy,
    batch_size: int,
    on_finished: Callable[[int, Answer], object],
    on_token: OnToken | None = None,
) -> list[Answer]:
    """Decode every row to its end.

    Args:
        model: the model.
        prompts: the token ids of each row.
        stop: ends answers.
        batches: how rows are run, such as :func:`rows_under`.
        choose: chooses tokens.
        batch_size: how many rows are decoded at once, fewer once they do not fit in memory.
        on_finished: called for each row as it ends, with its number and its answer.
        on_token: called for each token as it is chosen; what it raises ends the decoding.

    Returns:
        The answers in the order of the rows.

    Raises:
        OutOfMemory: when a single row does not fit.
    """
    answers = [Answer() for _ in prompts]
    waiting = deque(longest_first([len(prompt) for prompt in prompts]))
    with torch.inference_mode(), batches as empty:
        batch = empty(batch_size)
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
                batch_size = fewer(len(rows), model.device)
                batch = empty(batch_size)
                continue
            fresh = batch.rows[-len(logits) :]
            steps = torch.tensor([len(answers[row].tokens) for row in fresh])
            chosen = choose(logits, torch.tensor(fresh), steps).tolist()
            for row, token in zip(fresh, chosen, strict=True):
                answers[row].tokens.append(token)
                if on_token is not None:
                    on_token(row, token)
            ended = [row for row in fresh if stop.ended(row, answers[row])]
            for row in ended:
                on_finished(row, answers[row])
            batch.release(ended)
    return answers


@contextmanager
def rows_under(
    model: HookedLM,
    prompts: list[list[int]],
    hooks: HooksFor,
    through: Through | None = None,
    kind: type[Uncached] = Cached,
) -> Iterator[Callable[[int], Uncached]]:
    """Rows run by a model under hooks.

    Args:
        model: the model.
        prompts: the token ids of all rows that are to be decoded.
        hooks: makes the hooks, given the clock to read.
        through: what runs the passes; see :func:`interp_steer.models.forward.forward_under`.
        kind: with a cache, or whole at every step.
    """
    clock = Clock()
    with forward_under(model, hooks(clock), through) as forward:
        yield lambda size: kind(model, prompts, forward, clock)


def _in_memory(
    batch: Batch, admitted: list[int], answers: list[Answer]
) -> Float[Tensor, "row vocabulary"] | None:
    """The logits of the rows that are admitted, or of a step where none are; None without room."""
    try:
        return batch.admit(admitted, answers) if admitted else batch.step(answers)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
