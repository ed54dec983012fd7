"""Define directions, edits along them, and interventions, which are edits together.

The three classes name each other, so they share a module: the operations of a :class:`Direction`
return an :class:`Intervention`, an intervention holds :class:`Edit` objects, and an edit holds its
direction. :mod:`interp_steer.interventions.operations` has the formulas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, SupportsFloat, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterpSteerError, InterventionError
from interp_steer.interventions import notation
from interp_steer.interventions.affine import Affine, Linear
from interp_steer.interventions.hooks import DynamicWeights, SiteHook
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.positions import Clock, span
from interp_steer.interventions.schedules import AnySchedule, Dynamic, Schedule, fixed
from interp_steer.interventions.schedules import parse as parse_schedule
from interp_steer.models.basis import UNPROCESSED
from interp_steer.models.hooked_lm import Hooks
from interp_steer.models.sites import Site


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector that was read at one site and is applied at one site, with what it can do there.

    A steering vector gives one for each of its layers. Each operation (:meth:`add`, :meth:`shift`,
    :meth:`turn`, :meth:`project`, :meth:`ablate`) returns an intervention, and takes ``positions``
    (see :func:`interp_steer.interventions.positions.span`) and a ``schedule``, whose weight at a
    step multiplies the change that the operation makes.

    Args:
        vector: the raw direction, float32, with the shape of an activation at ``site``. A first
            axis may hold one direction per generated step; the last holds for all later steps.
        target: mean projection, on the unit direction, of prompts that have the property (``z`` of
            paper A); None if it was not measured.
        name: the name in the canonical line.
        source: the site at which the direction was read.
        site: the site at which it is applied; usually the same.
        model: the name of the model that it was read from, for error messages.
        n_layers: layers of that model.
        d_model: width of its residual stream.
        basis: the basis of that model's weights; the direction fits weights in this basis only.

    Raises:
        InterventionError: for a name that the canonical line cannot hold, a vector that is not
            finite or has length 0, a shape that ``site`` does not have, or a target that is not
            finite.
        SiteError: if a site is beyond the model's layers.

    Example:
        >>> title = vector.at(layer=5)
        >>> str(title.add(4.0))
        'add(title@resid_post.5, coefficient=4.0)'
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
        """Return whether the vector has a direction per generated step."""
        return self.vector.ndim > len(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of an activation at the site: the vector's, without an axis of steps."""
        return tuple(self.vector.shape[-2:] if self.site.component == "z" else [self.d_model])

    @property
    def linear(self) -> Linear | None:
        """Return the linear part if this is an affine map; None for a plain direction."""
        return None

    @cached_property
    def unit(self) -> Float[Tensor, "*step_and_shape"]:
        """Return the direction scaled to length 1, float32; at ``z`` over all heads together.

        With a direction per step, each of them has length 1. A step whose direction is zero stays
        zero.
        """
        return self.by_step[0].reshape(self.vector.shape)

    @cached_property
    def by_step(self) -> tuple[Float[Tensor, " step *shape"], tuple[float, ...]]:
        """Return the unit direction and the length of the vector at each step.

        Both have one entry if the direction is the same at every step.
        """
        exact = self.vector.detach().double().reshape(-1, *self.shape)
        norms = exact.flatten(1).norm(dim=1)
        scale = torch.where(norms == 0, 1.0, norms).reshape(-1, *[1] * len(self.shape))
        return (exact / scale).float(), tuple(norms.tolist())

    def __str__(self) -> str:
        read = "" if self.source == self.site else f"[{self.source}]"
        return f"{self.name}{read}@{self.site}"

    def apply(
        self,
        operation: str,
        amount: SupportsFloat | str | None = None,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """Return the intervention of an operation that is given by name.

        Args:
            operation: an :class:`~interp_steer.interventions.operations.Operation` or its name.
            amount: its coefficient or target. ``project`` has the direction's own target by
                default, and ``ablate`` takes no amount.
            positions: the positions that are edited.
            schedule: the weight of the operation at each step.

        Raises:
            InterventionError: for an unknown operation or positions, an amount that is missing, not
                finite or not wanted, or a ``transport`` by a direction without a linear part.

        Example:
            >>> str(vector.at(layer=5).apply("add", 4.0))
            'add(title@resid_post.5, coefficient=4.0)'
        """
        chosen = Operation.parse(operation)
        if chosen is Operation.PROJECT and amount is None:
            if self.target is None:
                raise InterventionError(
                    f"direction {self.name} carries no target; give one, such as "
                    "project(target=2.0)"
                )
            amount = self.target
        if chosen.parameter is not None:
            value = finite(chosen.parameter, amount)
        elif amount is None:
            value = 0.0
        else:
            raise InterventionError(f"{chosen} takes no amount; leave {amount!r} out")
        return Intervention((Edit(self, chosen, value, positions, schedule),))

    def add(
        self, coefficient: SupportsFloat, positions: str = "all", schedule: AnySchedule = fixed
    ) -> Intervention:
        """Return ``x <- x + coefficient * u``, the fixed-weight steering of paper A, section 2.

        ``u`` has length 1, so the coefficient is in units of the activation's norm.

        Raises:
            InterventionError: if the coefficient is not a finite number or positions are unknown.
        """
        return self.apply(Operation.ADD, coefficient, positions, schedule)

    def shift(
        self, coefficient: SupportsFloat, positions: str = "all", schedule: AnySchedule = fixed
    ) -> Intervention:
        """Return ``x <- x + coefficient * v`` with the raw direction ``v`` (paper B, section 2).

        For a difference in means, a coefficient of 1 moves the mean without the property onto the
        mean with the property.

        Raises:
            InterventionError: if the coefficient is not a finite number or positions are unknown.
        """
        return self.apply(Operation.SHIFT, coefficient, positions, schedule)

    def turn(
        self, coefficient: SupportsFloat, positions: str = "all", schedule: AnySchedule = fixed
    ) -> Intervention:
        """Return ``x <- |x| (x + coefficient * u) / |x + coefficient * u|``: turn, and keep length.

        The activation turns towards the direction, in the plane of the two, and keeps its norm, as
        in Angular Steering (arXiv 2510.26243), which gives the angle in place of the coefficient.
        The coefficient is that of :meth:`add`. For an activation at right angles to the direction,
        it is the norm of the activation times the tangent of the angle.

        Raises:
            InterventionError: if the coefficient is not a finite number or positions are unknown.
        """
        return self.apply(Operation.TURN, coefficient, positions, schedule)

    def project(
        self,
        target: SupportsFloat | None = None,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """Return ``x <- x + (target - <x, u>) u``, the projection steering of paper A, section 2.

        The edit is two-sided: an activation that projects beyond the target is pulled back to it.
        The default is the direction's own target. A schedule's weight is the share of the way.

        Raises:
            InterventionError: if the target is missing or not finite, or positions are unknown.
        """
        return self.apply(Operation.PROJECT, target, positions, schedule)

    def ablate(self, positions: str = "all", schedule: AnySchedule = fixed) -> Intervention:
        """Return ``x <- x - <x, u> u``: remove the component along the direction.

        A schedule's weight is the share of the component that is removed.

        Raises:
            InterventionError: if positions are unknown.
        """
        return self.apply(Operation.ABLATE, None, positions, schedule)


@dataclass(frozen=True)
class Edit:
    """One operation along one direction.

    Args:
        direction: the direction, and with it the site.
        operation: the operation; its name is accepted as well.
        value: the coefficient or the target; 0 for ``ablate``.
        positions: see :func:`interp_steer.interventions.positions.span`.
        schedule: the weight of the operation at each step.

    Raises:
        InterventionError: for an unknown operation or positions, a value that is not finite, an
            object that is not a schedule, a transport by a direction without a linear part, or a
            dynamic schedule over positions at which no token is generated.
    """

    direction: Direction
    operation: Operation
    value: float
    positions: str = "all"
    schedule: AnySchedule = fixed

    def __post_init__(self) -> None:
        object.__setattr__(self, "operation", Operation.parse(self.operation))
        object.__setattr__(self, "value", finite("value", self.value))
        if not isinstance(self.schedule, (Schedule, Dynamic)):
            raise InterventionError(
                f"schedule is {self.schedule!r}; give one of ist.schedules, such as "
                "ist.schedules.parse('diminishing(30)')"
            )
        if self.operation.needs_map and self.direction.linear is None:
            raise InterventionError(
                f"{self.direction} has no map to {self.operation} by; fit one with "
                "ist.fit_transport(model, pairs), or shift along the direction"
            )
        if span(self.positions).first_step < 0 and isinstance(self.schedule, Dynamic):
            raise InterventionError(
                f"{self} would act on the prompt, where the model predicts nothing that the "
                "schedule could follow; give it positions='generated' or 'first(n)'"
            )

    @property
    def varies(self) -> bool:
        """Return whether the edit differs from step to step."""
        return self.direction.stepped or self.schedule != fixed

    @property
    def dynamic_property(self) -> tuple[str, Dynamic] | None:
        """Return the property whose weight is found while the model runs.

        Edits whose directions have the same name and the same dynamic schedule share one property,
        and so one weight. None for a schedule that is known in advance.
        """
        if isinstance(self.schedule, Dynamic):
            return self.direction.name, self.schedule
        return None

    def affine(self, dynamic: int | None = None) -> Affine:
        """Return the edit as numbers, for the hook that applies it.

        Args:
            dynamic: for a dynamic schedule, the number of the edit's property in its row.
        """
        units, norms = self.direction.by_step
        takes = self.operation
        push: tuple[float, ...] = (0.0,)
        if takes.counts_raw_vectors:
            push = tuple(self.value * norm for norm in norms)
        elif takes.parameter == "coefficient":
            push = (self.value,)
        return Affine(
            unit=units,
            push=push,
            pull=1.0 if takes.sets_projection else 0.0,
            target=self.value if takes.parameter == "target" else 0.0,
            weights=(1.0,) if isinstance(self.schedule, Dynamic) else self.schedule.weights,
            span=span(self.positions),
            dynamic=dynamic,
            linear=self.direction.linear if takes.needs_map else None,
            linear_coefficient=self.value if takes.needs_map else 0.0,
            keeps_length=takes.keeps_length,
        )

    @property
    def written(self) -> notation.Written:
        """Return the parts of the canonical line; a part that has its default value is left out."""
        parameter = self.operation.parameter
        own_target = parameter == "target" and self.value == self.direction.target
        return notation.Written(
            operation=self.operation,
            name=self.direction.name,
            source=self.direction.source,
            site=self.direction.site,
            coefficient=repr(self.value) if parameter == "coefficient" else None,
            target=repr(self.value) if parameter == "target" and not own_target else None,
            schedule=None if self.schedule == fixed else str(self.schedule),
            positions=None if self.positions == "all" else self.positions,
        )

    def __str__(self) -> str:
        return notation.line([self.written])


@runtime_checkable
class DirectionSource(Protocol):
    """Anything that gives a direction by site, as a steering vector does."""

    def direction(self, source: Site, site: Site) -> Direction:
        """Return the direction that was read at ``source``, to be applied at ``site``."""
        ...


Directions = Callable[[str], DirectionSource] | Mapping[str, DirectionSource]
"""From the name in a canonical line to its :class:`DirectionSource`."""


@dataclass(frozen=True)
class Intervention:
    """Edits that are applied together, in order; ``a + b`` composes.

    ``str(intervention)`` is one canonical line, which :meth:`parse` reads back.

    Args:
        edits: the edits. An edit sees the effect of earlier edits at the same site.

    Example:
        >>> steer = vector.at(5).project() + vector.at(3).add(-4.0)
        >>> str(steer)
        'project(title@resid_post.5) + add(title@resid_post.3, coefficient=-4.0)'
        >>> tokens = torch.tensor(model.tokenize(prompts[:1]))
        >>> logits = model.bridge.run_with_hooks(tokens, fwd_hooks=steer.fwd_hooks())
    """

    edits: tuple[Edit, ...] = ()

    def __add__(self, other: Intervention) -> Intervention:
        if not isinstance(other, Intervention):
            return NotImplemented
        return Intervention(self.edits + other.edits)

    def __str__(self) -> str:
        return notation.line([edit.written for edit in self.edits])

    @property
    def dynamic(self) -> tuple[tuple[str, Dynamic], ...]:
        """Return the properties whose weights are found while the model runs, each once.

        A property is the name of a direction with its dynamic schedule.
        """
        properties = dict.fromkeys(edit.dynamic_property for edit in self.edits)
        return tuple(each for each in properties if each is not None)

    @property
    def bases(self) -> frozenset[str]:
        """Return the bases of the weights that the directions were read from."""
        return frozenset(edit.direction.basis for edit in self.edits)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Return the sites that are edited, each once, in the order of the layers."""
        return tuple(sorted({edit.direction.site for edit in self.edits}))

    def fwd_hooks(self, clock: Clock | None = None) -> Hooks:
        """Return the hooks that apply this intervention to every row, for any TransformerLens call.

        Args:
            clock: says which positions a pass holds. Without a clock every position is edited, also
                pads, to which real tokens do not attend.

        Raises:
            InterventionError: if an edit depends on the position or the step and there is not a
                clock to count them.
        """
        return row_hooks([self], clock)

    @classmethod
    def parse(cls, line: str, directions: Directions) -> Intervention:
        """Read a canonical line.

        Args:
            line: the text that ``str(intervention)`` wrote.
            directions: gives the vector for each name in the line.

        Returns:
            The intervention, whose ``str`` is ``line``.

        Raises:
            InterventionError: if the line is not canonical, a name is unknown, or the vectors
                behind the names would write another line.
        """
        edits = [_find_edit(written, line, directions) for written in notation.read(line)]
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
    """Return all edits of several interventions, in order; :data:`unsteered` for an empty list.

    Raises:
        InterventionError: for an object that is not an intervention.
    """
    interventions = tuple(interventions)
    check_interventions(interventions)
    return Intervention(tuple(edit for each in interventions for edit in each.edits))


def check_interventions(
    given: Iterable[object], error: type[InterpSteerError] = InterventionError
) -> None:
    """Refuse objects that are not interventions, such as a vector without an operation.

    Args:
        given: the objects.
        error: the type of the error.

    Raises:
        InterpSteerError: of the given type.
    """
    for value in given:
        if not isinstance(value, Intervention):
            raise error(
                f"{value!s:.120} is of type {type(value).__name__}, not an intervention; say what "
                "it does, as vector.at(layer).project() or vector.at(layer).add(2.0) does"
            )


def row_hooks(
    interventions: Sequence[Intervention],
    clock: Clock | None,
    weights: DynamicWeights | None = None,
) -> Hooks:
    """Return hooks under which each row of a batch has its own intervention.

    Every site that some row edits gets one hook. The hook applies the first edit of all rows at
    this site in one tensor operation, then the second edit, and so on.

    Args:
        interventions: one per row of the batch that the clock begins; a single intervention is for
            any number of rows.
        clock: says which positions a pass holds and which rows are left.
        weights: the weights of dynamic schedules, by the number of a property in
            ``intervention.dynamic``.

    Returns:
        Pairs of hook name and function, in the order of the layers.

    Raises:
        InterventionError: if an edit depends on the position or the step and there is not a clock,
            if an edit has a dynamic schedule and there are not any weights, or if directions at one
            site have different widths.
    """
    for edit in (edit for each in interventions for edit in each.edits):
        if clock is None and (edit.positions != "all" or edit.varies):
            raise InterventionError(
                f"{edit} needs to know which positions a pass holds; generate with "
                "ist.generate, or drive a Clock and pass it: fwd_hooks(clock)"
            )
        if weights is None and isinstance(edit.schedule, Dynamic):
            raise InterventionError(
                f"{edit} finds its weight while the model generates; use ist.generate, "
                "ist.logprobs or ist.trace"
            )
    hooks: Hooks = []
    numbers = {
        id(each): {key: number for number, key in enumerate(each.dynamic)} for each in interventions
    }
    for site in compose(interventions).sites:
        rows = [_affine_edits(each, site, numbers[id(each)]) for each in interventions]
        widths = sorted({edit.unit[0].numel() for row in rows for edit in row})
        if len(widths) > 1:
            raise InterventionError(
                f"directions at {site} have {' and '.join(map(str, widths))} components; "
                "compose directions of one model"
            )
        hooks.append((site.hook_name, SiteHook(str(site), rows, clock, weights)))
    return hooks


def finite(name: str, value: object) -> float:
    """Return a value as a float.

    Raises:
        InterventionError: if the value is not a number, or not finite.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InterventionError(f"{name} {value!r} is not a number; give a finite one") from error
    if not math.isfinite(number):
        raise InterventionError(f"{name} is {number}; give a finite number")
    return number


def _affine_edits(
    intervention: Intervention, site: Site, numbers: Mapping[tuple[str, Dynamic], int]
) -> list[Affine]:
    """Return the edits of an intervention at a site, as numbers.

    Args:
        intervention: the intervention of a row.
        site: the site.
        numbers: the number of each dynamic property of the row.
    """
    return [
        edit.affine(None if (key := edit.dynamic_property) is None else numbers[key])
        for edit in intervention.edits
        if edit.direction.site == site
    ]


def _find_edit(written: notation.Written, line: str, directions: Directions) -> Edit:
    """Return the edit that a part of a canonical line stands for."""
    name = written.name
    try:
        vector = directions[name] if isinstance(directions, Mapping) else directions(name)
    except KeyError as error:
        known = f" ({', '.join(sorted(directions))})" if isinstance(directions, Mapping) else ""
        raise InterventionError(
            f"{line!r} names {name!r}, which is not among the directions given{known}"
        ) from error
    schedule = fixed if written.schedule is None else parse_schedule(written.schedule)
    [edit] = (
        vector.direction(written.source, written.site)
        .apply(
            written.operation,
            written.coefficient or written.target,
            written.positions or "all",
            schedule,
        )
        .edits
    )
    return edit
