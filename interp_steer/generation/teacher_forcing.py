"""Score given answers: predict each of their tokens from the prompt and the tokens before it.

The tokens of an answer are known, so that one forward pass over the prompt and the answer gives the
predictions at all of its tokens (teacher forcing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from tqdm import tqdm

from interp_steer.arguments import check_list
from interp_steer.errors import GenerationError
from interp_steer.generation.dynamic import FoundWeights, ProbeStreams
from interp_steer.generation.inputs import check_room, prepare
from interp_steer.generation.request import Answer, Request
from interp_steer.interventions.hooks import DynamicWeights
from interp_steer.interventions.intervention import Intervention, row_hooks
from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import batches_by_length, in_parts
from interp_steer.models.forward import Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.prompts import Query

Score = TypeVar("Score")

AnsweredRequest: TypeAlias = tuple[Request, Answer]
"""A request, and the answer that is given to it."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions at each token of some answers; answers end in the same column."""

    logprobs: Float[Tensor, "row token vocabulary"]
    """Natural logarithms of the probabilities, float32."""
    tokens: Int64[Tensor, "row token"]
    """The tokens of the answers."""
    mask: Bool[Tensor, "row token"]
    """False in the columns before a shorter answer begins."""


def prepare_answers(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention],
    batch_size: int,
) -> list[AnsweredRequest]:
    """Check and tokenise prompts with their answers.

    Raises:
        GenerationError: for an empty list of prompts, an empty prompt or answer, answers or
            steering of another length than the prompts, or rows that do not fit the context.
        InterventionError: when a direction does not fit the model.
    """
    requests = prepare(model, prompts, steering, batch_size)
    check_list("answers", answers, GenerationError)
    if len(answers) != len(prompts):
        raise GenerationError(
            f"{len(answers)} answers for {len(prompts)} prompts; give a list, one per prompt"
        )
    rows = []
    for number, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        tokens = _tokenise_answer(model, answer)
        if not tokens:
            raise GenerationError(f"answer {number} has no tokens; give a text that has some")
        if unknown := [token for token in tokens if not 0 <= token < model.d_vocab]:
            raise GenerationError(
                f"answer {number} has the token {unknown[0]}; those of {model.describe()} go from "
                f"0 to {model.d_vocab - 1}"
            )
        check_room(model, number, len(request.tokens), len(tokens), "shorten the answer")
        text = answer if isinstance(answer, str) else ""
        rows.append((request, Answer.given(tokens, text)))
    return rows


def score_in_batches(
    model: HookedLM,
    rows: Sequence[AnsweredRequest],
    score: Callable[[Sequence[AnsweredRequest]], list[Score]],
    batch_size: int,
    label: str,
) -> list[Score]:
    """Score answers in batches of similar length; a batch that does not fit in memory is halved.

    Args:
        model: the model.
        rows: the answers with their requests.
        score: scores some rows, with one result per row.
        batch_size: rows scored together.
        label: the text of the progress bar.

    Returns:
        One result per row, in the order of the rows.
    """
    scores: dict[int, Score] = {}
    lengths = [len(request.tokens) + len(answer.tokens) for request, answer in rows]
    order, batches = batches_by_length(lengths, batch_size)
    with tqdm(total=len(rows), desc=label, unit="answer", disable=None) as bar:
        for batch in (order[rows] for rows in batches):
            parts = in_parts([rows[row] for row in batch], score, model.device)
            scores |= dict(zip(batch, chain.from_iterable(parts), strict=True))
            bar.update(len(batch))
    return [scores[row] for row in range(len(rows))]


def predict_answers(
    model: HookedLM,
    rows: Sequence[AnsweredRequest],
    through: Through | None = None,
    *,
    reading: Hooks | None = None,
) -> Predictions:
    """Run rows once and return the predictions at each token of their answers.

    Positions mean the same as in :func:`interp_steer.generation.completions.generate`: the last
    prompt token is the first position of ``"generated"``, and the last position of ``"prompt"``.

    Args:
        model: the model.
        rows: the answers with their requests.
        through: see :func:`interp_steer.models.forward.forward_under`.
        reading: hooks that read activations after the interventions.
    """
    steering = [request.steering for request, _ in rows]
    dynamic = any(intervention.dynamic for intervention in steering)
    weights = _tabulate_weights(model, rows, through) if dynamic else None
    clock = Clock()
    # The last token of an answer is predicted, but not run: it needs no position.
    padded = model.pad([[*request.tokens, *answer.tokens[:-1]] for request, answer in rows])
    answers = model.pad([answer.tokens for _, answer in rows])
    longest = answers.tokens.shape[1]
    hooks = row_hooks(steering, clock, weights)
    with (
        torch.inference_mode(),
        forward_under(model, [*hooks, *(reading or [])], through) as forward,
    ):
        clock.begin(padded.mask, torch.tensor([len(request.tokens) for request, _ in rows]))
        # All rows end in the last column, so the last columns predict the answers.
        logits = forward(padded, None, longest)
        assert logits is not None
        logprobs = torch.log_softmax(logits.float(), dim=-1)
    return Predictions(logprobs, answers.tokens, answers.mask)


def find_weights(
    model: HookedLM, rows: Sequence[AnsweredRequest], through: Through | None = None
) -> Iterator[FoundWeights]:
    """Compute the weights of dynamic schedules at each token of some answers.

    The tokens are given, so that the predictions of the streams of a row do not depend on the
    weights: one pass gives all weights.

    Yields:
        Weights whose last steps are the steps of an answer, one for each of its tokens.
    """
    streams = ProbeStreams([request.steering for request, _ in rows])
    stream_rows = [
        (rows[owner][0].under(steering), rows[owner][1])
        for owner, steering in zip(streams.owner, streams.steering, strict=True)
    ]
    predicted = predict_answers(model, stream_rows, through)
    yield from streams.find_weights(range(len(stream_rows)), predicted.logprobs)


def _tabulate_weights(
    model: HookedLM, rows: Sequence[AnsweredRequest], through: Through | None
) -> DynamicWeights:
    """Return the weights of dynamic schedules, for hooks that read them by row and step."""
    longest = max(len(answer.tokens) for _, answer in rows)
    streams = ProbeStreams([request.steering for request, _ in rows])
    table = streams.make_table(longest, model.device)
    for found_weights in find_weights(model, rows, through):
        for row, place, weights in zip(
            found_weights.row, found_weights.dial, found_weights.weight, strict=True
        ):
            n_steps = len(rows[int(row)][1].tokens)
            steps = torch.arange(n_steps, device=weights.device)
            table.set(row.expand(n_steps), place.expand(n_steps), steps, weights[-n_steps:])
    return table


def _tokenise_answer(model: HookedLM, answer: str | Sequence[int]) -> tuple[int, ...]:
    if isinstance(answer, str):
        return tuple(model.tokenizer(answer, add_special_tokens=False)["input_ids"])
    return tuple(answer)
