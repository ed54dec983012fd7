"""Edits of activations along a direction: add, project, ablate; composed, masked, one per row.

Every operation is the same affine edit along a unit direction ``u``, at the positions of its mask::

    x  <-  x + (push + pull * (target - <x, u>)) * u

``add(c)`` is push = c; ``project(z)`` is pull = 1 and target = z; ``ablate()`` is pull = 1 and
target = 0. That they share one form is what lets a batch carry another intervention in each row
and still be edited by one tensor operation per site.

At ``z`` the direction lives in all heads together: ``<x, u>`` runs over heads and head dimensions,
as the output projection reads them. To edit heads one by one, compose one direction per head, zero
in the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, SupportsFloat, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterventionError, SiteError
from interp_steer.positions import Clock, span
from interp_steer.row_edits import Affine, SiteHook
from interp_steer.sites import Site

FwdHooks = list[tuple[str, Callable[..., Any]]]
"""What every TransformerLens call takes as ``fwd_hooks``: pairs of hook name and function."""


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction, read at a site and applied at a site.

    Args:
        vector: the raw direction, float32, of the shape of an activation at ``site``.
        target: mean projection, on the unit direction, of prompts that have the property (``z`` of
            paper A); None when it was not measured.
        name: what the canonical line calls it.
        source: the site at which the direction was read.
        site: the site at which it is applied; usually the same.
        model: the name of the model that it was read from, for error messages.
        n_layers: layers of that model.
        d_model: width of its residual stream.

    Raises:
        InterventionError: for a name that the canonical line could not hold, a vector that is not
            finite or has no length, a shape that ``site`` does not have, or a target that is not
            finite.
        SiteError: when a site is beyond the model's layers.
    """

    vector: Float[Tensor, "*shape"]
    target: float | None
    name: str
    source: Site
    site: Site
    model: str
    n_layers: int
    d_model: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^\s@\[\]]([^@\[\]\n\r]*[^\s@\[\]])?", self.name):
            raise InterventionError(
                f"direction name {self.name!r} is empty, begins or ends in a space, or holds "
                "one of @ [ ] or a line break; rename it"
            )
        self.source.check(self.n_layers)
        self.site.check(self.n_layers)
        shape = tuple(self.vector.shape)
        fits = len(shape) == 2 if self.site.component == "z" else shape == (self.d_model,)
        if not fits:
            expected = "(n_heads, d_head)" if self.site.component == "z" else f"({self.d_model},)"
            raise InterventionError(
                f"direction {self.name} has shape {shape} but an activation at {self.site} of "
                f"{self.model} has shape {expected}; take the vector of the site it is applied at"
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

    @cached_property
    def unit(self) -> Float[Tensor, "*shape"]:
        """The direction scaled to length 1 (over all heads together at ``z``), float32."""
        exact = self.vector.detach().double()
        return (exact / exact.norm()).float()

    def add(self, coefficient: SupportsFloat, positions: str = "all") -> Intervention:
        """``x <- x + coefficient * u``, the fixed-weight steering of paper A, section 2.

        Args:
            coefficient: in units of the activation's norm, since ``u`` has length 1.
            positions: see :func:`interp_steer.positions.span`.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return Intervention((Edit(self, "add", _number("coefficient", coefficient), positions),))

    def project(self, target: SupportsFloat | None = None, positions: str = "all") -> Intervention:
        """``x <- x + (target - <x, u>) u``, the projection steering of paper A, section 2.

        Two-sided: an activation that projects beyond the target is pulled back to it.

        Args:
            target: the projection to clamp to; by default the direction's own.
            positions: see :func:`interp_steer.positions.span`.

        Raises:
            InterventionError: when there is no target, it is not finite, or positions are unknown.
        """
        chosen = self.target if target is None else target
        if chosen is None:
            raise InterventionError(
                f"direction {self.name} carries no target; give one, such as project(target=2.0)"
            )
        return Intervention((Edit(self, "project", _number("target", chosen), positions),))

    def ablate(self, positions: str = "all") -> Intervention:
        """``x <- x - <x, u> u``: the activation without its component along the direction.

        Args:
            positions: see :func:`interp_steer.positions.span`.

        Raises:
            InterventionError: when positions are unknown.
        """
        return Intervention((Edit(self, "ablate", 0.0, positions),))

    def __str__(self) -> str:
        read = "" if self.source == self.site else f"[{self.source}]"
        return f"{self.name}{read}@{self.site}"


@dataclass(frozen=True)
class Edit:
    """One operation along one direction.

    Args:
        direction: along what, and where.
        operation: ``"add"``, ``"project"`` or ``"ablate"``.
        value: the coefficient of ``add``, the target of ``project``, 0 for ``ablate``.
        positions: see :func:`interp_steer.positions.span`.

    Raises:
        InterventionError: for an unknown operation or positions, or a value that is not finite.
    """

    direction: Direction
    operation: str
    value: float
    positions: str = "all"

    def __post_init__(self) -> None:
        if self.operation not in ("add", "project", "ablate"):
            raise InterventionError(
                f"unknown operation {self.operation!r}; use add, project or ablate"
            )
        object.__setattr__(self, "value", _number("value", self.value))
        span(self.positions)

    @property
    def affine(self) -> Affine:
        """The edit as numbers, for the hook that applies it."""
        adds = self.operation == "add"
        return Affine(
            unit=self.direction.unit,
            push=self.value if adds else 0.0,
            pull=0.0 if adds else 1.0,
            target=0.0 if adds else self.value,
            span=span(self.positions),
        )

    def __str__(self) -> str:
        parts = [str(self.direction)]
        if self.operation == "add":
            parts.append(f"coefficient={self.value!r}")
        if self.operation == "project" and self.value != self.direction.target:
            parts.append(f"target={self.value!r}")
        if self.positions != "all":
            parts.append(f"positions={self.positions}")
        return f"{self.operation}({', '.join(parts)})"


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
        return " + ".join(map(str, self.edits)) or "unsteered"

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
        if line == "unsteered":
            return unsteered
        edits: list[Edit] = []
        place = 0
        while place < len(line) or not edits:
            match = _EDIT.match(line, place)
            if match is None:
                raise InterventionError(
                    f"cannot parse {line!r} from {line[place:]!r} on; a canonical line looks like "
                    "'add(name@resid_post.3, coefficient=2.0, positions=generated)', and edits are "
                    "joined by ' + '"
                )
            edits.extend(_parse_edit(line, match, directions).edits)
            place = match.end()
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


def row_hooks(interventions: Sequence[Intervention], clock: Clock | None) -> FwdHooks:
    """Hooks under which each row of a batch has its own intervention.

    There is one hook per site that some row writes, and none elsewhere. It applies the first edit
    of every row at that site in one tensor operation, then the second, and so on.

    Args:
        interventions: one per row of the batch that the clock begins; a single one is for any
            number of rows.
        clock: says which positions a pass holds and which rows are left.

    Returns:
        pairs of hook name and function, in the order of the layers.

    Raises:
        InterventionError: when an edit has positions other than ``"all"`` and there is no clock, or
            when directions at one site have different widths.
    """
    if clock is None:
        for edit in (edit for one in interventions for edit in one.edits):
            if edit.positions != "all":
                raise InterventionError(
                    f"{edit} needs to know which positions a pass holds; generate with "
                    "ist.generate, or drive a Clock and pass it: fwd_hooks(clock)"
                )
    hooks: FwdHooks = []
    for site in compose(interventions).sites:
        rows = [[e.affine for e in one.edits if e.direction.site == site] for one in interventions]
        widths = sorted({edit.unit.numel() for row in rows for edit in row})
        if len(widths) > 1:
            raise InterventionError(
                f"directions at {site} have {' and '.join(map(str, widths))} components; "
                "compose directions of one model"
            )
        hooks.append((site.hook_name, SiteHook(str(site), rows, clock)))
    return hooks


_EDIT = re.compile(
    r"(?:^| \+ )(?P<operation>add|project|ablate)"
    r"\((?P<name>[^@\[\]\n\r]+)(?:\[(?P<source>[a-z_]+\.\d+)\])?@(?P<site>[a-z_]+\.\d+)"
    r"(?:, coefficient=(?P<coefficient>[^,()]+))?(?:, target=(?P<target>[^,()]+))?"
    r"(?:, positions=(?P<positions>[a-z_]+(?:\(\d+\))?))?\)"
)


def _parse_edit(line: str, match: re.Match[str], directions: Directions) -> Intervention:
    name, operation = match["name"], match["operation"]
    given = {key: match[key] for key in ("coefficient", "target") if match[key] is not None}
    allowed = {"add": {"coefficient"}, "project": {"target"}, "ablate": set()}[operation]
    if not given.keys() <= allowed or (operation == "add" and not given):
        raise InterventionError(
            f"{match[0]!r} in {line!r}: add takes coefficient, project may take target, and ablate "
            "takes neither"
        )
    try:
        site = Site.parse(match["site"])
        source = site if match["source"] is None else Site.parse(match["source"])
    except SiteError as error:
        raise InterventionError(f"cannot parse {line!r}: {error}") from error
    try:
        vector = directions[name] if isinstance(directions, Mapping) else directions(name)
    except KeyError as error:
        known = f" ({', '.join(sorted(directions))})" if isinstance(directions, Mapping) else ""
        raise InterventionError(
            f"{line!r} names {name!r}, which is not among the directions given{known}"
        ) from error
    direction = vector.direction(source, site)
    positions = match["positions"] or "all"
    if operation == "add":
        return direction.add(_number("coefficient", given["coefficient"]), positions)
    if operation == "project":
        target = given.get("target")
        return direction.project(None if target is None else _number("target", target), positions)
    return direction.ablate(positions)


def _number(what: str, value: SupportsFloat | str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InterventionError(f"{what} {value!r} is not a number; give a finite one") from error
    if not math.isfinite(number):
        raise InterventionError(f"{what} is {number}; give a finite number")
    return number
