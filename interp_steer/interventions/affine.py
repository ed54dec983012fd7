"""Hold an edit as plain numbers, which is the form that hooks apply."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.interventions.positions import Span


@dataclass(frozen=True, eq=False)
class Linear:
    """The linear part of an affine map, ``B (x - b)``: it acts on the deviation from a mean."""

    matrix: Float[Tensor, " width *width"]
    """``B``; a vector if ``B`` is diagonal."""
    origin: Float[Tensor, " width"]
    """``b``, the mean."""
    _placed: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the matrix and the origin in float32 on a device.

        The copies are kept: the rows of a batch change often, and their maps do not.
        """
        if device not in self._placed:
            matrix, origin = (each.detach().float() for each in (self.matrix, self.origin))
            self._placed[device] = matrix.to(device), origin.to(device)
        return self._placed[device]


@dataclass(frozen=True, eq=False)
class Affine:
    """The numbers of one edit, at step ``i`` and at the positions of ``span``::

        x <- x + w_i (push_i + pull (target - <x, u_i>)) u_i + w_i linear_coefficient B (x - b)

    ``unit``, ``push`` and ``weights`` have an entry for step 0, step 1 and so on. The last entry
    holds for all later steps, the first entry for the prompt tokens before step 0.
    """

    unit: Float[Tensor, " step *shape"]
    """``u_i``, of length 1."""
    push: tuple[float, ...]
    pull: float
    target: float
    weights: tuple[float, ...]
    """``w_i``: the schedule; 1 for a dynamic schedule."""
    span: Span
    dynamic: int | None = None
    """For a dynamic schedule, the number of its property in the row: ``w_i`` is multiplied by the
    weight that :class:`~interp_steer.interventions.hooks.DynamicWeights` has for this property."""
    linear: Linear | None = None
    linear_coefficient: float = 0.0
    keeps_length: bool = False
    """Whether the result is rescaled to the length that the activation had."""
