"""The hook function: one gathered affine edit for all rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_steer.errors import InterventionError
from interp_steer.positions import Clock, SlotClock, Span


@dataclass(frozen=True, eq=False)
class Affine:
    """``x <- x + (push + pull * (target - <x, unit>)) * unit`` at the positions of a span."""

    unit: Float[Tensor, "*shape"]
    push: float
    pull: float
    target: float
    span: Span


@dataclass(frozen=True, eq=False)
class _Stage:
    """One edit per row, as tensors; a row without one has push and pull 0, which changes nothing.

    Shapes are ``row 1`` so that they broadcast over positions. ``units`` holds each direction once,
    ``which`` says which of them is a row's.
    """

    units: Float[Tensor, "direction width"]
    which: Int[Tensor, " row"]
    push: Float[Tensor, "row 1"]
    pull: Float[Tensor, "row 1"]
    target: Float[Tensor, "row 1"]
    first_index: Int[Tensor, "row 1"]
    first_step: Int[Tensor, "row 1"]
    end_step: Int[Tensor, "row 1"]

    @classmethod
    def stack(cls, edits: Sequence[Affine | None]) -> _Stage:
        some = next(edit for edit in edits if edit is not None)
        idle = replace(some, push=0.0, pull=0.0, target=0.0, span=Span())
        each = [idle if edit is None else edit for edit in edits]
        units: dict[int, int] = {}
        which = [units.setdefault(id(edit.unit), len(units)) for edit in each]
        by_id = {id(edit.unit): edit.unit for edit in each}

        def reals(values: Sequence[float]) -> Float[Tensor, "row 1"]:
            return torch.tensor(values, dtype=torch.float32)[:, None]

        def counts(values: Sequence[int]) -> Int[Tensor, "row 1"]:
            return torch.tensor(values, dtype=torch.int64)[:, None]

        return cls(
            units=torch.stack([by_id[key].flatten() for key in units]).cpu(),
            which=torch.tensor(which),
            push=reals([edit.push for edit in each]),
            pull=reals([edit.pull for edit in each]),
            target=reals([edit.target for edit in each]),
            first_index=counts([edit.span.first_index for edit in each]),
            first_step=counts([edit.span.first_step for edit in each]),
            end_step=counts([edit.span.end_step for edit in each]),
        )

    def take(self, rows: Int[Tensor, " kept"]) -> _Stage:
        kept = {field.name: getattr(self, field.name)[rows] for field in fields(self)[1:]}
        return _Stage(self.units, **kept)

    def ready(self, device: torch.device, compiled: bool) -> _Ready | None:
        """The stage gathered on a device; None when no row of it edits anything.

        What would differ from one set of rows to another is left out where the pass is compiled.
        """
        pulls = compiled or bool(self.pull.any())
        if not pulls and not bool(self.push.any()):
            return None
        everywhere = Span()
        masked = compiled or bool(
            (self.first_index != everywhere.first_index).any()
            or (self.first_step != everywhere.first_step).any()
            or (self.end_step != everywhere.end_step).any()
        )
        bounds = (self.first_index, self.first_step, self.end_step)
        first_index, first_step, end_step = (bound.to(device) for bound in bounds)
        return _Ready(
            unit=self.units[self.which].to(device),
            push=self.push.to(device),
            pull=self.pull.to(device),
            target=self.target.to(device),
            first_index=first_index,
            first_step=first_step,
            end_step=end_step,
            pulls=pulls,
            masked=masked,
        )


@dataclass(frozen=True, eq=False)
class _Ready:
    """A stage as a pass needs it, gathered once per change of rows and not once per pass."""

    unit: Float[Tensor, "row width"]
    push: Float[Tensor, "row 1"]
    pull: Float[Tensor, "row 1"]
    target: Float[Tensor, "row 1"]
    first_index: Int[Tensor, "row 1"]
    first_step: Int[Tensor, "row 1"]
    end_step: Int[Tensor, "row 1"]
    pulls: bool
    masked: bool

    def mask(self, clock: Clock) -> Bool[Tensor, "row pos"] | None:
        device = self.unit.device
        if not self.masked:
            return (clock.index >= 0).to(device) if clock.padded else None
        step = clock.step.to(device)
        inside = step >= self.first_step
        inside &= step < self.end_step
        inside &= clock.index.to(device) >= self.first_index
        return inside

    def apply(
        self, activation: Float[Tensor, "batch pos *shape"], clock: Clock | None
    ) -> Float[Tensor, "batch pos *shape"]:
        weight = self.push
        if self.pulls:
            flat = activation.flatten(2).float()
            along = torch.matmul(flat, self.unit[:, :, None])[:, :, 0]
            weight = weight + self.pull * (self.target - along)
        mask = None if clock is None else self.mask(clock)
        if mask is not None:
            weight = weight * mask
        delta = weight[:, :, None] * self.unit[:, None, :]
        # Computed in float32 whatever the model's dtype, and rounded once, as it is added.
        delta = delta.reshape(*delta.shape[:2], *activation.shape[2:])
        return activation + delta.to(activation.dtype)


class SiteHook:
    """The hook function of one site: applies each row's edits there, stage by stage.

    Args:
        site: the site, for error messages.
        rows: the edits of each row at this site; a single row stands for any number of them.
        clock: says which positions a pass holds and which rows are left.
    """

    def __init__(self, site: str, rows: Sequence[Sequence[Affine]], clock: Clock | None) -> None:
        self._site = site
        self._clock = clock
        self._n_rows = len(rows)
        self._width = next(edit.unit.numel() for row in rows for edit in row)
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
            activation = stage.apply(activation, self._clock)
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
