"""Log-probabilities of given answers under interventions, and how far these move predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp_steer.generation.teacher_forcing import (
    GivenAnswer,
    Predictions,
    given_answers,
    predictions,
    scored,
)
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import Query


@dataclass(frozen=True, eq=False)
class AnswerScore:
    """How likely the model finds one answer.

    Args:
        tokens: the token ids that were scored.
        logprobs: natural logarithm of the probability of each token, given the prompt and the
            answer's earlier tokens.
        total: their sum.
    """

    tokens: tuple[int, ...]
    logprobs: Float[Tensor, " token"]
    total: float


@dataclass(frozen=True)
class Divergence:
    """How far an intervention moves what the model predicts along one answer.

    Args:
        kl: of the steered predictions from the unsteered ones, in nats a token.
        perplexity: of the answer under steering.
        plain_perplexity: of the answer without.
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

    Positions mean what they mean in :func:`interp_steer.generation.completions.generate`: the last prompt token
    is the first of ``"generated"``, and ``"prompt"`` ends with it.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        answers: texts, tokenized without special tokens, or token ids such as
            ``completion.tokens``.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows scored together; a batch that does not fit in memory is halved.
        through: as for :func:`interp_steer.generation.completions.generate`; the numbers are the same.

    Returns:
        one score per prompt, in the order of the prompts.

    Raises:
        GenerationError: for no prompts, an empty prompt or answer, answers or steering of another
            length than the prompts, or rows that do not fit the context.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> plain, steered = ist.logprobs(model, [query] * 2, [answer] * 2, [ist.unsteered, steer])
        >>> steered.total - plain.total
    """

    def score(rows: Sequence[GivenAnswer]) -> list[AnswerScore]:
        chosen = _of_tokens(predictions(model, rows, through)).cpu()
        return [
            AnswerScore(tuple(row.answer), each.clone(), float(each.double().sum()))
            for row, whole in zip(rows, chosen, strict=True)
            for each in [whole[len(whole) - len(row.answer) :]]
        ]

    given = given_answers(model, prompts, answers, steering, batch_size)
    return scored(model, given, score, batch_size, "logprobs")


def divergence(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention],
    *,
    batch_size: int = 16,
    through: Through | None = None,
) -> list[Divergence]:
    """Measure what steering does to answers that the model would give without it.

    With ``p_t`` the unsteered and ``q_t`` the steered distribution at token ``t`` of an answer of
    ``n`` tokens, ``kl = (1 / n) sum_t sum_v p_t(v) (log p_t(v) - log q_t(v))``. On prompts that do
    not ask for the property that is steered towards, it says how much else is disturbed.

    Args:
        model: the model.
        prompts: as for :func:`logprobs`.
        answers: as for :func:`logprobs`; usually the model's own.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows run together; a batch that does not fit in memory is halved.
        through: as for :func:`logprobs`.

    Returns:
        one divergence per prompt, in the order of the prompts.

    Raises:
        GenerationError: as :func:`logprobs`.
        InterventionError: when a direction does not fit the model.
    """

    def score(rows: Sequence[GivenAnswer]) -> list[Divergence]:
        plain = _unsteered(model, rows, through)
        steered = predictions(model, rows, through)
        apart = einsum(
            plain.logprobs.exp(),
            plain.logprobs - steered.logprobs,
            "row token vocabulary, row token vocabulary -> row token",
        )
        kl = _mean(apart, plain)
        before, after = (_mean(_of_tokens(each), plain) for each in (plain, steered))
        return [
            Divergence(max(k, 0.0), _perplexity(b), _perplexity(a))
            for k, a, b in zip(kl, before, after, strict=True)
        ]

    given = given_answers(model, prompts, answers, steering, batch_size)
    return scored(model, given, score, batch_size, "divergence")


def _unsteered(
    model: HookedLM, rows: Sequence[GivenAnswer], through: Through | None
) -> Predictions:
    """What is predicted without steering; of rows that are the same then, one is run."""
    plain = [row.under(unsteered) for row in rows]
    contents = [(tuple(row.prompt), tuple(row.answer)) for row in plain]
    place = {content: number for number, content in enumerate(dict.fromkeys(contents))}
    found = predictions(model, [plain[contents.index(content)] for content in place], through)
    which = [place[content] for content in contents]
    return Predictions(found.logprobs[which], found.tokens[which], found.mask[which])


def _of_tokens(predicted: Predictions) -> Float[Tensor, "row token"]:
    """The log-probability of each token that stands in an answer."""
    return predicted.logprobs.gather(-1, predicted.tokens[:, :, None])[:, :, 0]


def _mean(values: Float[Tensor, "row token"], of: Predictions) -> list[float]:
    """The mean over the tokens of each answer, in float64."""
    total = torch.where(of.mask, values, 0.0).double().sum(dim=1)
    return (total / of.mask.sum(dim=1)).tolist()


def _perplexity(mean_logprob: float) -> float:
    return math.exp(min(-mean_logprob, 700.0))  # beyond it a float64 has no room
