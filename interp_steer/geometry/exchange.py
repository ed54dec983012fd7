"""Exchange activations between the two prompts of a pair, to test whether a direction is used.

Run the same request with the instruction and without it, and patch the activation of one run into
the other. The change of the answer is the effect of that activation, or of its component along a
direction (interchange interventions: Geiger et al. 2021; activation patching: Meng et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

import interp_steer as ist
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import InterventionError
from interp_steer.interventions.intervention import Direction, Intervention, unsteered

Part: TypeAlias = Literal["whole", "component", "rest"]
"""The part that is exchanged: the whole activation, its component along a direction, or the rest
without that component."""


def exchange_activations(
    direction: Direction,
    donor: Float[Tensor, " prompt *shape"],
    receiver: Float[Tensor, " prompt *shape"],
    part: Part = "whole",
) -> list[Intervention]:
    """Patch each prompt's last token with the activation of another prompt.

    With ``h`` the donor's and ``h'`` the receiver's activation at the site of the direction, at the
    last token of either prompt, and ``u`` the unit direction::

        whole       h' + (h - h')                        = h
        component   h' + <h - h', u> u
        rest        h' + (h - h') - <h - h', u> u

    Only the last token of the prompt is written. Later layers still read the receiver's activations
    at the other tokens. ``whole`` equals TransformerLens' ``generic_activation_patch`` at that
    position; here every prompt of a batch has its own patch, so answers can be generated under it.

    Args:
        direction: a direction that is applied where it was read; its site is patched.
        donor: an activation for each prompt, at that site.
        receiver: the activations of the prompts that will be run, in the same order. Nothing else
            may act on the model before the site, because ``whole`` and ``rest`` are added as
            differences.
        part: the part that is exchanged.

    Returns:
        An intervention for each prompt, for :func:`interp_steer.generate` and
        :func:`interp_steer.logprobs`; unsteered for a prompt whose two activations are equal.

    Raises:
        InterventionError: for an unknown part, activations of another shape than the direction's,
            or a direction with one vector for each step.

    Example:
        >>> rows = capture_last_tokens(model, pairs.test)
        >>> donor, receiver = (side[vector.at(5).site] for side in rows)
        >>> steering = exchange_activations(vector.at(5), donor, receiver)
        >>> answers = ist.generate(model, pairs.test.absent, steering, max_new_tokens=4)
    """
    if part not in get_args(Part):
        raise InterventionError(f"part is {part!r}; give one of {', '.join(get_args(Part))}")
    if direction.stepped or donor.shape != receiver.shape or donor.shape[1:] != direction.shape:
        raise InterventionError(
            f"activations of shapes {tuple(donor.shape)} and {tuple(receiver.shape)} cannot be "
            f"exchanged along {direction} of shape {tuple(direction.vector.shape)}; give a row for "
            "each prompt of either side, and one direction of their shape"
        )
    if part == "component":
        targets = _project(direction, donor).tolist()
        return [direction.project(target, "last") for target in targets]
    change = donor.double() - receiver.double()
    if part == "rest":
        moved = displacement_along(direction, donor, receiver)
        change -= einsum(moved, direction.unit.double(), "prompt, ... -> prompt ...")
    return [
        replace(
            direction,
            vector=row.float(),
            target=None,
            name=f"{part}-{number}({direction.name})",
        ).shift(1.0, "last")
        if row.any()
        else unsteered
        for number, row in enumerate(change)
    ]


def displacement_along(
    direction: Direction,
    donor: Float[Tensor, " prompt *shape"],
    receiver: Float[Tensor, " prompt *shape"],
) -> Float64[Tensor, " prompt"]:
    """Return ``<h - h', u>``: how far an exchange moves each prompt along a direction.

    A control moves it as far along another direction, such as a random direction ``r``::

        [r.add(amount, "last") for amount in displacement_along(direction, donor, receiver)]
    """
    return _project(direction, donor.double() - receiver.double())


def _project(
    direction: Direction, rows: Float[Tensor, " prompt *shape"]
) -> Float64[Tensor, " prompt"]:
    unit = direction.unit.double().flatten()
    return einsum(rows.double().flatten(1), unit, "prompt d, d -> prompt")


Rows = Mapping[ist.Site, Tensor]
"""An activation for each prompt, by site."""


def capture_last_tokens(model: ist.HookedLM, pairs: ContrastSet) -> tuple[Rows, Rows]:
    """Capture the residual stream at the last token of both sides of some pairs.

    Returns:
        The rows of the prompts with the instruction, and the rows of the prompts without it.
    """
    present, absent = (
        ist.capture.capture_moments(model, side, keep_rows=True).rows
        for side in (pairs.present, pairs.absent)
    )
    assert present is not None and absent is not None
    return present.values, absent.values
