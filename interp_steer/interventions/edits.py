"""One edit of an activation: a vector placed at a site, and what is done along it, as numbers.

Every operation is the same affine edit along a unit direction ``u``, at the positions of its mask,
with the weight ``a_i`` that its schedule has at step ``i``::

    x  <-  x + a_i (push + pull (target - <x, u>)) u

``add(c)`` is push = c; ``shift(c)`` is push = c |v|; ``turn(c)`` is ``add(c)`` at the length that
the activation had; ``project(z)`` is pull = 1 and target = z; ``ablate()`` is pull = 1 and target =
0; ``transport(c)`` is a shift and as many times the linear part of a map
(:mod:`interp_steer.vectors.transport`). That they share one form is what lets a batch carry
another intervention in each row and still be edited by one tensor operation per site. A direction
may be another one at each step.

At ``z`` the direction lives in all heads together: ``<x, u>`` runs over heads and head dimensions,
as the output projection reads them. To edit heads one by one, compose one direction per head, zero
in the others.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterventionError
from interp_steer.interventions import notation
from interp_steer.interventions.positions import Span, span
from interp_steer.interventions.schedules import AnySchedule, Dynamic, Schedule, fixed
from interp_steer.models.basis import UNPROCESSED
from interp_steer.models.sites import Site


@dataclass(frozen=True, eq=False)
class PlacedVector:
    """A vector that was read at a site and is applied at a site.

    The fields are those of :class:`~interp_steer.interventions.intervention.Direction`.
    """

    vector: Float[Tensor, "*step_and_shape"]
    target: float | None
    name: str
    source: Site
    site: Site
    model: str
    n_layers: int
    d_model: int
    basis: str = field(default=UNPROCESSED, kw_only=True)

    def __post_init__(self) -> None:
        if not re.fullmatch(notation.NAME, self.name):
            raise InterventionError(f"direction name {self.name!r} is {notation.NAMED}; rename it")
        self.source.check(self.n_layers)
        self.site.check(self.n_layers)
        shape = tuple(self.vector.shape)
        at_z = self.site.component == "z"
        fits = len(shape) in (2, 3) if at_z else shape[-1:] == (self.d_model,) and len(shape) < 3
        if not fits or 0 in shape:
            expected = "(n_heads, d_head)" if at_z else f"({self.d_model},)"
            raise InterventionError(
                f"direction {self.name} has shape {shape} but an activation at {self.site} of "
                f"{self.model} has shape {expected}, before which only an axis of steps may stand; "
                "take the vector of the site it is applied at"
            )
        norm = float(self.vector.detach().double().norm())
        if not math.isfinite(norm) or norm == 0.0:
            raise InterventionError(
                f"direction {self.name} at {self.source} has norm {norm}; a direction must be "
                "finite and not zero, so fit it on pairs that differ"
            )
        if self.target is not None and not math.isfinite(self.target):
            raise InterventionError(
                f"direction {self.name} has target {self.target}; give a finite number, or None"
            )

    @property
    def stepped(self) -> bool:
        """Whether there is a direction of its own for each step."""
        return self.vector.ndim > len(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an activation, without an axis of steps."""
        return tuple(self.vector.shape[-2:] if self.site.component == "z" else [self.d_model])

    @property
    def linear(self) -> Linear | None:
        """What it does to deviations, where it is an affine map and not a direction alone."""
        return None

    @cached_property
    def unit(self) -> Float[Tensor, "*step_and_shape"]:
        """The direction scaled to length 1 (over all heads together at ``z``), float32.

        With a direction for each step, each of them; zero where there is none.
        """
        return self.by_step[0].reshape(self.vector.shape)

    @cached_property
    def by_step(self) -> tuple[Float[Tensor, " step *shape"], tuple[float, ...]]:
        """Unit directions and lengths, for each step; one of each where they do not differ."""
        exact = self.vector.detach().double().reshape(-1, *self.shape)
        norms = exact.flatten(1).norm(dim=1)
        scale = torch.where(norms == 0, 1.0, norms).reshape(-1, *[1] * len(self.shape))
        return (exact / scale).float(), tuple(norms.tolist())

    def __str__(self) -> str:
        read = "" if self.source == self.site else f"[{self.source}]"
        return f"{self.name}{read}@{self.site}"


@dataclass(frozen=True)
class Edit:
    """One operation along one direction.

    Args:
        direction: along what, and where.
        operation: ``"add"``, ``"shift"``, ``"turn"``, ``"project"``, ``"ablate"`` or
            ``"transport"``.
        value: the coefficient of ``add``, ``shift``, ``turn`` and ``transport``, the target of
            ``project``, 0 for ``ablate``.
        positions: see :func:`interp_steer.interventions.positions.span`.
        schedule: the weight of the operation at each step.

    Raises:
        InterventionError: for an unknown operation or positions, a value that is not finite, what
            is no schedule, a transport by what is no map, or a dynamic schedule over positions that
            no token is generated at.
    """

    direction: PlacedVector
    operation: str
    value: float
    positions: str = "all"
    schedule: AnySchedule = fixed

    def __post_init__(self) -> None:
        if self.operation not in notation.NUMBERS:
            raise InterventionError(
                f"unknown operation {self.operation!r}; use one of {', '.join(notation.NUMBERS)}"
            )
        object.__setattr__(self, "value", finite("value", self.value))
        if not isinstance(self.schedule, (Schedule, Dynamic)):
            raise InterventionError(
                f"schedule is {self.schedule!r}; give one of ist.schedules, such as "
                "ist.schedules.parse('diminishing(30)')"
            )
        if self.operation == "transport" and self.direction.linear is None:
            raise InterventionError(
                f"{self.direction} is a direction and no map to transport by; fit one with "
                "ist.fit_transport(model, pairs), or shift along it"
            )
        if span(self.positions).first_step < 0 and isinstance(self.schedule, Dynamic):
            raise InterventionError(
                f"{self} would act on the prompt, where nothing is predicted that its schedule "
                "could follow; give it positions='generated' or 'first(n)'"
            )

    @property
    def varies(self) -> bool:
        """Whether it depends on the step."""
        return self.direction.stepped or self.schedule != fixed

    @property
    def followed(self) -> tuple[str, Dynamic] | None:
        """The property whose weight is found while the model runs: edits of one name, by one
        dynamic schedule, are one property. None for a schedule that is known before."""
        if isinstance(self.schedule, Dynamic):
            return self.direction.name, self.schedule
        return None

    def affine(self, dial: int | None = None) -> Affine:
        """The edit as numbers, for the hook that applies it.

        Args:
            dial: the number of the dial that its dynamic schedule is told by.
        """
        units, norms = self.direction.by_step
        shifted = tuple(self.value * norm for norm in norms)
        added = (self.value,)
        pushes = {"add": added, "turn": added, "shift": shifted, "transport": shifted}
        mapped = self.operation == "transport"
        return Affine(
            unit=units,
            push=pushes.get(self.operation, (0.0,)),
            pull=0.0 if self.operation in pushes else 1.0,
            target=self.value if self.operation == "project" else 0.0,
            weights=(1.0,) if isinstance(self.schedule, Dynamic) else self.schedule.weights,
            span=span(self.positions),
            dial=dial,
            linear=self.direction.linear if mapped else None,
            spread=self.value if mapped else 0.0,
            keeps_length=self.operation == "turn",
        )

    @property
    def written(self) -> notation.Written:
        """The edit as its canonical line has it, without what goes without saying."""
        takes = notation.NUMBERS[self.operation]
        own = self.operation == "project" and self.value == self.direction.target
        return notation.Written(
            operation=self.operation,
            name=self.direction.name,
            source=self.direction.source,
            site=self.direction.site,
            coefficient=repr(self.value) if "coefficient" in takes else None,
            target=repr(self.value) if "target" in takes and not own else None,
            schedule=None if self.schedule == fixed else str(self.schedule),
            positions=None if self.positions == "all" else self.positions,
        )

    def __str__(self) -> str:
        return notation.line([self.written])


def finite(what: str, value: SupportsFloat | str) -> float:
    """A number that was given.

    Raises:
        InterventionError: for what is none, or is not finite.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InterventionError(f"{what} {value!r} is not a number; give a finite one") from error
    if not math.isfinite(number):
        raise InterventionError(f"{what} is {number}; give a finite number")
    return number


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
