"""Trace an intervention step by step: its strength, its effect, and the projections after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp_steer.generation.teacher_forcing import (
    AnsweredRequest,
    find_weights,
    predict_answers,
    prepare_answers,
    score_in_batches,
)
from interp_steer.interventions.intervention import Edit, Intervention, unsteered
from interp_steer.interventions.schedules import AnySchedule
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import Query

WeightsBySteps: TypeAlias = tuple[Float[Tensor, " step"], Float[Tensor, " step"]]
"""The divergence and the weight of a dynamic schedule at each step."""


@dataclass(frozen=True, eq=False)
class Trace:
    """An answer under an intervention, step by step; step 0 generates its first token.

    A property is the set of edits along directions with the same name.
    """

    tokens: tuple[int, ...]
    """The token that each step generated."""
    properties: tuple[str, ...]
    """The names of the properties."""
    strength: Float[Tensor, "property step"]
    """``coefficient * a_i``, the largest among the sites of a property; 0 where no edit acts."""
    probe_kl: Float[Tensor, "property step"]
    """The divergence of the probe of a dynamic schedule from the clean prediction, in nats; the
    largest where a property has several dynamic schedules; nan where it has static schedules."""
    kl: Float[Tensor, " step"]
    """The divergence of the steered from the unsteered prediction, over the vocabulary, in nats."""
    projection: Float[Tensor, "property step"]
    """``<x, u_i>`` after the edit, averaged over the sites of a property."""


def trace(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention],
    *,
    batch_size: int = 16,
    through: Through | None = None,
) -> list[Trace]:
    """Run given answers and trace the effect of the intervention at each step.

    For tokens that the model generated under the same intervention (``completion.tokens``), the
    trace shows what happened during generation: a position is steered in the same way whether its
    token has just been generated or is given.

    Args:
        model: the model.
        prompts: as for :func:`interp_steer.logprobs`.
        answers: token ids, or texts.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows run together; a batch that does not fit in memory is halved.
        through: as for :class:`interp_steer.GenerationOptions`.

    Returns:
        One trace per prompt, in the order of the prompts.

    Raises:
        GenerationError: as :func:`interp_steer.logprobs`.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> answers = ist.generate(model, prompts, steer, max_new_tokens=8)
        >>> traces = ist.trace(model, prompts, [answer.tokens for answer in answers], steer)
        >>> traces[0].projection.shape  # [property, step]
        torch.Size([1, 8])
    """

    def score(rows: Sequence[AnsweredRequest]) -> list[Trace]:
        return _trace_batch(model, rows, through)

    rows = prepare_answers(model, prompts, answers, steering, batch_size)
    return score_in_batches(model, rows, score, batch_size, "trace")


def _trace_batch(
    model: HookedLM, rows: Sequence[AnsweredRequest], through: Through | None
) -> list[Trace]:
    unsteered_rows = [(request.under(unsteered), answer) for request, answer in rows]
    plain = predict_answers(model, unsteered_rows, through)
    activations: dict[str, Float[Tensor, "row token *shape"]] = {}
    steered = predict_answers(model, rows, through, reading=_reading_hooks(rows, activations))
    kl = einsum(
        plain.logprobs.exp(),
        plain.logprobs - steered.logprobs,
        "row token vocabulary, row token vocabulary -> row token",
    )
    weights = _find_weights(model, rows, through)
    width = kl.shape[1]
    return [
        _trace_row(
            row,
            weights[place],
            {name: values[place] for name, values in activations.items()},
            kl[place, width - len(row[1].tokens) :].clamp(min=0).cpu(),
        )
        for place, row in enumerate(rows)
    ]


def _trace_row(
    row: AnsweredRequest,
    weights: Mapping[tuple[str, AnySchedule], WeightsBySteps],
    activations: Mapping[str, Float[Tensor, " token *shape"]],
    kl: Float[Tensor, " step"],
) -> Trace:
    """Assemble the trace of a row.

    Args:
        row: the request and its answer.
        weights: of its dynamic schedules, by the name of the direction and the schedule.
        activations: after the edits, by hook point.
        kl: from the unsteered to the steered prediction at each step.
    """
    request, answer = row
    n_steps = len(answer.tokens)
    strength, probe_kl, projection = [], [], []
    properties = tuple(dict.fromkeys(edit.direction.name for edit in request.steering.edits))
    for name in properties:
        edits = [edit for edit in request.steering.edits if edit.direction.name == name]
        dynamic = [weights.get((name, edit.schedule)) for edit in edits]
        strength.append(_compute_strength(edits, dynamic, n_steps))
        probe_kl.append(_largest_divergence(dynamic, n_steps))
        projections = [
            _project(edit, activations[edit.direction.site.hook_name], n_steps) for edit in edits
        ]
        projection.append(torch.stack(projections).mean(dim=0))
    return Trace(
        tokens=answer.tokens,
        properties=properties,
        strength=_stack(strength, n_steps),
        probe_kl=_stack(probe_kl, n_steps),
        kl=kl,
        projection=_stack(projection, n_steps),
    )


def _reading_hooks(
    rows: Sequence[AnsweredRequest], activations: dict[str, Any]
) -> list[tuple[str, Any]]:
    """Make hooks that write the activations of the edited sites, after the edits, to a dict."""

    def make_hook(name: str) -> Any:
        def read(activation: Tensor, hook: Any = None) -> None:
            activations[name] = activation.detach().float().cpu()

        return read

    sites = {edit.direction.site for request, _ in rows for edit in request.steering.edits}
    return [(site.hook_name, make_hook(site.hook_name)) for site in sorted(sites)]


def _find_weights(
    model: HookedLM, rows: Sequence[AnsweredRequest], through: Through | None
) -> list[dict[tuple[str, AnySchedule], WeightsBySteps]]:
    """Return the divergences and weights of the dynamic properties of each row."""
    steering = [request.steering for request, _ in rows]
    by_row: list[dict[tuple[str, AnySchedule], WeightsBySteps]] = [{} for _ in rows]
    if not any(intervention.dynamic for intervention in steering):
        return by_row
    for weights in find_weights(model, rows, through):
        for number, (row, dial) in enumerate(
            zip(weights.row.tolist(), weights.dial.tolist(), strict=True)
        ):
            followed = steering[row].dynamic[dial]
            n_steps = len(rows[row][1].tokens)
            divergence, weight = weights.divergence[number], weights.weight[number]
            by_row[row][followed] = divergence[-n_steps:].cpu(), weight[-n_steps:].cpu()
    return by_row


def _compute_strength(
    edits: Sequence[Edit], dynamic: Sequence[WeightsBySteps | None], n_steps: int
) -> Float[Tensor, " step"]:
    """Return the weights of a property at each step, times its coefficient."""
    by_edit = []
    for edit, by_step in zip(edits, dynamic, strict=True):
        numbers = edit.affine()
        table = torch.tensor(numbers.weights)
        step = torch.arange(n_steps)
        weight = table[step.clamp(max=len(table) - 1)]
        if by_step is not None:
            weight = by_step[1]
        inside = (step >= numbers.span.first_step) & (step < numbers.span.end_step)
        scale = edit.value if edit.operation.parameter == "coefficient" else 1.0
        by_edit.append(scale * weight * inside)
    stacked = torch.stack(by_edit)
    return stacked.gather(0, stacked.abs().argmax(dim=0, keepdim=True))[0]


def _largest_divergence(
    dynamic: Sequence[WeightsBySteps | None], n_steps: int
) -> Float[Tensor, " step"]:
    """Return the largest divergence that the dynamic schedules of a property followed."""
    divergences = [by_step[0] for by_step in dynamic if by_step is not None]
    if not divergences:
        return torch.full((n_steps,), torch.nan)
    return torch.stack(divergences).amax(dim=0)


def _project(
    edit: Edit, activation: Float[Tensor, " pos *shape"], n_steps: int
) -> Float[Tensor, " step"]:
    """Compute ``<x, u_i>`` at the positions that generate the tokens of the answer."""
    at_steps = activation[-n_steps:].flatten(1)
    units, _ = edit.direction.by_step
    unit = units.flatten(1)[torch.arange(n_steps).clamp(max=len(units) - 1)]
    return einsum(at_steps, unit, "step width, step width -> step")


def _stack(rows: Sequence[Float[Tensor, " step"]], n_steps: int) -> Float[Tensor, "property step"]:
    return torch.stack(list(rows)) if rows else torch.zeros(0, n_steps)


HALF = "\ufffd"
"""The replacement character, to which half a character decodes."""


def split_by_token(model: HookedLM, tokens: Sequence[int], text: str | None = None) -> list[str]:
    """Split a text at the ends of its tokens.

    A token of a byte-level tokenizer may hold half a character, and a token alone may decode to
    another text than after other tokens. So the whole text is decoded, and cut where the tokens
    end. A character belongs to the token that completes it; special tokens are empty.

    Args:
        model: has the tokenizer.
        tokens: token ids, such as ``completion.tokens``.
        text: the beginning of the text that is wanted, such as ``completion.text``, which ends
            before the stop string; the whole text when not given.

    Returns:
        A text for each token; joined they are the whole text.

    Example:
        >>> [answer] = ist.generate(model, prompts[:1], max_new_tokens=8)
        >>> "".join(split_by_token(model, answer.tokens, answer.text)) == answer.text
        True
    """
    whole = model.decode(tokens)
    end = len(whole) if text is None else min(len(text), len(whole))
    ends = [0]
    for count in range(1, len(tokens)):
        known = model.decode(tokens[:count]).rstrip(HALF)
        stands = len(known) >= ends[-1] and whole.startswith(known)
        ends.append(len(known) if stands else ends[-1])
    bounds = [min(at, end) for at in (*ends, len(whole))]
    return [whole[start:stop] for start, stop in pairwise(bounds)][: len(tokens)]
