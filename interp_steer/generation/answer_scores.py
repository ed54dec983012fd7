"""Score given answers under interventions, and measure how interventions move predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp_steer.generation.teacher_forcing import (
    AnsweredRequest,
    Predictions,
    predict_answers,
    prepare_answers,
    score_in_batches,
)
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import Query


@dataclass(frozen=True, eq=False)
class AnswerScore:
    """The log-probability of an answer.

    Args:
        tokens: the token ids that were scored.
        logprobs: natural logarithm of the probability of each token, given the prompt and the
            answer's earlier tokens.
        total: the sum of the log-probabilities.
    """

    tokens: tuple[int, ...]
    logprobs: Float[Tensor, " token"]
    total: float


@dataclass(frozen=True)
class Divergence:
    """The distance between steered and unsteered predictions along an answer.

    Args:
        kl: divergence of the steered predictions from the unsteered predictions, in nats per token.
        perplexity: of the answer with steering.
        plain_perplexity: of the answer without steering.
    """

    kl: float
    perplexity: float
    plain_perplexity: float


def logprobs(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention] = unsteered,
    *,
    batch_size: int = 32,
    through: Through | None = None,
) -> list[AnswerScore]:
    """Score given answers, one per prompt, as if each of their tokens were being generated.

    Positions mean the same as in :func:`interp_steer.generation.completions.generate`: the last
    prompt token is the first position of ``"generated"``, and the last position of ``"prompt"``.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        answers: texts, tokenised without special tokens, or token ids such as
            ``completion.tokens``.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows scored together; a batch that does not fit in memory is halved.
        through: as for :class:`interp_steer.generation.completions.GenerationOptions`; the numbers
            are the same.

    Returns:
        One score per prompt, in the order of the prompts.

    Raises:
        GenerationError: for an empty list of prompts, an empty prompt or answer, answers or
            steering of another length than the prompts, or rows that do not fit the context.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> query, answer = prompts[0], "The castle is old."
        >>> plain, steered = ist.logprobs(model, [query] * 2, [answer] * 2, [ist.unsteered, steer])
        >>> steered.total != plain.total
        True
    """

    def score(rows: Sequence[AnsweredRequest]) -> list[AnswerScore]:
        padded = _select_tokens(predict_answers(model, rows, through)).cpu()
        scores = []
        for (_, answer), padded_row in zip(rows, padded, strict=True):
            own = padded_row[len(padded_row) - len(answer.tokens) :]
            scores.append(AnswerScore(answer.tokens, own.clone(), float(own.double().sum())))
        return scores

    rows = prepare_answers(model, prompts, answers, steering, batch_size)
    return score_in_batches(model, rows, score, batch_size, "logprobs")


def divergence(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention],
    *,
    batch_size: int = 16,
    through: Through | None = None,
) -> list[Divergence]:
    """Measure how steering changes the predictions along answers of the unsteered model.

    With ``p_t`` the unsteered and ``q_t`` the steered distribution at token ``t`` of an answer of
    ``n`` tokens, ``kl = (1 / n) sum_t sum_v p_t(v) (log p_t(v) - log q_t(v))``. On prompts that do
    not ask for the steered property, the divergence measures the side effects of steering.

    Args:
        model: the model.
        prompts: as for :func:`logprobs`.
        answers: as for :func:`logprobs`; usually the model's own.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows run together; a batch that does not fit in memory is halved.
        through: as for :func:`logprobs`.

    Returns:
        One divergence per prompt, in the order of the prompts.

    Raises:
        GenerationError: as :func:`logprobs`.
        InterventionError: when a direction does not fit the model.
    """

    def score(rows: Sequence[AnsweredRequest]) -> list[Divergence]:
        plain = _predict_unsteered(model, rows, through)
        steered = predict_answers(model, rows, through)
        by_token = einsum(
            plain.logprobs.exp(),
            plain.logprobs - steered.logprobs,
            "row token vocabulary, row token vocabulary -> row token",
        )
        kl = _average(by_token, plain)
        before = _average(_select_tokens(plain), plain)
        after = _average(_select_tokens(steered), plain)
        return [
            Divergence(max(k, 0.0), _perplexity(b), _perplexity(a))
            for k, a, b in zip(kl, before, after, strict=True)
        ]

    rows = prepare_answers(model, prompts, answers, steering, batch_size)
    return score_in_batches(model, rows, score, batch_size, "divergence")


def _predict_unsteered(
    model: HookedLM, rows: Sequence[AnsweredRequest], through: Through | None
) -> Predictions:
    """Predict without steering; rows with the same prompt and answer are run once."""
    contents = [(tuple(request.tokens), answer.tokens) for request, answer in rows]
    place = {content: number for number, content in enumerate(dict.fromkeys(contents))}
    different = [rows[contents.index(content)] for content in place]
    plain = [(request.under(unsteered), answer) for request, answer in different]
    predicted = predict_answers(model, plain, through)
    which = [place[content] for content in contents]
    return Predictions(predicted.logprobs[which], predicted.tokens[which], predicted.mask[which])


def _select_tokens(predicted: Predictions) -> Float[Tensor, "row token"]:
    """Return the log-probability of each token of the answers."""
    return predicted.logprobs.gather(-1, predicted.tokens[:, :, None])[:, :, 0]


def _average(values: Float[Tensor, "row token"], answers: Predictions) -> list[float]:
    """Average over the tokens of each answer, in float64."""
    total = torch.where(answers.mask, values, 0.0).double().sum(dim=1)
    return (total / answers.mask.sum(dim=1)).tolist()


def _perplexity(mean_logprob: float) -> float:
    return math.exp(min(-mean_logprob, 700.0))  # exp of more overflows a float64
