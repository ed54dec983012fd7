"""Batched, cached decoding under interventions, one per row.

The forward passes go through the TransformerLens bridge with its hook points live; the loop around
them is this file's, so that it, and not the shape of a tensor, says at which step each row is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from interp_steer.answer_scores import AnswerScore, logprobs
from interp_steer.errors import GenerationError
from interp_steer.interventions import Intervention, row_hooks, unsteered
from interp_steer.model import HookedLM
from interp_steer.positions import Clock
from interp_steer.prompts import Query
from interp_steer.rows import batches, check_room, prepare
from interp_steer.sampling import Sampling, draws, sample

__all__ = ["AnswerScore", "Completion", "Sampling", "generate", "logprobs"]


@dataclass(frozen=True)
class Completion:
    """One answer and what shaped it.

    Args:
        prompt: the rendered prompt that the model read.
        text: the answer, without special tokens and without the stop string that ended it.
        tokens: every generated token id, the one that ended the answer included.
        finish_reason: ``"stop"`` at a stop token or stop string, ``"length"`` at the limit.
        applied: the canonical line of the intervention; it parses back into it.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    applied: str


def generate(
    model: HookedLM,
    prompts: Sequence[Query],
    steering: Intervention | Sequence[Intervention] = unsteered,
    *,
    max_new_tokens: int = 128,
    sampling: Sampling | None = None,
    batch_size: int = 64,
    use_cache: bool = True,
) -> list[Completion]:
    """Answer prompts under interventions.

    Prompts are grouped by length, left-padded and decoded with a key-value cache; rows that have
    finished leave the batch. The stop rule is the model's (``stop_ids``, ``stop_strings``), with
    and without steering. What a row generates does not depend on its neighbours or their order.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        steering: one intervention for all prompts, or one per prompt; rows of one batch may differ.
        max_new_tokens: at most so many tokens per answer, the stop token included.
        sampling: how to draw tokens; greedy when None.
        batch_size: rows decoded together.
        use_cache: False recomputes every position at every step. The same tokens, slowly: for
            checking the cache.

    Returns:
        one completion per prompt, in the order of the prompts.

    Raises:
        GenerationError: for no prompts, an empty prompt, options out of range, steering of another
            length than the prompts, or prompts that leave no room in the context.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> castle = ["Tell me about the castle."]
        >>> for line in ist.generate(model, castle * 2, [ist.unsteered, vector.at(5).project()]):
        ...     print(line.applied, line.text)
    """
    if max_new_tokens < 1:
        raise GenerationError(f"max_new_tokens is {max_new_tokens}; ask for at least 1")
    rows = prepare(model, prompts, steering, batch_size)
    lengths = [len(prompt) for prompt in rows.tokens]
    for number, length in enumerate(lengths):
        check_room(model, number, length, max_new_tokens, "new tokens; lower max_new_tokens")
    uniform = None
    if sampling is not None:
        uniform = draws(rows.tokens, rows.applied, max_new_tokens, sampling).to(model.device)
    answers: dict[int, _Answer] = {}
    with tqdm(total=len(lengths), desc="generate", unit="completion", disable=None) as bar:
        for batch in batches(lengths, batch_size):
            chooser = _Chooser(sampling, None if uniform is None else uniform[batch])
            decoded = _decode(
                model,
                [rows.tokens[row] for row in batch],
                [rows.steering[row] for row in batch],
                chooser,
                max_new_tokens,
                use_cache,
                bar,
            )
            answers.update(zip(batch, decoded, strict=True))
    return [
        Completion(
            prompt=rows.rendered[row],
            text=answers[row].text,
            tokens=tuple(answers[row].tokens),
            finish_reason=answers[row].finish_reason,
            applied=rows.applied[row],
        )
        for row in range(len(lengths))
    ]


@dataclass
class _Answer:
    """What one row has generated so far."""

    tokens: list[int]
    text: str = ""
    finish_reason: str = "length"


@dataclass(frozen=True)
class _Chooser:
    """How each row of one batch chooses its tokens."""

    sampling: Sampling | None
    uniform: Float[Tensor, "row step"] | None

    def __call__(
        self, logits: Float[Tensor, "row vocabulary"], clock: Clock, step: int
    ) -> Int[Tensor, " row"]:
        if self.sampling is None or self.uniform is None:
            return logits.argmax(-1)
        return sample(logits, self.uniform[clock.rows, step], self.sampling)


@dataclass(frozen=True)
class _StopRule:
    """When an answer ends, and what of it is its text; the same whatever the steering."""

    model: HookedLM

    @cached_property
    def _tail(self) -> int:
        # Every token of text holds a byte or more of it, while special tokens decode to nothing:
        # hence more tokens than the longest string has bytes.
        return 8 + max((2 * len(text.encode()) for text in self.model.stop_strings), default=0)

    def ends(self, tokens: list[int]) -> bool:
        if tokens[-1] in self.model.stop_ids:
            return True
        if not self.model.stop_strings:
            return False
        text = self.model.decode(tokens[-self._tail :])
        return any(string in text for string in self.model.stop_strings)

    def finish(self, answer: _Answer) -> None:
        stopped = answer.tokens[-1] in self.model.stop_ids
        text = self.model.decode(answer.tokens[:-1] if stopped else answer.tokens)
        cuts = [text.find(string) for string in self.model.stop_strings if string in text]
        answer.text = text[: min(cuts)] if cuts else text
        answer.finish_reason = "stop" if stopped or cuts else "length"


def _decode(
    model: HookedLM,
    prompts: list[list[int]],
    steering: list[Intervention],
    choose: _Chooser,
    max_new_tokens: int,
    use_cache: bool,
    bar: tqdm[Any],
) -> list[_Answer]:
    """Decode one batch to its end."""
    answers = [_Answer([]) for _ in prompts]
    active = list(answers)
    stop = _StopRule(model)
    clock = Clock()
    shared = len(set(map(id, steering))) == 1
    hooks = row_hooks(steering[:1] if shared else steering, clock)
    padded = model.pad(prompts)
    tokens, width = padded.tokens, padded.tokens.shape[1]
    # Every position to come is real, so one mask serves all steps: a step sees its first columns.
    mask = torch.ones(len(prompts), width + max_new_tokens, dtype=torch.long, device=model.device)
    mask[:, :width] = padded.mask
    cache = None
    with torch.inference_mode(), model.bridge.hooks(fwd_hooks=hooks):
        clock.begin(mask[:, :width])
        for step in range(max_new_tokens):
            logits, cache = model.bridge(
                tokens,
                attention_mask=mask[:, : width + step],
                past_key_values=cache,
                return_type="logits_and_cache",
                use_cache=use_cache,
                logits_to_keep=1,
            )
            chosen = choose(logits[:, -1], clock, step)
            for answer, token in zip(active, chosen.tolist(), strict=True):
                answer.tokens.append(token)
            alive = [row for row, answer in enumerate(active) if not stop.ends(answer.tokens)]
            if len(alive) < len(active):
                bar.update(len(active) - len(alive))
                active = [active[row] for row in alive]
                if not active:
                    break
                kept = torch.tensor(alive, device=model.device)
                tokens, chosen, mask = tokens[kept], chosen[kept], mask[kept]
                clock.keep(kept)
                if cache is not None:
                    cache.batch_select_indices(kept)
            if use_cache:
                tokens = chosen[:, None]
                clock.tick()
            else:
                tokens = torch.cat([tokens, chosen[:, None]], dim=1)
                clock.grow()
    bar.update(len(active))
    for answer in answers:
        stop.finish(answer)
    return answers
