"""How likely given continuations are, token by token, while an intervention acts."""

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
"""Token ids of a context and of what is said to follow it; neither is empty."""


@dataclass(frozen=True)
class Likelihood:
    """How likely a continuation is.

    Args:
        total: natural logarithm of its probability, given its context.
        greedy: whether each of its tokens is the likeliest where it stands.
    """

    total: float
    greedy: bool


Found: TypeAlias = Callable[[int, Likelihood], object]
"""Is told the number of each pair as it is scored, and its likelihood."""


def likelihoods(
    model: HookedLM,
    pairs: Sequence[Pair],
    steering: Intervention,
    batch_size: int,
    on_found: Found = lambda number, likelihood: None,
) -> list[Likelihood]:
    """Score continuations, each as if its tokens were being generated after its own context.

    The last token of a pair's context is step 0, so that ``"generated"`` means what it means in
    :func:`interp_steer.generation.completions.generate`, whatever the other pairs are. Pairs with
    the same context whose continuations differ in their last token alone, such as the letters of a
    multiple choice, take one row. Pairs whose tokens agree but are split elsewhere do not: they are
    steered elsewhere.

    Args:
        model: the model.
        pairs: the contexts and continuations.
        steering: what acts on the model.
        batch_size: rows run together; a batch that does not fit in memory is halved.
        on_found: is told every result.

    Returns:
        One likelihood per pair, in their order.

    Example:
        >>> context, yes, no = ([1, 5, 9], [40], [41])
        >>> likelihoods(model, [(context, yes), (context, no)], steer, 32)  # doctest: +SKIP
    """
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for number, (context, continuation) in enumerate(pairs):
        alike.setdefault((tuple(context), tuple(continuation[:-1])), []).append(number)
    found: dict[int, Likelihood] = {}

    def score(rows: Sequence[AnsweredRequest]) -> list[None]:
        groups = [alike[tuple(asked.tokens), answer.tokens[:-1]] for asked, answer in rows]
        given = [(row, number) for row, group in enumerate(groups) for number in group]
        for (_, number), each in zip(given, _likelihoods(model, rows, given, pairs), strict=True):
            found[number] = each
            on_found(number, each)
        return [None] * len(rows)

    rows = [
        (Request(list(context), steering), Answer.given(tuple(pairs[group[0]][1])))
        for (context, _), group in alike.items()
    ]
    score_in_batches(model, rows, score, batch_size, "loglikelihood")
    return [found[number] for number in range(len(pairs))]


def _likelihoods(
    model: HookedLM,
    rows: Sequence[AnsweredRequest],
    given: Sequence[tuple[int, int]],
    pairs: Sequence[Pair],
) -> list[Likelihood]:
    """The likelihoods of pairs, each given by its row and its number."""
    predicted = predict_answers(model, rows)
    likeliest = predicted.logprobs.argmax(-1)
    # What comes before the last tokens is common to the pairs of a row.
    before = predicted.mask[:, :-1]
    said = predicted.logprobs.gather(-1, predicted.tokens[:, :, None])[:, :-1, 0]
    totals = torch.where(before, said, 0.0).double().sum(dim=1)
    agree = ((likeliest == predicted.tokens)[:, :-1] | ~before).all(dim=1)
    row = torch.tensor([row for row, _ in given], device=totals.device)
    last = torch.tensor([pairs[number][1][-1] for _, number in given], device=totals.device)
    totals = totals[row] + predicted.logprobs[row, -1, last].double()
    agree = agree[row] & (likeliest[row, -1] == last)
    return [Likelihood(*each) for each in zip(totals.tolist(), agree.tolist(), strict=True)]
