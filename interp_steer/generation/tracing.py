"""What an intervention did while an answer was given, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp_steer.generation.teacher_forcing import (
    GivenAnswer,
    found_weights,
    given_answers,
    predictions,
    scored,
)
from interp_steer.interventions.intervention import Edit, Intervention, unsteered
from interp_steer.interventions.schedules import AnySchedule
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import Query

FoundBySteps: TypeAlias = tuple[Float[Tensor, " step"], Float[Tensor, " step"]]
"""Divergences and weights of a dynamic schedule."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One answer under an intervention, step by step; step 0 is where its first token is generated.

    A property is all that acts along directions of one name.
    """

    tokens: tuple[int, ...]
    """The token that each step generated."""
    properties: tuple[str, ...]
    strength: Float[Tensor, "property step"]
    """``coefficient * a_i``, the largest among the sites of a property; 0 where nothing acted."""
    probe_kl: Float[Tensor, "property step"]
    """What a dynamic schedule followed: how far its probe was from the clean prediction, in nats,
    the largest where a property has several; nan for schedules that follow nothing."""
    kl: Float[Tensor, " step"]
    """From the unsteered to the steered prediction over the whole vocabulary, in nats."""
    projection: Float[Tensor, "property step"]
    """``<x, u_i>`` after the edit, in the mean over the sites of a property."""


def trace(
    model: HookedLM,
    prompts: Sequence[Query],
    answers: Sequence[str | Sequence[int]],
    steering: Intervention | Sequence[Intervention],
    *,
    batch_size: int = 16,
    through: Through | None = None,
) -> list[Trace]:
    """Go through given answers once more and tell what the intervention did at each step.

    Given the tokens that the model generated under the same intervention (``completion.tokens``),
    it is what happened then: a position is steered alike whether its token was just generated or is
    given.

    Args:
        model: the model.
        prompts: as for :func:`interp_steer.logprobs`.
        answers: token ids, or texts.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: rows run together; a batch that does not fit in memory is halved.
        through: as for :func:`interp_steer.generate`.

    Returns:
        one trace per prompt, in the order of the prompts.

    Raises:
        GenerationError: as :func:`interp_steer.logprobs`.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> said = ist.generate(model, prompts, steer)                        # doctest: +SKIP
        >>> traces = ist.trace(model, prompts, [c.tokens for c in said], steer)  # doctest: +SKIP
    """

    def score(rows: Sequence[GivenAnswer]) -> list[Trace]:
        return _traces(model, rows, through)

    given = given_answers(model, prompts, answers, steering, batch_size)
    return scored(model, given, score, batch_size, "trace")


def _traces(model: HookedLM, rows: Sequence[GivenAnswer], through: Through | None) -> list[Trace]:
    plain = predictions(model, [row.under(unsteered) for row in rows], through)
    seen: dict[str, Float[Tensor, "row token *shape"]] = {}
    steered = predictions(model, rows, through, reading=_readers(rows, seen))
    apart = einsum(
        plain.logprobs.exp(),
        plain.logprobs - steered.logprobs,
        "row token vocabulary, row token vocabulary -> row token",
    )
    weights = _weights(model, rows, through)
    width = apart.shape[1]
    found = []
    for number, row in enumerate(rows):
        said = len(row.answer)
        properties = tuple(dict.fromkeys(edit.direction.name for edit in row.steering.edits))
        edits = [[e for e in row.steering.edits if e.direction.name == one] for one in properties]
        dials = [
            [weights.get((number, e.direction.name, e.schedule)) for e in each] for each in edits
        ]
        found.append(
            Trace(
                tokens=tuple(row.answer),
                properties=properties,
                strength=_stacked(
                    [_strength(each, dial, said) for each, dial in zip(edits, dials, strict=True)],
                    said,
                ),
                probe_kl=_stacked([_followed(each, said) for each in dials], said),
                kl=apart[number, width - said :].clamp(min=0).cpu(),
                projection=_stacked(
                    [
                        torch.stack(
                            [
                                _along(edit, seen[edit.direction.site.hook_name][number], said)
                                for edit in each
                            ]
                        ).mean(dim=0)
                        for each in edits
                    ],
                    said,
                ),
            )
        )
    return found


def _readers(rows: Sequence[GivenAnswer], seen: dict[str, Any]) -> list[tuple[str, Any]]:
    """Hooks that keep what the edited sites hold after the edits."""

    def reader(name: str) -> Any:
        def read(activation: Tensor, hook: Any = None) -> None:
            seen[name] = activation.detach().float().cpu()

        return read

    sites = {edit.direction.site for row in rows for edit in row.steering.edits}
    return [(site.hook_name, reader(site.hook_name)) for site in sorted(sites)]


def _weights(
    model: HookedLM, rows: Sequence[GivenAnswer], through: Through | None
) -> dict[tuple[int, str, AnySchedule], FoundBySteps]:
    """The divergences and weights of each row's dynamic properties."""
    steering = [row.steering for row in rows]
    if not any(one.dynamic for one in steering):
        return {}
    found: dict[tuple[int, str, AnySchedule], tuple[Tensor, Tensor]] = {}
    for weights in found_weights(model, rows, through):
        for each, (row, dial) in enumerate(
            zip(weights.row.tolist(), weights.dial.tolist(), strict=True)
        ):
            followed = steering[row].dynamic[dial]
            said = len(rows[row].answer)
            sides = (weights.divergence[each], weights.weight[each])
            found[(row, *followed)] = tuple(side[-said:].cpu() for side in sides)  # type: ignore[assignment]
    return found


def _strength(
    edits: Sequence[Edit], dials: Sequence[FoundBySteps | None], said: int
) -> Float[Tensor, " step"]:
    """The weights of a property at each step, times its coefficient."""
    each = []
    for edit, found in zip(edits, dials, strict=True):
        numbers = edit.affine()
        table = torch.tensor(numbers.weights)
        step = torch.arange(said)
        weight = table[step.clamp(max=len(table) - 1)]
        if found is not None:
            weight = found[1]
        inside = (step >= numbers.span.first_step) & (step < numbers.span.end_step)
        scale = edit.value if edit.operation.parameter == "coefficient" else 1.0
        each.append(scale * weight * inside)
    stacked = torch.stack(each)
    return stacked.gather(0, stacked.abs().argmax(dim=0, keepdim=True))[0]


def _followed(dials: Sequence[FoundBySteps | None], said: int) -> Float[Tensor, " step"]:
    """What the dynamic schedules of a property followed."""
    each = [found[0] for found in dials if found is not None]
    return torch.stack(each).amax(dim=0) if each else torch.full((said,), torch.nan)


def _along(
    edit: Edit, activation: Float[Tensor, " pos *shape"], said: int
) -> Float[Tensor, " step"]:
    """``<x, u_i>`` where each of the tokens is generated."""
    at = activation[-said:].flatten(1)
    units, _ = edit.direction.by_step
    unit = units.flatten(1)[torch.arange(said).clamp(max=len(units) - 1)]
    return einsum(at, unit, "step width, step width -> step")


def _stacked(each: Sequence[Float[Tensor, " step"]], said: int) -> Float[Tensor, "property step"]:
    return torch.stack(list(each)) if each else torch.zeros(0, said)


HALF = "\ufffd"
"""What half a character decodes to."""


def token_texts(model: HookedLM, tokens: Sequence[int], text: str | None = None) -> list[str]:
    """What each token adds to the text of those before it.

    A token may hold half a character, as those of byte-level tokenizers do, or decode to something
    else alone than behind others: the whole is decoded, and cut where the tokens end. A character
    belongs to the token that completes it; special tokens are empty.

    Args:
        model: whose tokenizer decodes.
        tokens: token ids, such as ``completion.tokens``.
        text: what of their text is wanted, a beginning of it, such as ``completion.text``, which
            ends before the stop string; all of it when not given.

    Returns:
        A text for each token, which joined are the whole.

    Example:
        >>> "".join(token_texts(model, said.tokens, said.text)) == said.text  # doctest: +SKIP
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
