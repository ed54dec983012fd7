"""Interventions: what acts on a model, composed of edits; scheduled, masked, and told in a line.

A direction says what may be done along it: add, shift, turn, project, ablate
(:mod:`interp_steer.interventions.edits` has the formula). What it returns is an intervention, which any
TransformerLens call runs as hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat, runtime_checkable

from interp_steer.errors import InterpSteerError, InterventionError
from interp_steer.interventions import notation
from interp_steer.interventions.edits import Edit, PlacedVector, finite
from interp_steer.interventions.hooks import DynamicWeights, SiteHook
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import AnySchedule, Dynamic, fixed
from interp_steer.interventions.schedules import parse as parse_schedule
from interp_steer.models.sites import Site

FwdHooks = list[tuple[str, Callable[..., Any]]]
"""What every TransformerLens call takes as ``fwd_hooks``: pairs of hook name and function."""


@dataclass(frozen=True, eq=False)
class Direction(PlacedVector):
    """A vector that was read at a site and is applied at a site, and what may be done along it.

    A steering vector gives one for each of its layers.

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

    Example:
        >>> lowercase = vector.at(layer=5)
        >>> str(lowercase.add(4.0))
        'add(english_lowercase@resid_post.5, coefficient=4.0)'
    """

    def add(
        self,
        coefficient: SupportsFloat,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """``x <- x + coefficient * u``, the fixed-weight steering of paper A, section 2.

        Args:
            coefficient: in units of the activation's norm, since ``u`` has length 1.
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: by what it is multiplied at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self._edit("add", finite("coefficient", coefficient), positions, schedule)

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
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: by what it is multiplied at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self._edit("shift", finite("coefficient", coefficient), positions, schedule)

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
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: by what it is multiplied at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self._edit("turn", finite("coefficient", coefficient), positions, schedule)

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
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: what share of the way it goes at each step.

        Raises:
            InterventionError: when there is no target, it is not finite, or positions are unknown.
        """
        chosen = self.target if target is None else target
        if chosen is None:
            raise InterventionError(
                f"direction {self.name} carries no target; give one, such as project(target=2.0)"
            )
        return self._edit("project", finite("target", chosen), positions, schedule)

    def ablate(self, positions: str = "all", schedule: AnySchedule = fixed) -> Intervention:
        """``x <- x - <x, u> u``: the activation without its component along the direction.

        Args:
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: what share of the component goes at each step.

        Raises:
            InterventionError: when positions are unknown.
        """
        return self._edit("ablate", 0.0, positions, schedule)

    def _edit(
        self, operation: str, value: float, positions: str, schedule: AnySchedule
    ) -> Intervention:
        return Intervention((Edit(self, operation, value, positions, schedule),))


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
        return notation.line([edit.written for edit in self.edits])

    @property
    def dynamic(self) -> tuple[tuple[str, Dynamic], ...]:
        """The properties whose weight is found while the model runs: the names of their directions,
        with their schedules, each once."""
        found = dict.fromkeys(edit.followed for edit in self.edits)
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
        edits = [_edit_of(written, line, directions) for written in notation.read(line)]
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
    """All the edits of several interventions, in order; none give :data:`unsteered`.

    Raises:
        InterventionError: for what is no intervention.
    """
    interventions = tuple(interventions)
    check_interventions(interventions)
    return Intervention(tuple(edit for one in interventions for edit in one.edits))


def check_interventions(
    given: Iterable[object], error: type[InterpSteerError] = InterventionError
) -> None:
    """Refuse what is no intervention, such as a vector that does not say what it does.

    Args:
        given: what should be interventions.
        error: what to raise.

    Raises:
        InterpSteerError: of the given type.
    """
    for one in given:
        if not isinstance(one, Intervention):
            raise error(
                f"{one!s:.120} is a {type(one).__name__} and no intervention; say what it does, as "
                "vector.at(layer).project() or vector.at(layer).add(2.0) does"
            )


def row_hooks(
    interventions: Sequence[Intervention], clock: Clock | None, dials: DynamicWeights | None = None
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
                edit.affine(numbers[id(one)].get(edit.followed))  # type: ignore[arg-type]
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


def _edit_of(written: notation.Written, line: str, directions: Directions) -> Edit:
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
        0.0 if value is None else finite("value", value),
        written.positions or "all",
        schedule,
    )
