"""Prompts and their interventions, checked against each other and the model, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interp_steer.errors import GenerationError, InterventionError
from interp_steer.interventions.edits import PlacedVector
from interp_steer.interventions.intervention import Intervention, check_interventions
from interp_steer.models.basis import check_basis
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.models.prompts import Query


@dataclass(frozen=True)
class Rows:
    """Checked and tokenized input, one entry per prompt."""

    rendered: list[str]
    tokens: list[list[int]]
    steering: list[Intervention]
    applied: list[str]


def prepare(
    model: HookedLM,
    prompts: Sequence[Query],
    steering: Intervention | Sequence[Intervention],
    batch_size: int,
) -> Rows:
    """Check prompts and steering against each other and the model, and tokenize.

    Raises:
        GenerationError: for no prompts, an empty prompt, a batch size below 1, or steering of
            another length than the prompts.
        InterventionError: when a direction does not fit the model.
        BasisError: when it was read from weights in another basis than the model's.
    """
    check_model(model)
    if isinstance(prompts, str):
        raise GenerationError(f"prompts is one text, {prompts!r}; give a list of prompts")
    if len(prompts) == 0:
        raise GenerationError("there are no prompts; give at least one")
    if batch_size < 1:
        raise GenerationError(f"batch_size is {batch_size}; give at least 1")
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, Sequence):
            raise GenerationError(
                f"prompt {number} is {prompt!r:.80}; give a text, or the turns of a chat"
            )
        if len(prompt) == 0 or (isinstance(prompt, str) and not prompt.strip()):
            raise GenerationError(f"prompt {number} is empty, {prompt!r}; leave it out")
    one_for_all = isinstance(steering, str) or not isinstance(steering, Sequence)
    each: list[Any] = [steering] * len(prompts) if one_for_all else list(steering)  # type: ignore[arg-type]
    check_interventions(each, GenerationError)
    if len(each) != len(prompts):
        raise GenerationError(
            f"{len(each)} interventions for {len(prompts)} prompts; "
            "give one for all, or one per prompt"
        )
    lines: dict[int, str] = {}
    basis = model.basis
    for intervention in each:
        if id(intervention) not in lines:
            for direction in {edit.direction for edit in intervention.edits}:
                check_fit(model, basis, direction)
            lines[id(intervention)] = str(intervention)
    rendered = [model.render(prompt) for prompt in prompts]
    return Rows(
        rendered=rendered,
        tokens=model.tokenize_rendered(rendered),
        steering=each,
        applied=[lines[id(intervention)] for intervention in each],
    )


def check_room(model: HookedLM, number: int, n_prompt: int, n_more: int, mend: str) -> None:
    """Refuse a row that would not fit the context of the model.

    Raises:
        GenerationError: with the numbers.
    """
    if model.max_positions is not None and n_prompt + n_more > model.max_positions:
        raise GenerationError(
            f"prompt {number} has {n_prompt} tokens and is to have {n_more} more, and "
            f"{model.describe()} has a context of {model.max_positions}; {mend}, or shorten the "
            "prompt"
        )


def check_fit(model: HookedLM, basis: str, direction: PlacedVector) -> None:
    """Refuse a direction that a model has no room for.

    Args:
        model: the model.
        basis: of its weights, which takes a while to find.
        direction: the direction.

    Raises:
        InterventionError: when it is for a model of other sizes.
        BasisError: when it was read from weights in another basis.
    """
    shape = direction.site.shape(model.n_heads, model.d_head, model.d_model)
    same_model = (direction.n_layers, direction.d_model) == (model.n_layers, model.d_model)
    if not same_model or direction.shape != shape:
        mend = "fit one with ist.fit(model, pairs)"
        if direction.site.component != "z":
            mend += ", or map its vector with ist.transfer.map_vector(...)"
        raise InterventionError(
            f"{direction} of shape {tuple(direction.vector.shape)}, for {direction.model} "
            f"({direction.n_layers} layers, d_model {direction.d_model}), cannot steer "
            f"{model.describe()}, where {direction.site} has shape {shape}; {mend}"
        )
    check_basis(direction.basis, f"{direction}, of {direction.model},", basis, model.describe())
