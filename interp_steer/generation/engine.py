"""Answer requests in one process, with the model that this process holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch

from interp_steer.generation.compiled import open_slot_batches
from interp_steer.generation.decoding import (
    EarlyStop,
    OnToken,
    OpenBatches,
    StopRule,
    choose_likeliest,
    decode,
    open_row_batches,
)
from interp_steer.generation.dynamic import open_probed_batches
from interp_steer.generation.request import Answer, Request
from interp_steer.generation.row_batches import Cached, Uncached
from interp_steer.generation.sampling import Sampler, Sampling
from interp_steer.interventions.intervention import row_hooks
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM


@dataclass(frozen=True)
class DecodingOptions:
    """The way to decode requests; see :func:`interp_steer.generation.completions.generate`."""

    max_new_tokens: int
    """The most tokens of an answer."""
    sampling: Sampling | None = None
    """How tokens are drawn; greedily when None."""
    batch_size: int = 64
    """The most rows that are decoded together."""
    use_cache: bool = True
    """Whether keys and values are cached."""
    through: Through | None = None
    """Which model runs the forward passes."""
    compiled: bool = False
    """Whether a compiled pass decodes."""


OnFinished: TypeAlias = Callable[[int, Answer], object]
"""Receives the number of each request as its answer ends, and the answer."""


def answer_requests(
    model: HookedLM,
    requests: Sequence[Request],
    options: DecodingOptions,
    early_stop: EarlyStop | None,
    on_finished: OnFinished,
    on_token: OnToken | None = None,
) -> None:
    """Answer requests, in whatever order their answers end.

    Args:
        model: the model.
        requests: the requests.
        options: how they are decoded.
        early_stop: ends answers early; receives the number of a request and its text so far.
        on_finished: receives every answer.
        on_token: receives every token.
    """
    choose = choose_likeliest
    if options.sampling is not None:
        uniform = [request.uniform for request in requests if request.uniform is not None]
        choose = Sampler(options.sampling, torch.stack(uniform).to(model.device))
    decode(
        model,
        [request.tokens for request in requests],
        StopRule(model, options.max_new_tokens, early_stop),
        batches=_open_batches(model, requests, options),
        choose=choose,
        batch_size=options.batch_size,
        on_finished=on_finished,
        on_token=on_token,
    )


def _open_batches(
    model: HookedLM, requests: Sequence[Request], options: DecodingOptions
) -> OpenBatches:
    """Choose how rows are run: with dynamic weights, by a compiled pass, or by an ordinary one."""
    prompts = [request.tokens for request in requests]
    steering = [request.steering for request in requests]
    kind = Cached if options.use_cache else Uncached
    if any(intervention.dynamic for intervention in steering):
        return open_probed_batches(
            model, prompts, steering, options.through, kind, options.max_new_tokens
        )
    if len(set(map(id, steering))) == 1:
        steering = steering[:1]  # the same edit for all rows needs no gathering by row
    hooks = partial(row_hooks, steering)
    if options.compiled:
        return open_slot_batches(model, prompts, hooks, options.max_new_tokens)
    return open_row_batches(model, prompts, hooks, options.through, kind)
