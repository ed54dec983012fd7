"""Batched, cached decoding under interventions, one per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from interp_steer.answer_scores import AnswerScore, logprobs
from interp_steer.decoding import StopRule, decode, greedy
from interp_steer.errors import GenerationError
from interp_steer.interventions import Intervention, row_hooks, unsteered
from interp_steer.model import HookedLM
from interp_steer.passes import Through
from interp_steer.positions import Clock
from interp_steer.prompts import Query
from interp_steer.rows import check_room, prepare
from interp_steer.sampling import Sampler, Sampling, draws

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
    through: Through | None = None,
) -> list[Completion]:
    """Answer prompts under interventions.

    Prompts are grouped by length, left-padded and decoded with a key-value cache; rows that have
    finished leave the batch and waiting ones take their place. The stop rule is the model's
    (``stop_ids``, ``stop_strings``), with and without steering. What a row generates does not
    depend on its neighbours or their order.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        steering: one intervention for all prompts, or one per prompt; rows of one batch may differ.
        max_new_tokens: at most so many tokens per answer, the stop token included.
        sampling: how to draw tokens; greedy when None.
        batch_size: rows decoded together.
        use_cache: False recomputes every position at every step. The same tokens, slowly: for
            checking the cache.
        through: ``"plain"`` decodes by the plain twin of the model, ``"hook_points"`` through the
            bridge, whose hook points define what the interventions mean: the same tokens, slower.
            None for the twin, unless the bridge has hooks of your own on it.

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
    choose = greedy
    if sampling is not None:
        uniform = draws(rows.tokens, rows.applied, max_new_tokens, sampling).to(model.device)
        choose = Sampler(sampling, uniform)
    clock = Clock()
    shared = len(set(map(id, rows.steering))) == 1
    with tqdm(total=len(lengths), desc="generate", unit="completion", disable=None) as bar:
        answers = decode(
            model,
            rows.tokens,
            StopRule(model, max_new_tokens),
            choose=choose,
            hooks=row_hooks(rows.steering[:1] if shared else rows.steering, clock),
            clock=clock,
            batch_size=batch_size,
            use_cache=use_cache,
            through=through,
            on_finished=bar.update,
        )
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
