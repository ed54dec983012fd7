"""The hook function: one gathered affine edit for all rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_steer.errors import InterventionError
from interp_steer.interventions.edits import Affine, Linear
from interp_steer.interventions.positions import Clock, SlotClock, Span


class DynamicWeights:
    """Weights that are found while the model runs, of each row at each step.

    Args:
        rows: how many rows the hooks were made for.
        dials: how many dials a row has at most.
        steps: how many steps there are at most.
        device: where the model runs.
    """

    def __init__(self, rows: int, dials: int, steps: int, device: torch.device) -> None:
        with torch.inference_mode(False):
            self._table = torch.zeros(rows, dials, steps, device=device)

    def turn(
        self,
        row: Int[Tensor, " each"],
        dial: Int[Tensor, " each"],
        step: Int[Tensor, " each"],
        weight: Float[Tensor, " each"],
    ) -> None:
        """Say what dials say of rows at steps."""
        self._table[row, dial, step] = weight

    def read(
        self,
        rows: Int[Tensor, " batch"],
        dial: Int[Tensor, "row 1"],
        step: Int[Tensor, "batch pos"],
    ) -> Float[Tensor, "batch pos"]:
        """The weight at each position; 1 in rows whose dial is negative, for none."""
        last = self._table.shape[-1] - 1
        said = self._table[rows[:, None], dial.clamp(min=0), step.clamp(0, last)]
        return torch.where(dial < 0, 1.0, said)


@dataclass(frozen=True, eq=False)
class _Stage:
    """One edit per row, as tensors; a row without one has push and pull 0, which changes nothing.

    ``units`` holds each direction once, ``which`` says which of them is a row's; so do ``linears``
    and ``mapped``, which is -1 for none. What is told by step is as long as the longest among the
    rows.
    """

    units: Float[Tensor, "direction unit_step width"]
    linears: tuple[Linear, ...]
    scales: bool
    """Whether an edit of some row keeps the length."""
    which: Int[Tensor, " row"]
    level: Bool[Tensor, "row 1"]
    mapped: Int[Tensor, " row"]
    spread: Float[Tensor, "row spread_step"]
    push: Float[Tensor, "row step"]
    pull: Float[Tensor, "row pull_step"]
    target: Float[Tensor, "row 1"]
    dial: Int[Tensor, "row 1"]
    first_index: Int[Tensor, "row 1"]
    first_step: Int[Tensor, "row 1"]
    end_step: Int[Tensor, "row 1"]

    @classmethod
    def stack(cls, edits: Sequence[Affine | None]) -> _Stage:
        some = next(edit for edit in edits if edit is not None)
        nothing: dict[str, Any] = {"push": (0.0,), "pull": 0.0, "linear": None, "spread": 0.0}
        plain: dict[str, Any] = {"weights": (1.0,), "span": Span(), "dial": None}
        idle = replace(some, **nothing, **plain, keeps_length=False)
        each = [idle if edit is None else edit for edit in edits]
        by_id = {id(edit.unit): edit.unit for edit in each}
        place = {key: number for number, key in enumerate(by_id)}
        longest = max(len(unit) for unit in by_id.values())
        linears = {id(edit.linear): edit.linear for edit in each if edit.linear is not None}
        numbers = {key: number for number, key in enumerate(linears)}

        def counts(values: Sequence[int]) -> Int[Tensor, "row 1"]:
            return torch.tensor(values, dtype=torch.int64)[:, None]

        return cls(
            units=torch.stack([_held(unit, longest).flatten(1) for unit in by_id.values()]).cpu(),
            linears=tuple(linears.values()),
            scales=any(edit.keeps_length for edit in each),
            level=torch.tensor([edit.keeps_length for edit in each])[:, None],
            which=torch.tensor([place[id(edit.unit)] for edit in each]),
            mapped=torch.tensor([numbers.get(id(edit.linear), -1) for edit in each]),
            spread=_by_step([((edit.spread,), edit.weights) for edit in each]),
            push=_by_step([(edit.push, edit.weights) for edit in each]),
            pull=_by_step([((edit.pull,), edit.weights) for edit in each]),
            target=torch.tensor([edit.target for edit in each], dtype=torch.float32)[:, None],
            dial=counts([-1 if edit.dial is None else edit.dial for edit in each]),
            first_index=counts([edit.span.first_index for edit in each]),
            first_step=counts([edit.span.first_step for edit in each]),
            end_step=counts([edit.span.end_step for edit in each]),
        )

    def take(self, rows: Int[Tensor, " kept"]) -> _Stage:
        kept = {each.name: getattr(self, each.name)[rows] for each in fields(self)[3:]}
        return _Stage(self.units, self.linears, self.scales, **kept)

    def ready(self, device: torch.device, compiled: bool) -> _Ready | None:
        """The stage gathered on a device; None when no row of it edits anything.

        What would differ from one set of rows to another is left out where the pass is compiled.
        """
        pulls = compiled or bool(self.pull.any())
        if not pulls and not bool(self.push.any()) and not bool(self.spread.any()):
            return None
        everywhere = Span()
        masked = compiled or bool(
            (self.first_index != everywhere.first_index).any()
            or (self.first_step != everywhere.first_step).any()
            or (self.end_step != everywhere.end_step).any()
        )
        gathered = {each.name: getattr(self, each.name).to(device) for each in fields(self)[4:]}
        one = self.units.shape[1] == 1
        return _Ready(
            units=(self.units[self.which] if one else self.units).to(device),
            which=None if one else self.which.to(device),
            linears=tuple(
                (number, *linear.on(device))
                for number, linear in enumerate(self.linears)
                if compiled or bool((self.mapped == number).any())
            ),
            pulls=pulls,
            scales=self.scales,
            masked=masked,
            dialled=bool((self.dial >= 0).any()),
            **gathered,
        )


@dataclass(frozen=True, eq=False)
class _Ready:
    """A stage as a pass needs it, gathered once per change of rows and not once per pass."""

    units: Float[Tensor, "_ unit_step width"]
    """One for each row; where they differ by step, one for each direction, and ``which`` tells."""
    which: Int[Tensor, " row"] | None
    level: Bool[Tensor, "row 1"]
    mapped: Int[Tensor, " row"]
    spread: Float[Tensor, "row spread_step"]
    push: Float[Tensor, "row step"]
    pull: Float[Tensor, "row pull_step"]
    target: Float[Tensor, "row 1"]
    dial: Int[Tensor, "row 1"]
    first_index: Int[Tensor, "row 1"]
    first_step: Int[Tensor, "row 1"]
    end_step: Int[Tensor, "row 1"]
    linears: tuple[tuple[int, Tensor, Tensor], ...]
    """The maps of its rows: the number that ``mapped`` knows each by, its matrix and its origin."""
    pulls: bool
    scales: bool
    masked: bool
    dialled: bool

    def mask(self, clock: Clock) -> Bool[Tensor, "row pos"] | None:
        device = self.push.device
        if not self.masked:
            return (clock.index >= 0).to(device) if clock.padded else None
        step = clock.step.to(device)
        inside = step >= self.first_step
        inside &= step < self.end_step
        inside &= clock.index.to(device) >= self.first_index
        return inside

    def apply(
        self,
        activation: Float[Tensor, "batch pos *shape"],
        clock: Clock | None,
        dials: DynamicWeights | None,
    ) -> Float[Tensor, "batch pos *shape"]:
        step = None if clock is None else clock.step.to(self.push.device)
        unit, weight = self._unit(step), _at(self.push, step)
        reads = self.pulls or self.linears or self.scales
        flat = activation.flatten(2).float() if reads else None
        if self.pulls:
            assert flat is not None
            along = (
                torch.matmul(flat, unit[:, 0, :, None])[:, :, 0]
                if unit.shape[1] == 1
                else einsum(flat, unit, "row pos width, row pos width -> row pos")
            )
            weight = weight + _at(self.pull, step) * (self.target - along)
        gate = self._gate(clock, dials, step)
        delta = (weight if gate is None else weight * gate)[:, :, None] * unit
        if self.linears:
            assert flat is not None
            spread = _at(self.spread, step)
            delta = delta + self._mapped(flat, spread if gate is None else spread * gate)
        if self.scales:
            assert flat is not None
            delta = torch.where(self.level[:, :, None], _level(flat, delta), delta)
        # Computed in float32 whatever the model's dtype, and rounded once, as it is added.
        delta = delta.reshape(*delta.shape[:2], *activation.shape[2:])
        return activation + delta.to(activation.dtype)

    def _gate(
        self,
        clock: Clock | None,
        dials: DynamicWeights | None,
        step: Int[Tensor, "batch pos"] | None,
    ) -> Float[Tensor, "_ _"] | Bool[Tensor, "_ _"] | None:
        """By what an edit is multiplied at each position; None for one everywhere."""
        mask = None if clock is None else self.mask(clock)
        if not self.dialled:
            return mask
        assert clock is not None and dials is not None and step is not None
        said = dials.read(clock.rows.to(step.device), self.dial, step)
        return said if mask is None else said * mask

    def _mapped(
        self, flat: Float[Tensor, "batch pos width"], weight: Float[Tensor, "_ _"]
    ) -> Float[Tensor, "batch pos width"]:
        """What the maps add, each in its own rows.

        Each is computed in all rows, so that nothing depends on which of them are there.
        """
        total = torch.zeros_like(flat)
        for number, matrix, origin in self.linears:
            own = weight * (self.mapped == number)[:, None]
            away = flat - origin
            moved = away * matrix if matrix.ndim == 1 else away @ matrix.T
            total = total + own[:, :, None] * moved
        return total

    def _unit(self, step: Int[Tensor, "batch pos"] | None) -> Float[Tensor, "_ _ width"]:
        if self.which is None:
            return self.units
        assert step is not None  # what differs by step is refused where there is no clock
        return self.units[self.which[:, None], step.clamp(0, self.units.shape[1] - 1)]


def _level(
    flat: Float[Tensor, "batch pos width"], delta: Float[Tensor, "_ _ width"]
) -> Float[Tensor, "batch pos width"]:
    """What moves activations as far as ``delta`` turns them, at the length that they have."""
    moved = flat + delta
    length = moved.norm(dim=2, keepdim=True)
    # Nothing is left to turn where an activation is taken back to the origin: it stays as it is.
    ratio = torch.where(length > 0, flat.norm(dim=2, keepdim=True) / length, 0.0)
    return torch.where(length > 0, moved * ratio - flat, 0.0)


def _at(
    table: Float[Tensor, "row step"], step: Int[Tensor, "batch pos"] | None
) -> Float[Tensor, "_ _"]:
    """The entries of a table at the steps of a pass; one for all positions where it has but one."""
    if table.shape[1] == 1:
        return table
    assert step is not None
    return table.expand(len(step), -1).gather(1, step.clamp(0, table.shape[1] - 1))


def _held(by_step: Float[Tensor, " step *shape"], steps: int) -> Float[Tensor, " held *shape"]:
    """The same with its last entry repeated up to a number of steps."""
    more = steps - len(by_step)
    return torch.cat([by_step, by_step[-1:].expand(more, *by_step.shape[1:])]) if more else by_step


def _by_step(
    factors: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
) -> Float[Tensor, "row step"]:
    """The product of two sequences by step for each row, as long as the longest of all."""
    longest = max(max(len(one), len(other)) for one, other in factors)
    sides = [
        torch.stack(
            [_held(torch.tensor(row[side], dtype=torch.float64), longest) for row in factors]
        )
        for side in (0, 1)
    ]
    return (sides[0] * sides[1]).float()


class SiteHook:
    """The hook function of one site: applies each row's edits there, stage by stage.

    Args:
        site: the site, for error messages.
        rows: the edits of each row at this site; a single row stands for any number of them.
        clock: says which positions a pass holds and which rows are left.
        dials: say the weights that are found while the model runs.
    """

    def __init__(
        self,
        site: str,
        rows: Sequence[Sequence[Affine]],
        clock: Clock | None,
        dials: DynamicWeights | None = None,
    ) -> None:
        self._site = site
        self._clock = clock
        self._dials = dials
        self._n_rows = len(rows)
        self._width = next(edit.unit[0].numel() for row in rows for edit in row)
        depth = max(map(len, rows))
        # Outside inference mode, so that the same hooks can serve a pass that takes gradients.
        with torch.inference_mode(False):
            self._stages = [
                _Stage.stack([row[k] if k < len(row) else None for row in rows])
                for k in range(depth)
            ]
        self._gathered: tuple[int, torch.device] | None = None
        self._ready: list[_Ready] = []

    def __call__(
        self, activation: Float[Tensor, "batch pos *shape"], hook: Any = None
    ) -> Float[Tensor, "batch pos *shape"]:
        """Edit one activation.

        Raises:
            InterventionError: when the activation has not the width of the directions, the number
                of rows of the interventions, or the positions that the clock announced.
        """
        if not torch.compiler.is_compiling():
            self.prepare(activation.device)
            self._check(activation)
        for stage in self._ready:
            activation = stage.apply(activation, self._clock, self._dials)
        return activation

    def prepare(self, device: torch.device) -> None:
        """Gather the edits of the rows that the clock announced, unless they are at hand.

        Done by itself at each call, except within a pass that is compiled: whoever runs that does
        it first.
        """
        state = (-1 if self._clock is None else self._clock.changes, device)
        if state != self._gathered:
            self._gather(device)
            self._gathered = state

    def __repr__(self) -> str:
        return f"SiteHook({self._site}, {self._n_rows} rows)"

    def _gather(self, device: torch.device) -> None:
        with torch.inference_mode(False):  # for the same reason as above
            stages = self._stages
            if self._clock is not None and self._n_rows > 1:
                rows = self._clock.rows
                self._check_rows(self._clock.n_rows or max(self._n_rows, int(rows.max()) + 1))
                stages = [stage.take(self._clock.rows.cpu()) for stage in stages]
            compiled = isinstance(self._clock, SlotClock)
            ready = (stage.ready(device, compiled) for stage in stages)
            self._ready = [stage for stage in ready if stage is not None]

    def _check_rows(self, n_rows: int) -> None:
        if self._n_rows not in (1, n_rows):
            raise InterventionError(
                f"a batch of {n_rows} rows met hooks for {self._n_rows} at {self._site}; give one "
                "intervention per row"
            )

    def _check(self, activation: Tensor) -> None:
        shape, clock = activation.shape, self._clock
        if shape[2:].numel() != self._width:
            raise InterventionError(
                f"a direction of {self._width} components cannot steer {self._site}, whose "
                f"activation has shape {tuple(shape)}; use a direction that was fitted on this "
                "model and component"
            )
        if clock is not None and clock.index.shape != shape[:2]:
            raise InterventionError(
                f"the clock announced {tuple(clock.index.shape)} rows and positions but "
                f"{self._site} has {tuple(shape[:2])}; call begin or tick before the pass"
            )
        if clock is None:
            self._check_rows(shape[0])
