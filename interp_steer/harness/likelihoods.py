"""Compute the likelihoods of given continuations while an intervention acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from interp_steer.generation.request import Answer, Request
from interp_steer.generation.teacher_forcing import (
    AnsweredRequest,
    predict_answers,
    score_in_batches,
)
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM

Pair: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""Token ids of a context and of a continuation; neither is empty."""


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of a continuation.

    Args:
        total: natural logarithm of the continuation's probability, given its context.
        greedy: whether each token of the continuation is the most probable at its position.
    """

    total: float
    greedy: bool


OnScored: TypeAlias = Callable[[int, Likelihood], object]
"""A function that receives the number of each pair when it is scored, and its likelihood."""


def compute_likelihoods(
    model: HookedLM,
    pairs: Sequence[Pair],
    steering: Intervention,
    batch_size: int,
    on_scored: OnScored = lambda number, likelihood: None,
) -> list[Likelihood]:
    """Score continuations, each as if its tokens were being generated after its own context.

    The last token of a pair's context is step 0, so that ``"generated"`` has the same meaning as in
    :func:`interp_steer.generation.completions.generate`, whatever the other pairs are. Pairs with
    the same context whose continuations differ in their last token alone, such as the letters of a
    multiple choice, take one row. Pairs with the same tokens but another split take several rows,
    since they are steered at different positions.

    Args:
        model: the model.
        pairs: the contexts and continuations.
        steering: the intervention.
        batch_size: the rows run together; a batch that does not fit in memory is halved.
        on_scored: called with every result.

    Returns:
        One likelihood per pair, in their order.

    Example:
        >>> context, yes, no = ([1, 5, 9], [40], [41])
        >>> len(compute_likelihoods(model, [(context, yes), (context, no)], steer, 32))
        2
    """
    same_row: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for number, (context, continuation) in enumerate(pairs):
        same_row.setdefault((tuple(context), tuple(continuation[:-1])), []).append(number)
    results: dict[int, Likelihood] = {}

    def score(rows: Sequence[AnsweredRequest]) -> list[None]:
        groups = [same_row[tuple(asked.tokens), answer.tokens[:-1]] for asked, answer in rows]
        given = [(row, number) for row, group in enumerate(groups) for number in group]
        batch = _compute_batch(model, rows, given, pairs)
        for (_, number), likelihood in zip(given, batch, strict=True):
            results[number] = likelihood
            on_scored(number, likelihood)
        return [None] * len(rows)

    rows = [
        (Request(list(context), steering), Answer.given(tuple(pairs[group[0]][1])))
        for (context, _), group in same_row.items()
    ]
    score_in_batches(model, rows, score, batch_size, "loglikelihood")
    return [results[number] for number in range(len(pairs))]


def _compute_batch(
    model: HookedLM,
    rows: Sequence[AnsweredRequest],
    given: Sequence[tuple[int, int]],
    pairs: Sequence[Pair],
) -> list[Likelihood]:
    """Return the likelihoods of pairs, each given by its row and its number."""
    predicted = predict_answers(model, rows)
    likeliest = predicted.logprobs.argmax(-1)
    # The tokens before the last are common to the pairs of a row.
    before = predicted.mask[:, :-1]
    logprobs = predicted.logprobs.gather(-1, predicted.tokens[:, :, None])[:, :-1, 0]
    totals = torch.where(before, logprobs, 0.0).double().sum(dim=1)
    agree = ((likeliest == predicted.tokens)[:, :-1] | ~before).all(dim=1)
    row = torch.tensor([row for row, _ in given], device=totals.device)
    last = torch.tensor([pairs[number][1][-1] for _, number in given], device=totals.device)
    totals = totals[row] + predicted.logprobs[row, -1, last].double()
    agree = agree[row] & (likeliest[row, -1] == last)
    return [Likelihood(*each) for each in zip(totals.tolist(), agree.tolist(), strict=True)]
