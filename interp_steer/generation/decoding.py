"""Run the decoding loop: admit rows, step them and release them until every answer has ended.

The loop counts the steps and announces them to the clock, so that hooks do not have to guess the
position of a token from the shape of a tensor.
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

from interp_steer.generation.request import Answer
from interp_steer.generation.row_batches import Batch, Cached, Uncached
from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import fewer, is_out_of_memory, longest_first
from interp_steer.models.forward import Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks

REFILL_AT = 0.75
"""Waiting rows are admitted when at most this share of the batch is still decoding: each admission
is a forward pass of its own and copies the cache."""

Chooser: TypeAlias = Callable[
    [Float[Tensor, "active vocabulary"], Int[Tensor, " active"], Int[Tensor, " active"]],
    Int[Tensor, " active"],
]
"""Chooses a token for each active row from its logits, its number, and its count of tokens."""

HooksFor: TypeAlias = Callable[[Clock], Hooks]
"""Makes the hooks under which rows are decoded; the hooks read the clock that is given."""

OpenBatches: TypeAlias = AbstractContextManager[Callable[[int], Batch]]
"""A context in which rows can be run. It yields a function that makes an empty batch of a size."""

EarlyStop: TypeAlias = Callable[[int, str], bool]
"""Receives a row's number and its text so far; returns whether the rest of the answer does not
matter."""

OnToken: TypeAlias = Callable[[int, int], object]
"""Receives the number of a row and a token of its answer, as soon as the token is chosen."""

EARLY_STOP_EVERY = 4
"""The number of tokens between two questions to an early stop, as each decodes the text."""


def ask_by_place(early_stop: EarlyStop, rows: Sequence[int], place: int, text: str) -> bool:
    """Ask an early stop about a row that is given by its place among some rows."""
    return early_stop(rows[place], text)


@dataclass(frozen=True)
class StopRule:
    """The rule that ends an answer and cuts its text; the same with and without steering.

    Args:
        model: has the stop tokens and stop strings.
        max_new_tokens: the most tokens of an answer.
        early_stop: ends answers whose rest does not matter; None for no answer.
    """

    model: HookedLM
    max_new_tokens: int
    early_stop: EarlyStop | None = None

    @cached_property
    def _tail(self) -> int:
        # Every token of text holds at least a byte of it, and special tokens decode to nothing:
        # so the tail has more tokens than the longest stop string has bytes.
        return 8 + max((2 * len(text.encode()) for text in self.model.stop_strings), default=0)

    def finish(self, row: int, tokens: list[int]) -> Answer | None:
        """Return the answer when these are all of its tokens, and None while it goes on.

        Args:
            row: the number of the row, for the early stop.
            tokens: the tokens of the answer so far, at least one.
        """
        if self._stops(tokens):
            stopped = tokens[-1] in self.model.stop_ids
            text = self.model.decode(tokens[:-1] if stopped else tokens)
            cuts = [text.find(string) for string in self.model.stop_strings if string in text]
            text = text[: min(cuts)] if cuts else text
            return Answer(text, tuple(tokens), "stop" if stopped or cuts else "length")
        n_tokens = len(tokens)
        if self.early_stop is None or (n_tokens > 1 and n_tokens % EARLY_STOP_EVERY):
            return None
        text = self._final_part(self.model.decode(tokens))
        return Answer(text, tuple(tokens), "settled") if self.early_stop(row, text) else None

    def _stops(self, tokens: list[int]) -> bool:
        if tokens[-1] in self.model.stop_ids or len(tokens) >= self.max_new_tokens:
            return True
        if not self.model.stop_strings:
            return False
        text = self.model.decode(tokens[-self._tail :])
        return any(string in text for string in self.model.stop_strings)

    def _final_part(self, text: str) -> str:
        """Cut the end of an unfinished text that may change: half a character, part of a stop."""
        text = text.rstrip("\ufffd")
        begun = [
            length
            for string in self.model.stop_strings
            for length in range(1, len(string))
            if text.endswith(string[:length])
        ]
        return text[: len(text) - max(begun, default=0)]


def choose_likeliest(
    logits: Float[Tensor, "active vocabulary"],
    rows: Int[Tensor, " active"],
    steps: Int[Tensor, " active"],
) -> Int[Tensor, " active"]:
    """Choose the likeliest token of each row (greedy decoding)."""
    return logits.argmax(-1)


def decode(
    model: HookedLM,
    prompts: list[list[int]],
    stop: StopRule,
    *,
    batches: OpenBatches,
    choose: Chooser = choose_likeliest,
    batch_size: int,
    on_finished: Callable[[int, Answer], object],
    on_token: OnToken | None = None,
) -> list[Answer]:
    """Decode every row to its end.

    Args:
        model: the model.
        prompts: the token ids of each row.
        stop: ends answers.
        batches: how rows are run, such as :func:`open_row_batches`.
        choose: chooses tokens.
        batch_size: the number of rows decoded together; fewer once they do not fit in memory.
        on_finished: receives the number and the answer of each row as it ends.
        on_token: receives each token as it is chosen; an error that it raises ends the decoding.

    Returns:
        The answers in the order of the rows.

    Raises:
        OutOfMemory: when a single row does not fit.
    """
    generated: list[list[int]] = [[] for _ in prompts]
    answers: dict[int, Answer] = {}
    waiting = deque(longest_first([len(prompt) for prompt in prompts]))
    with torch.inference_mode(), batches as make_batch:
        batch = make_batch(batch_size)
        while waiting or batch.rows:
            admitted: list[int] = []
            if waiting and len(batch.rows) <= REFILL_AT * batch_size:
                free = min(batch_size - len(batch.rows), len(waiting))
                admitted = [waiting.popleft() for _ in range(free)]
            logits = _run_if_it_fits(batch, admitted, generated)
            if logits is None:
                # The cache may hold half a step: all rows are admitted again, with the tokens
                # that they have.
                rows = list(dict.fromkeys([*batch.rows, *admitted]))
                waiting.extendleft(reversed(rows))
                batch_size = fewer(len(rows), model.device)
                batch = make_batch(batch_size)
                continue
            active = batch.rows[-len(logits) :]
            steps = torch.tensor([len(generated[row]) for row in active])
            chosen = choose(logits, torch.tensor(active), steps).tolist()
            for row, token in zip(active, chosen, strict=True):
                generated[row].append(token)
                if on_token is not None:
                    on_token(row, token)
            finished = {row: stop.finish(row, generated[row]) for row in active}
            ended = {row: answer for row, answer in finished.items() if answer is not None}
            for row, answer in ended.items():
                answers[row] = answer
                on_finished(row, answer)
            batch.release(ended)
    return [answers[row] for row in range(len(prompts))]


@contextmanager
def open_row_batches(
    model: HookedLM,
    prompts: list[list[int]],
    hooks: HooksFor,
    through: Through | None = None,
    kind: type[Uncached] = Cached,
) -> Iterator[Callable[[int], Uncached]]:
    """Run rows by a model under hooks, while the context lasts.

    Args:
        model: the model.
        prompts: the token ids of all rows that are to be decoded.
        hooks: makes the hooks from the clock that they read.
        through: which model runs; see :func:`interp_steer.models.forward.forward_under`.
        kind: with a cache, or whole rows at every step.

    Yields:
        A function from a size to an empty batch.
    """
    clock = Clock()
    with forward_under(model, hooks(clock), through) as forward:
        yield lambda size: kind(model, prompts, forward, clock)


def _run_if_it_fits(
    batch: Batch, admitted: list[int], generated: list[list[int]]
) -> Float[Tensor, "row vocabulary"] | None:
    """Admit rows, or step the batch when ``admitted`` is empty; return None without memory."""
    try:
        return batch.admit(admitted, generated) if admitted else batch.step(generated)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
