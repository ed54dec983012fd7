"""Is a direction used? Activations exchanged between the two prompts of a pair.

Run the same request with the instruction and without it, and carry the activation of one run into
the other: what the answer becomes is what that activation, or its component along a direction, does
(interchange interventions: Geiger et al. 2021; activation patching: Meng et al. 2022).
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
"""What is exchanged: the whole activation, its component along a direction, or all but that."""


def interchange(
    direction: Direction,
    donor: Float[Tensor, " prompt *shape"],
    receiver: Float[Tensor, " prompt *shape"],
    part: Part = "whole",
) -> list[Intervention]:
    """Give each prompt's last token the activation that another prompt has there.

    With ``h`` the donor's and ``h'`` the receiver's activation at the site of the direction, at the
    last token of the prompt of either, and ``u`` the unit direction::

        whole       h' + (h - h')                        = h
        component   h' + <h - h', u> u
        rest        h' + (h - h') - <h - h', u> u

    Only the last token of the prompt is written. What it is made of by then is not: later layers
    read the rest of the receiver's prompt as before. ``whole`` is what TransformerLens'
    ``generic_activation_patch`` does at that position; here every prompt of a batch has its own
    patch, so that answers can be generated under it.

    Args:
        direction: applied where it was read; its site is patched.
        donor: an activation for each prompt, at that site.
        receiver: those of the prompts that will be run, in the same order and with nothing else
            acting on the model before the site: ``whole`` and ``rest`` are added as differences.
        part: what is exchanged.

    Returns:
        An intervention for each prompt, for :func:`interp_steer.generate` and
        :func:`interp_steer.logprobs`; one that does nothing where the two do not differ.

    Raises:
        InterventionError: for an unknown part, activations of another shape than the direction's,
            or a direction with one vector for each step.

    Example:
        >>> rows = [capture(model, side, keep_rows=True).rows.values[site] for side in sides]
        >>> steering = interchange(vector.at(5), *rows, part="component")  # doctest: +SKIP
        >>> ist.generate(model, pairs.absent, steering)                    # doctest: +SKIP
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
        targets = _projections(direction, donor).tolist()
        return [direction.project(target, "last") for target in targets]
    change = donor.double() - receiver.double()
    if part == "rest":
        moved = moved_along(direction, donor, receiver)
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


def moved_along(
    direction: Direction,
    donor: Float[Tensor, " prompt *shape"],
    receiver: Float[Tensor, " prompt *shape"],
) -> Float64[Tensor, " prompt"]:
    """``<h - h', u>``: how far an exchange moves each prompt along a direction.

    A control moves it as far along another one, such as a random direction ``r``::

        [r.add(amount, "last") for amount in moved_along(direction, donor, receiver)]
    """
    return _projections(direction, donor.double() - receiver.double())


def _projections(
    direction: Direction, rows: Float[Tensor, " prompt *shape"]
) -> Float64[Tensor, " prompt"]:
    unit = direction.unit.double().flatten()
    return einsum(rows.double().flatten(1), unit, "prompt d, d -> prompt")


Rows = Mapping[ist.Site, Tensor]
"""By site, an activation for each prompt."""


def last_tokens(model: ist.HookedLM, pairs: ContrastSet) -> tuple[Rows, Rows]:
    """The residual stream at the last token of the prompts with the instruction, and of those
    without."""
    present, absent = (
        ist.capture.capture_moments(model, side, keep_rows=True).rows
        for side in (pairs.present, pairs.absent)
    )
    assert present is not None and absent is not None
    return present.values, absent.values
