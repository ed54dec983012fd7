"""Log-probabilities of given answers under interventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from interp_steer.batches import batches_by_length
from interp_steer.errors import GenerationError
from interp_steer.interventions import Intervention, row_hooks, unsteered
from interp_steer.memory import in_parts
from interp_steer.model import HookedLM
from interp_steer.passes import Through, forward_under
from interp_steer.positions import Clock
from interp_steer.prompts import Query
from interp_steer.rows import check_room, prepare


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

    Positions mean what they mean in :func:`interp_steer.generation.generate`: the last prompt token
    is the first of ``"generated"``, and ``"prompt"`` ends with it.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        answers: texts, tokenized without special tokens, or token ids such as
            ``completion.tokens``.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows scored together; a batch that does not fit in memory is halved.
        through: as for :func:`interp_steer.generation.generate`; the numbers are the same.

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
    rows = prepare(model, prompts, steering, batch_size)
    if isinstance(answers, str) or len(answers) != len(prompts):
        given = "one text" if isinstance(answers, str) else f"{len(answers)} answers"
        raise GenerationError(f"{given} for {len(prompts)} prompts; give a list, one per prompt")
    targets = [_answer_tokens(model, answer) for answer in answers]
    for number, (prompt, target) in enumerate(zip(rows.tokens, targets, strict=True)):
        if not target:
            raise GenerationError(f"answer {number} has no tokens; give a text that has some")
        check_room(model, number, len(prompt), len(target), "tokens of the answer; shorten it")
    whole = [prompt + target for prompt, target in zip(rows.tokens, targets, strict=True)]
    scores: dict[int, AnswerScore] = {}
    with tqdm(total=len(whole), desc="logprobs", unit="answer", disable=None) as bar:
        order, batches = batches_by_length([len(row) for row in whole], batch_size)

        def score(batch: Sequence[int]) -> list[Float[Tensor, " token"]]:
            return _score(
                model,
                [whole[row] for row in batch],
                [len(rows.tokens[row]) for row in batch],
                [rows.steering[row] for row in batch],
                through,
            )

        for batch in (order[rows] for rows in batches):
            found = chain.from_iterable(in_parts(batch, score, model.device))
            for row, values in zip(batch, found, strict=True):
                total = float(values.double().sum())
                scores[row] = AnswerScore(tuple(targets[row]), values, total)
            bar.update(len(batch))
    return [scores[row] for row in range(len(whole))]


def _answer_tokens(model: HookedLM, answer: str | Sequence[int]) -> list[int]:
    if isinstance(answer, str):
        return list(model.tokenizer(answer, add_special_tokens=False)["input_ids"])
    return list(answer)


def _score(
    model: HookedLM,
    rows: list[list[int]],
    prompt_lengths: list[int],
    steering: list[Intervention],
    through: Through | None,
) -> list[Float[Tensor, " token"]]:
    clock = Clock()
    padded = model.pad(rows)
    answer_lengths = [len(row) - prompt for row, prompt in zip(rows, prompt_lengths, strict=True)]
    longest = max(answer_lengths)
    with (
        torch.inference_mode(),
        forward_under(model, row_hooks(steering, clock), through) as forward,
    ):
        clock.begin(padded.mask, torch.tensor(prompt_lengths))
        # Rows end together, so all answers lie in the last columns; the output before each of
        # their tokens is what predicts it.
        logits = forward(padded, None, longest + 1)
        assert logits is not None
        predicted = torch.log_softmax(logits[:, :-1].float(), dim=-1)
        chosen = predicted.gather(-1, padded.tokens[:, -longest:, None])[:, :, 0].cpu()
    return [
        row[longest - length :].clone() for row, length in zip(chosen, answer_lengths, strict=True)
    ]
