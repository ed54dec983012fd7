"""Rows that are to be answered, and how: what one process does with a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.generation.compiled import slots_of
from interp_steer.generation.decoding import (
    Batches,
    EarlyStop,
    OnToken,
    StopRule,
    decode,
    greedy,
    rows_under,
)
from interp_steer.generation.dynamic import probed_rows
from interp_steer.generation.ledger import CachedAnswer
from interp_steer.generation.row_batches import Answer, Cached, Uncached
from interp_steer.generation.sampling import Sampler, Sampling
from interp_steer.interventions.intervention import Intervention, row_hooks
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM


@dataclass(frozen=True, eq=False)
class Request:
    """One row: a prompt and what acts on the model while it is answered."""

    tokens: list[int]
    steering: Intervention
    uniform: Float[Tensor, " step"] | None = None
    """The numbers that decide its tokens, where they are drawn."""


@dataclass(frozen=True)
class Decoding:
    """How rows are decoded; see :func:`interp_steer.generation.completions.generate`."""

    max_new_tokens: int
    sampling: Sampling | None
    batch_size: int
    use_cache: bool
    through: Through | None
    compiled: bool


Finished = Callable[[int, CachedAnswer], object]
"""Is told the number of each row as it ends, and its answer."""


def answer_rows(
    model: HookedLM,
    requests: Sequence[Request],
    how: Decoding,
    settled: EarlyStop | None,
    on_finished: Finished,
    on_token: OnToken | None = None,
) -> None:
    """Answer rows, in whatever order they end.

    Args:
        model: the model.
        requests: the rows.
        how: how they are decoded.
        settled: an early verdict, of a row's number and what it has said so far.
        on_finished: is told every answer.
        on_token: is told every token.
    """
    choose = greedy
    drawn = [request.uniform for request in requests if request.uniform is not None]
    if how.sampling is not None:
        choose = Sampler(how.sampling, torch.stack(drawn).to(model.device))

    def finished(row: int, answer: Answer) -> None:
        on_finished(row, CachedAnswer(answer.text, tuple(answer.tokens), answer.finish_reason))

    prompts = [request.tokens for request in requests]
    decode(
        model,
        prompts,
        StopRule(model, how.max_new_tokens, settled),
        batches=_batches(model, prompts, [request.steering for request in requests], how),
        choose=choose,
        batch_size=how.batch_size,
        on_finished=finished,
        on_token=on_token,
    )


def _batches(
    model: HookedLM, prompts: list[list[int]], steering: list[Intervention], how: Decoding
) -> Batches:
    """How rows are run: by a compiled pass, with weights that are found, or plainly."""
    kind = Cached if how.use_cache else Uncached
    if any(one.dynamic for one in steering):
        return probed_rows(model, prompts, steering, how.through, kind, how.max_new_tokens)
    if len(set(map(id, steering))) == 1:
        steering = steering[:1]  # one for all rows: nothing is gathered
    hooks = partial(row_hooks, steering)
    if how.compiled:
        return slots_of(model, prompts, hooks, how.max_new_tokens)
    return rows_under(model, prompts, hooks, how.through, kind)
