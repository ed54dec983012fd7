"""Given answers, token by token: what a model predicts where each of their tokens stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from tqdm import tqdm

from interp_steer.errors import GenerationError
from interp_steer.generation.dynamic import FoundWeights, ProbeStreams
from interp_steer.generation.inputs import check_room, prepare
from interp_steer.interventions.hooks import DynamicWeights
from interp_steer.interventions.intervention import Intervention, row_hooks
from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import batches_by_length, in_parts
from interp_steer.models.forward import Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.prompts import Query

Score = TypeVar("Score")


@dataclass(frozen=True)
class GivenAnswer:
    """A prompt, an answer that is given to it, and what acts on the model meanwhile."""

    prompt: list[int]
    answer: list[int]
    steering: Intervention

    def under(self, steering: Intervention) -> GivenAnswer:
        """The same answer under another intervention."""
        return replace(self, steering=steering)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is predicted at each token of some answers, which end together."""

    logprobs: Float[Tensor, "row token vocabulary"]
    """Natural logarithms of the probabilities, float32."""
    tokens: Int64[Tensor, "row token"]
    """The tokens that stand there."""
    mask: Bool[Tensor, "row token"]
    """False where a shorter answer has not begun yet."""


def given_answers(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention],
    batch_size: int,
) -> list[GivenAnswer]:
    """Check and tokenize prompts with their answers.

    Raises:
        GenerationError: for no prompts, an empty prompt or answer, answers or steering of another
            length than the prompts, or rows that do not fit the context.
        InterventionError: when a direction does not fit the model.
    """
    rows = prepare(model, prompts, steering, batch_size)
    if isinstance(answers, str) or len(answers) != len(prompts):
        given = "one text" if isinstance(answers, str) else f"{len(answers)} answers"
        raise GenerationError(f"{given} for {len(prompts)} prompts; give a list, one per prompt")
    found = []
    for number, (prompt, answer, steer) in enumerate(
        zip(rows.tokens, answers, rows.steering, strict=True)
    ):
        tokens = _answer_tokens(model, answer)
        if not tokens:
            raise GenerationError(f"answer {number} has no tokens; give a text that has some")
        if unknown := [token for token in tokens if not 0 <= token < model.d_vocab]:
            raise GenerationError(
                f"answer {number} has the token {unknown[0]}; those of {model.describe()} go from "
                f"0 to {model.d_vocab - 1}"
            )
        check_room(model, number, len(prompt), len(tokens), "shorten the answer")
        found.append(GivenAnswer(prompt, tokens, steer))
    return found


def scored(
    model: HookedLM,
    rows: Sequence[GivenAnswer],
    score: Callable[[Sequence[GivenAnswer]], list[Score]],
    batch_size: int,
    what: str,
) -> list[Score]:
    """Score rows in batches of like length; a batch that does not fit in memory is halved.

    Args:
        model: the model.
        rows: the answers.
        score: of some rows, one result per row.
        batch_size: rows scored together.
        what: the progress bar's name.

    Returns:
        One result per row, in the order of the rows.
    """
    found: dict[int, Score] = {}
    lengths = [len(row.prompt) + len(row.answer) for row in rows]
    order, batches = batches_by_length(lengths, batch_size)
    with tqdm(total=len(rows), desc=what, unit="answer", disable=None) as bar:
        for batch in (order[rows] for rows in batches):
            parts = in_parts([rows[row] for row in batch], score, model.device)
            found |= dict(zip(batch, chain.from_iterable(parts), strict=True))
            bar.update(len(batch))
    return [found[row] for row in range(len(rows))]


def predictions(
    model: HookedLM,
    rows: Sequence[GivenAnswer],
    through: Through | None = None,
    *,
    reading: Hooks | None = None,
) -> Predictions:
    """Run rows once and leave what is predicted at each token of their answers.

    Positions mean what they mean in :func:`interp_steer.generation.completions.generate`: the last prompt token
    is the first of ``"generated"``, and ``"prompt"`` ends with it.

    Args:
        model: the model.
        rows: the answers.
        through: see :func:`interp_steer.models.forward.forward_under`.
        reading: hooks that see what the interventions left.
    """
    steering = [row.steering for row in rows]
    dials = _dials(model, rows, through) if any(one.dynamic for one in steering) else None
    clock = Clock()
    # The last token of an answer is only predicted: it is not run, and needs no position.
    padded = model.pad([[*row.prompt, *row.answer[:-1]] for row in rows])
    answers = model.pad([row.answer for row in rows])
    longest = answers.tokens.shape[1]
    hooks = row_hooks(steering, clock, dials)
    with (
        torch.inference_mode(),
        forward_under(model, [*hooks, *(reading or [])], through) as forward,
    ):
        clock.begin(padded.mask, torch.tensor([len(row.prompt) for row in rows]))
        # Rows end together, so that the answers are predicted in the last columns.
        logits = forward(padded, None, longest)
        assert logits is not None
        logprobs = torch.log_softmax(logits.float(), dim=-1)
    return Predictions(logprobs, answers.tokens, answers.mask)


def found_weights(
    model: HookedLM, rows: Sequence[GivenAnswer], through: Through | None = None
) -> Iterator[FoundWeights]:
    """The weights of dynamic schedules at each token of some answers.

    As the tokens are given, what the streams of a row predict does not depend on the weights: one
    pass finds all of them.

    Yields:
        Weights whose steps end together: those of an answer are the last, as many as it has tokens.
    """
    streams = ProbeStreams([row.steering for row in rows])
    beside = [
        rows[owner].under(steering)
        for owner, steering in zip(streams.owner, streams.steering, strict=True)
    ]
    predicted = predictions(model, beside, through)
    yield from streams.found(range(len(beside)), predicted.logprobs)


def _dials(model: HookedLM, rows: Sequence[GivenAnswer], through: Through | None) -> DynamicWeights:
    longest = max(len(row.answer) for row in rows)
    dials = ProbeStreams([row.steering for row in rows]).dials(longest, model.device)
    for found in found_weights(model, rows, through):
        for row, dial, weights in zip(found.row, found.dial, found.weight, strict=True):
            said = len(rows[int(row)].answer)
            steps = torch.arange(said, device=weights.device)
            dials.set(row.expand(said), dial.expand(said), steps, weights[-said:])
    return dials


def _answer_tokens(model: HookedLM, answer: str | Sequence[int]) -> list[int]:
    if isinstance(answer, str):
        return list(model.tokenizer(answer, add_special_tokens=False)["input_ids"])
    return list(answer)
