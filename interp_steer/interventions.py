"""Edits of activations: add, shift, turn, project, ablate, transport; scheduled, composed.

Every operation is the same affine edit along a unit direction ``u``, at the positions of its mask,
with the weight ``a_i`` that its schedule has at step ``i``::

    x  <-  x + a_i (push + pull (target - <x, u>)) u

``add(c)`` is push = c; ``shift(c)`` is push = c |v|; ``turn(c)`` is ``add(c)`` at the length that
the activation had; ``project(z)`` is pull = 1 and target = z; ``ablate()`` is pull = 1 and target =
0; ``transport(c)`` is a shift and as many times the linear part of a map
(:mod:`interp_steer.transport`). That they share one form is what lets a batch carry
another intervention in each row and still be edited by one tensor operation per site. A direction
may be another one at each step.

At ``z`` the direction lives in all heads together: ``<x, u>`` runs over heads and head dimensions,
as the output projection reads them. To edit heads one by one, compose one direction per head, zero
in the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, SupportsFloat, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer import canonical
from interp_steer.basis import UNPROCESSED
from interp_steer.errors import InterventionError
from interp_steer.positions import Clock, span
from interp_steer.row_edits import Affine, Dials, Linear, SiteHook
from interp_steer.schedules import AnySchedule, Dynamic, fixed
from interp_steer.schedules import parse as parse_schedule
from interp_steer.sites import Site

FwdHooks = list[tuple[str, Callable[..., Any]]]
"""What every TransformerLens call takes as ``fwd_hooks``: pairs of hook name and function."""


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction, read at a site and applied at a site.

    Args:
        vector: the raw direction, float32, of the shape of an activation at ``site``; or one for
            each generated step, along a first axis, of which the last holds from then on.
        target: mean projection, on the unit direction, of prompts that have the property (``z`` of
            paper A); None when it was not measured.
        name: what the canonical line calls it.
        source: the site at which the direction was read.
        site: the site at which it is applied; usually the same.
        model: the name of the model that it was read from, for error messages.
        n_layers: layers of that model.
        d_model: width of its residual stream.
        basis: of that model's weights; it acts on weights in the same basis only.

    Raises:
        InterventionError: for a name that the canonical line could not hold, a vector that is not
            finite or has no length, a shape that ``site`` does not have, or a target that is not
            finite.
        SiteError: when a site is beyond the model's layers.
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
        if not re.fullmatch(r"[^\s@\[\]]([^@\[\]\n\r]*[^\s@\[\]])?", self.name):
            raise InterventionError(
                f"direction name {self.name!r} is empty, begins or ends in a space, or holds "
                "one of @ [ ] or a line break; rename it"
            )
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
    def by_step(self) -> tuple[Float[Tensor, "step *shape"], tuple[float, ...]]:
        """Unit directions and lengths, for each step; one of each where they do not differ."""
        exact = self.vector.detach().double().reshape(-1, *self.shape)
        norms = exact.flatten(1).norm(dim=1)
        scale = torch.where(norms == 0, 1.0, norms).reshape(-1, *[1] * len(self.shape))
        return (exact / scale).float(), tuple(norms.tolist())

    def add(
        self,
        coefficient: SupportsFloat,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """``x <- x + coefficient * u``, the fixed-weight steering of paper A, section 2.

        Args:
            coefficient: in units of the activation's norm, since ``u`` has length 1.
            positions: see :func:`interp_steer.positions.span`.
            schedule: by what it is multiplied at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self._edit("add", _number("coefficient", coefficient), positions, schedule)

    def shift(
        self,
        coefficient: SupportsFloat,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """``x <- x + coefficient * v`` with the raw direction ``v`` (paper B, section 2).

        Of a difference in means, 1 moves the mean without the property onto the mean with it.

        Args:
            coefficient: how many times the direction is added.
            positions: see :func:`interp_steer.positions.span`.
            schedule: by what it is multiplied at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self._edit("shift", _number("coefficient", coefficient), positions, schedule)

    def turn(
        self,
        coefficient: SupportsFloat,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """``x <- |x| (x + coefficient * u) / |x + coefficient * u|``: addition that keeps the norm.

        The activation turns towards the direction, in the plane of the two, and gets no longer, as
        in Angular Steering (arXiv 2510.26243), where the angle is given in place of what is added.

        Args:
            coefficient: in units of the activation's norm, as in :meth:`add`: of an activation at
                right angles, the tangent of the angle times its norm.
            positions: see :func:`interp_steer.positions.span`.
            schedule: by what it is multiplied at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self._edit("turn", _number("coefficient", coefficient), positions, schedule)

    def project(
        self,
        target: SupportsFloat | None = None,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """``x <- x + (target - <x, u>) u``, the projection steering of paper A, section 2.

        Two-sided: an activation that projects beyond the target is pulled back to it.

        Args:
            target: the projection to clamp to; by default the direction's own.
            positions: see :func:`interp_steer.positions.span`.
            schedule: what share of the way it goes at each step.

        Raises:
            InterventionError: when there is no target, it is not finite, or positions are unknown.
        """
        chosen = self.target if target is None else target
        if chosen is None:
            raise InterventionError(
                f"direction {self.name} carries no target; give one, such as project(target=2.0)"
            )
        return self._edit("project", _number("target", chosen), positions, schedule)

    def ablate(self, positions: str = "all", schedule: AnySchedule = fixed) -> Intervention:
        """``x <- x - <x, u> u``: the activation without its component along the direction.

        Args:
            positions: see :func:`interp_steer.positions.span`.
            schedule: what share of the component goes at each step.

        Raises:
            InterventionError: when positions are unknown.
        """
        return self._edit("ablate", 0.0, positions, schedule)

    def _edit(
        self, operation: str, value: float, positions: str, schedule: AnySchedule
    ) -> Intervention:
        return Intervention((Edit(self, operation, value, positions, schedule),))

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
        positions: see :func:`interp_steer.positions.span`.
        schedule: the weight of the operation at each step.

    Raises:
        InterventionError: for an unknown operation or positions, a value that is not finite, a
            transport by what is no map, or a dynamic schedule over positions that no token is
            generated at.
    """

    direction: Direction
    operation: str
    value: float
    positions: str = "all"
    schedule: AnySchedule = fixed

    def __post_init__(self) -> None:
        if self.operation not in canonical.NUMBERS:
            raise InterventionError(
                f"unknown operation {self.operation!r}; use one of {', '.join(canonical.NUMBERS)}"
            )
        object.__setattr__(self, "value", _number("value", self.value))
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
    def written(self) -> canonical.Written:
        """The edit as its canonical line has it, without what goes without saying."""
        takes = canonical.NUMBERS[self.operation]
        own = self.operation == "project" and self.value == self.direction.target
        return canonical.Written(
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
        return canonical.line([self.written])


@runtime_checkable
class DirectionSource(Protocol):
    """Anything that can give a direction by site, as a steering vector does."""

    def direction(self, source: Site, site: Site) -> Direction:
        """The direction that was read at ``source``, to be applied at ``site``."""
        ...


Directions = Callable[[str], DirectionSource] | Mapping[str, DirectionSource]
"""From the name in a canonical line to its :class:`DirectionSource`."""


@dataclass(frozen=True)
class Intervention:
    """Edits that are applied together, in order; ``a + b`` composes.

    ``str(intervention)`` is one canonical line, which :meth:`parse` reads back.

    Args:
        edits: what is done; edits at the same site see each other's effect, in this order.

    Example:
        >>> steer = lowercase.at(5).project() + castle.at(3).add(-4.0)
        >>> str(steer)
        'project(lowercase@resid_post.5) + add(castle@resid_post.3, coefficient=-4.0)'
        >>> logits = model.bridge.run_with_hooks(tokens, fwd_hooks=steer.fwd_hooks())
    """

    edits: tuple[Edit, ...] = ()

    def __add__(self, other: Intervention) -> Intervention:
        if not isinstance(other, Intervention):
            return NotImplemented
        return Intervention(self.edits + other.edits)

    def __str__(self) -> str:
        return canonical.line([edit.written for edit in self.edits])

    @property
    def dynamic(self) -> tuple[tuple[str, Dynamic], ...]:
        """The properties whose weight is found while the model runs: the names of their directions,
        with their schedules, each once."""
        found = dict.fromkeys(map(_property, self.edits))
        return tuple(each for each in found if each is not None)

    @property
    def bases(self) -> frozenset[str]:
        """The bases of the weights that its directions were read from."""
        return frozenset(edit.direction.basis for edit in self.edits)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that are written, in the order of the layers, each once."""
        return tuple(sorted({edit.direction.site for edit in self.edits}))

    def fwd_hooks(self, clock: Clock | None = None) -> FwdHooks:
        """The hooks that apply this intervention to every row, for any TransformerLens call.

        Args:
            clock: says which positions a pass holds. Without one every position is edited, pads
                included (they are masked from attention, so that no real token notices).

        Raises:
            InterventionError: when an edit has positions other than ``"all"`` and there is no
                clock to count them.
        """
        return row_hooks([self], clock)

    @classmethod
    def parse(cls, line: str, directions: Directions) -> Intervention:
        """Read back a canonical line.

        Args:
            line: what ``str(intervention)`` wrote.
            directions: from each name in the line to the vector that it stands for.

        Returns:
            the intervention, whose ``str`` is ``line``.

        Raises:
            InterventionError: when the line is not canonical, a name is unknown, or what the names
                stand for would write another line.
        """
        edits = [_edit_of(written, line, directions) for written in canonical.read(line)]
        parsed = cls(tuple(edits))
        if str(parsed) != line:
            raise InterventionError(
                f"{line!r} reads back as {str(parsed)!r}; the line is not canonical, or a name in "
                "it stands for another direction"
            )
        return parsed


unsteered = Intervention()
"""The intervention that does nothing."""


def compose(interventions: Iterable[Intervention]) -> Intervention:
    """All the edits of several interventions, in order; none give :data:`unsteered`."""
    return Intervention(tuple(edit for one in interventions for edit in one.edits))


def row_hooks(
    interventions: Sequence[Intervention], clock: Clock | None, dials: Dials | None = None
) -> FwdHooks:
    """Hooks under which each row of a batch has its own intervention.

    There is one hook per site that some row writes, and none elsewhere. It applies the first edit
    of every row at that site in one tensor operation, then the second, and so on.

    Args:
        interventions: one per row of the batch that the clock begins; a single one is for any
            number of rows.
        clock: says which positions a pass holds and which rows are left.
        dials: say the weights of dynamic schedules, a dial for each of ``intervention.dynamic``.

    Returns:
        pairs of hook name and function, in the order of the layers.

    Raises:
        InterventionError: when an edit depends on the position or the step and there is no clock,
            when one has a dynamic schedule and there are no dials, or when directions at one site
            have different widths.
    """
    for edit in (edit for one in interventions for edit in one.edits):
        if clock is None and (edit.positions != "all" or edit.varies):
            raise InterventionError(
                f"{edit} needs to know which positions a pass holds; generate with "
                "ist.generate, or drive a Clock and pass it: fwd_hooks(clock)"
            )
        if dials is None and isinstance(edit.schedule, Dynamic):
            raise InterventionError(
                f"{edit} finds its weight while the model generates; use ist.generate, "
                "ist.logprobs or ist.trace"
            )
    hooks: FwdHooks = []
    numbers = {id(one): {key: n for n, key in enumerate(one.dynamic)} for one in interventions}
    for site in compose(interventions).sites:
        rows = [
            [
                edit.affine(numbers[id(one)].get(_property(edit)))  # type: ignore[arg-type]
                for edit in one.edits
                if edit.direction.site == site
            ]
            for one in interventions
        ]
        widths = sorted({edit.unit[0].numel() for row in rows for edit in row})
        if len(widths) > 1:
            raise InterventionError(
                f"directions at {site} have {' and '.join(map(str, widths))} components; "
                "compose directions of one model"
            )
        hooks.append((site.hook_name, SiteHook(str(site), rows, clock, dials)))
    return hooks


def _property(edit: Edit) -> tuple[str, Dynamic] | None:
    """What an edit's dynamic schedule follows; edits of one name are one property."""
    if isinstance(edit.schedule, Dynamic):
        return edit.direction.name, edit.schedule
    return None


def _edit_of(written: canonical.Written, line: str, directions: Directions) -> Edit:
    name = written.name
    try:
        vector = directions[name] if isinstance(directions, Mapping) else directions(name)
    except KeyError as error:
        known = f" ({', '.join(sorted(directions))})" if isinstance(directions, Mapping) else ""
        raise InterventionError(
            f"{line!r} names {name!r}, which is not among the directions given{known}"
        ) from error
    direction = vector.direction(written.source, written.site)
    schedule = fixed if written.schedule is None else parse_schedule(written.schedule)
    value = written.coefficient or written.target
    if value is None and written.operation == "project":
        value = direction.project().edits[0].value  # its own target, where it has one
    return Edit(
        direction,
        written.operation,
        0.0 if value is None else _number("value", value),
        written.positions or "all",
        schedule,
    )


def _number(what: str, value: SupportsFloat | str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InterventionError(f"{what} {value!r} is not a number; give a finite one") from error
    if not math.isfinite(number):
        raise InterventionError(f"{what} is {number}; give a finite number")
    return number
