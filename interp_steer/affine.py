"""What an edit is in numbers: an affine map along one direction, or a linear one of deviations."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.positions import Span


@dataclass(frozen=True, eq=False)
class Linear:
    """``B (x - b)``: what an affine map does to an activation's deviation from a mean."""

    matrix: Float[Tensor, " width *width"]
    """``B``; of one axis where it is diagonal."""
    origin: Float[Tensor, " width"]
    """``b``."""
    _placed: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Both in float32 on a device, where they stay: rows come and go, maps do not."""
        if device not in self._placed:
            matrix, origin = (each.detach().float() for each in (self.matrix, self.origin))
            self._placed[device] = matrix.to(device), origin.to(device)
        return self._placed[device]


@dataclass(frozen=True, eq=False)
class Affine:
    """``x <- x + w_i (push_i + pull (target - <x, u_i>)) u_i + w_i spread B (x - b)`` at step
    ``i``, within a span.

    What is told by step has an entry for step 0, 1 and so on; the last one holds from then on, and
    tokens of the prompt before step 0 have the first. Where there is a dial, ``w_i`` is multiplied
    by what the dial says of the row and the step. Where it keeps the length, what comes out is
    scaled to the norm of what went in.
    """

    unit: Float[Tensor, " step *shape"]
    push: tuple[float, ...]
    pull: float
    target: float
    weights: tuple[float, ...]
    span: Span
    dial: int | None = None
    linear: Linear | None = None
    spread: float = 0.0
    keeps_length: bool = False
