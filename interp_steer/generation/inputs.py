"""Check prompts and interventions against each other and the model, and make requests of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interp_steer.arguments import check_list
from interp_steer.errors import GenerationError, InterventionError
from interp_steer.generation.request import Request
from interp_steer.interventions.intervention import Direction, Intervention, check_interventions
from interp_steer.models.basis import check_basis
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.models.prompts import Query


def prepare(
    model: HookedLM,
    prompts: Sequence[Query],
    steering: Intervention | Sequence[Intervention],
    batch_size: int,
) -> list[Request]:
    """Check prompts and steering against each other and the model, and tokenise.

    Args:
        model: the model.
        prompts: texts or message lists; each is rendered once.
        steering: one intervention for all prompts, or one per prompt.
        batch_size: checked only.

    Returns:
        One request per prompt, in the order of the prompts.

    Raises:
        GenerationError: for an empty list of prompts, an empty prompt, a batch size below 1, or
            steering of another length than the prompts.
        InterventionError: when a direction does not fit the model.
        BasisError: when a direction was read from weights in another basis than the model's.
    """
    check_model(model)
    _check_prompts(prompts, batch_size)
    interventions = _spread_steering(steering, len(prompts))
    lines: dict[int, str] = {}
    basis = model.basis
    for intervention in interventions:
        if id(intervention) not in lines:
            for direction in {edit.direction for edit in intervention.edits}:
                check_fit(model, basis, direction)
            lines[id(intervention)] = str(intervention)
    rendered = [model.render(prompt) for prompt in prompts]
    return [
        Request(tokens, intervention, prompt=prompt, applied=lines[id(intervention)])
        for prompt, tokens, intervention in zip(
            rendered, model.tokenize_rendered(rendered), interventions, strict=True
        )
    ]


def _check_prompts(prompts: Sequence[Query], batch_size: int) -> None:
    check_list("prompts", prompts, GenerationError)
    if len(prompts) == 0:
        raise GenerationError("the list of prompts is empty; give at least one")
    if batch_size < 1:
        raise GenerationError(f"batch_size is {batch_size}; give at least 1")
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, Sequence):
            raise GenerationError(
                f"prompt {number} is {prompt!r:.80}; give a text, or the turns of a chat"
            )
        if len(prompt) == 0 or (isinstance(prompt, str) and not prompt.strip()):
            raise GenerationError(f"prompt {number} is empty, {prompt!r}; leave it out")


def _spread_steering(
    steering: Intervention | Sequence[Intervention], n_prompts: int
) -> list[Intervention]:
    """Return one intervention per prompt."""
    one_for_all = isinstance(steering, str) or not isinstance(steering, Sequence)
    interventions: list[Any] = [steering] * n_prompts if one_for_all else list(steering)  # type: ignore[arg-type]
    check_interventions(interventions, GenerationError)
    if len(interventions) != n_prompts:
        raise GenerationError(
            f"{len(interventions)} interventions for {n_prompts} prompts; "
            "give one for all, or one per prompt"
        )
    return interventions


def check_room(model: HookedLM, number: int, n_prompt: int, n_more: int, fix: str) -> None:
    """Check that a row fits the context of the model.

    Args:
        model: the model.
        number: the number of the prompt, for the message.
        n_prompt: the tokens of the prompt.
        n_more: the most tokens that follow the prompt.
        fix: the advice of the message.

    Raises:
        GenerationError: when the row does not fit, with the numbers.
    """
    if model.max_positions is not None and n_prompt + n_more > model.max_positions:
        raise GenerationError(
            f"prompt {number} has {n_prompt} tokens and is to have {n_more} more, and "
            f"{model.describe()} has a context of {model.max_positions}; {fix}, or shorten the "
            "prompt"
        )


def check_fit(model: HookedLM, basis: str, direction: Direction) -> None:
    """Check that a direction has the sizes and the basis of a model.

    Args:
        model: the model.
        basis: the basis of its weights, which takes a while to determine.
        direction: the direction.

    Raises:
        InterventionError: when the direction is for a model of other sizes.
        BasisError: when the direction was read from weights in another basis.
    """
    shape = direction.site.shape(model.n_heads, model.d_head, model.d_model)
    same_model = (direction.n_layers, direction.d_model) == (model.n_layers, model.d_model)
    if not same_model or direction.shape != shape:
        fix = "fit one with ist.fit(model, pairs)"
        if direction.site.component != "z":
            fix += ", or map its vector with ist.transfer.map_vector(...)"
        raise InterventionError(
            f"{direction} of shape {tuple(direction.vector.shape)}, for {direction.model} "
            f"({direction.n_layers} layers, d_model {direction.d_model}), cannot steer "
            f"{model.describe()}, where {direction.site} has shape {shape}; {fix}"
        )
    check_basis(direction.basis, f"{direction}, of {direction.model},", basis, model.describe())
