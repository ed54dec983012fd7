"""Turn the edits of a batch of rows into hook functions.

Every row of a batch may have its own intervention, at other sites, positions and steps, and rows
leave the batch and join it while it is decoded. A loop over rows in each forward pass would be
slow, so an edit becomes a hook in three steps, each of which runs more seldom than the next:

1. *As numbers*, once per call of :func:`~interp_steer.interventions.intervention.row_hooks`. A
   ``Direction`` with an operation is an ``Edit``, and ``Edit.affine`` writes it as an ``Affine``:
   a unit vector and a few numbers. All operations have this one form, so that one formula can
   apply different operations to different rows.
2. *Stacked*, in the same call. At a site, the first edits of all rows become one
   :class:`_StackedEdits`, the second edits another, and so on: tensors whose first axis is the row.
   A row without such an edit gets an edit of zeros, which changes nothing.
3. *Gathered*, whenever rows leave or join. :class:`_GatheredEdits` holds the entries of the rows
   that are being decoded, on the model's device, without the parts that none of these rows needs.

A forward pass then only calls ``_GatheredEdits.apply``, a few tensor operations per site. The
:class:`~interp_steer.interventions.positions.Clock` gives it the token index and the step of each
position, from which it looks up the numbers of the step and masks the positions outside of an edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_steer.errors import InterventionError
from interp_steer.interventions.affine import Affine, Linear
from interp_steer.interventions.positions import Clock, SlotClock, Span


class DynamicWeights:
    """The weights of dynamic schedules, found while the model runs, for each row and step.

    A row may have several dynamic properties, numbered as in ``intervention.dynamic``.

    Args:
        rows: number of rows that the hooks were made for.
        properties: the largest number of dynamic properties of a row.
        steps: the largest number of steps.
        device: the device of the model.
    """

    def __init__(self, rows: int, properties: int, steps: int, device: torch.device) -> None:
        # Outside inference mode, so that the same table can serve a pass that takes gradients.
        with torch.inference_mode(False):
            self._table = torch.zeros(rows, properties, steps, device=device)

    def set(
        self,
        row: Int[Tensor, " each"],
        number: Int[Tensor, " each"],
        step: Int[Tensor, " each"],
        weight: Float[Tensor, " each"],
    ) -> None:
        """Set weights, given the row, the number of the property and the step of each."""
        self._table[row, number, step] = weight

    def look_up(
        self,
        rows: Int[Tensor, " batch"],
        number: Int[Tensor, "row 1"],
        step: Int[Tensor, "batch pos"],
    ) -> Float[Tensor, "batch pos"]:
        """Return the weight at each position; 1 for rows whose number is negative."""
        last = self._table.shape[-1] - 1
        weights = self._table[rows[:, None], number.clamp(min=0), step.clamp(0, last)]
        return torch.where(number < 0, 1.0, weights)


@dataclass(frozen=True, eq=False)
class _RowNumbers:
    """The numbers of one edit per row. Tables by step are as long as the longest of any row."""

    direction: Int[Tensor, " row"]
    """The number of the row's direction."""
    linear: Int[Tensor, " row"]
    """The number of the row's linear map; -1 for a row without a map."""
    linear_coefficient: Float[Tensor, "row linear_step"]
    keeps_length: Bool[Tensor, "row 1"]
    push: Float[Tensor, "row step"]
    pull: Float[Tensor, "row pull_step"]
    target: Float[Tensor, "row 1"]
    dynamic: Int[Tensor, "row 1"]
    """The number of the row's dynamic property; -1 for a schedule that is known in advance."""
    first_index: Int[Tensor, "row 1"]
    first_step: Int[Tensor, "row 1"]
    end_step: Int[Tensor, "row 1"]

    def select(self, rows: Int[Tensor, " selected"]) -> _RowNumbers:
        """Return the numbers of some rows."""
        return _RowNumbers(*(getattr(self, each.name)[rows] for each in fields(self)))

    def to(self, device: torch.device) -> _RowNumbers:
        """Return the numbers on a device."""
        return _RowNumbers(*(getattr(self, each.name).to(device) for each in fields(self)))


@dataclass(frozen=True, eq=False)
class _StackedEdits:
    """One edit per row, as tensors. Directions and maps that rows share are held once."""

    units: Float[Tensor, "direction unit_step width"]
    linears: tuple[Linear, ...]
    keep_length: bool
    """Whether an edit of some row keeps the length."""
    rows: _RowNumbers

    @classmethod
    def stack(cls, edits: Sequence[Affine | None]) -> _StackedEdits:
        """Stack the edits of all rows; None for a row without an edit."""
        edits = _fill_gaps(edits)
        # Rows often share a direction or a map. They are compared by identity, which is cheap.
        units = {id(edit.unit): edit.unit for edit in edits}
        unit_numbers = {key: number for number, key in enumerate(units)}
        longest = max(len(unit) for unit in units.values())
        linears = {id(edit.linear): edit.linear for edit in edits if edit.linear is not None}
        linear_numbers = {key: number for number, key in enumerate(linears)}
        return cls(
            units=torch.stack([_extend(unit, longest).flatten(1) for unit in units.values()]).cpu(),
            linears=tuple(linears.values()),
            keep_length=any(edit.keeps_length for edit in edits),
            rows=_RowNumbers(
                direction=torch.tensor([unit_numbers[id(edit.unit)] for edit in edits]),
                linear=torch.tensor([linear_numbers.get(id(edit.linear), -1) for edit in edits]),
                linear_coefficient=_weigh_by_step(
                    [((edit.linear_coefficient,), edit.weights) for edit in edits]
                ),
                keeps_length=torch.tensor([edit.keeps_length for edit in edits])[:, None],
                push=_weigh_by_step([(edit.push, edit.weights) for edit in edits]),
                pull=_weigh_by_step([((edit.pull,), edit.weights) for edit in edits]),
                target=torch.tensor([edit.target for edit in edits], dtype=torch.float32)[:, None],
                dynamic=_column([-1 if edit.dynamic is None else edit.dynamic for edit in edits]),
                first_index=_column([edit.span.first_index for edit in edits]),
                first_step=_column([edit.span.first_step for edit in edits]),
                end_step=_column([edit.span.end_step for edit in edits]),
            ),
        )

    def select(self, rows: Int[Tensor, " selected"]) -> _StackedEdits:
        """Return the edits of some rows."""
        return replace(self, rows=self.rows.select(rows))

    def gather(self, device: torch.device, compiled: bool) -> _GatheredEdits | None:
        """Gather the edits on a device; None if the edit of every row is zero.

        Args:
            device: the device of the model.
            compiled: whether the pass is compiled. Compiled code cannot change with the rows, so
                parts that only some sets of rows need are then always kept.
        """
        rows = self.rows
        pulls = compiled or bool(rows.pull.any())
        if not (pulls or bool(rows.push.any()) or bool(rows.linear_coefficient.any())):
            return None
        everywhere = Span()
        masked = compiled or bool(
            (rows.first_index != everywhere.first_index).any()
            or (rows.first_step != everywhere.first_step).any()
            or (rows.end_step != everywhere.end_step).any()
        )
        stepped = self.units.shape[1] > 1
        return _GatheredEdits(
            # Directions that change by step are many times larger, so that they are not copied for
            # each row, but looked up at the step of each pass.
            units=(self.units if stepped else self.units[rows.direction]).to(device),
            stepped=stepped,
            rows=rows.to(device),
            linears=tuple(
                (number, *linear.on(device))
                for number, linear in enumerate(self.linears)
                if compiled or bool((rows.linear == number).any())
            ),
            pulls=pulls,
            keep_length=self.keep_length,
            masked=masked,
            dynamic=bool((rows.dynamic >= 0).any()),
        )


@dataclass(frozen=True, eq=False)
class _GatheredEdits:
    """The edits of the rows that are being decoded, on the device of the model."""

    units: Float[Tensor, "_ unit_step width"]
    """One unit vector per row; if ``stepped``, one per direction and step."""
    stepped: bool
    rows: _RowNumbers
    linears: tuple[tuple[int, Tensor, Tensor], ...]
    """The linear maps of these rows: the number of each, its matrix and its origin."""
    pulls: bool
    """Whether an edit of some row sets the projection."""
    keep_length: bool
    """Whether an edit of some row keeps the length."""
    masked: bool
    """Whether an edit of some row is not at all real tokens."""
    dynamic: bool
    """Whether an edit of some row has a dynamic schedule."""

    def apply(
        self,
        activation: Float[Tensor, "batch pos *shape"],
        clock: Clock | None,
        weights: DynamicWeights | None,
    ) -> Float[Tensor, "batch pos *shape"]:
        """Return the edited activation; see :class:`~interp_steer.interventions.affine.Affine`."""
        rows = self.rows
        step = None if clock is None else clock.step.to(rows.push.device)
        unit, amount = self._units_at(step), _look_up(rows.push, step)
        reads_activation = self.pulls or self.linears or self.keep_length
        flat = activation.flatten(2).float() if reads_activation else None
        if self.pulls:
            assert flat is not None
            projection = (
                torch.matmul(flat, unit[:, 0, :, None])[:, :, 0]
                if unit.shape[1] == 1
                else einsum(flat, unit, "row pos width, row pos width -> row pos")
            )
            amount = amount + _look_up(rows.pull, step) * (rows.target - projection)
        factor = self._factors(clock, weights, step)
        change = (amount if factor is None else amount * factor)[:, :, None] * unit
        if self.linears:
            assert flat is not None
            coefficient = _look_up(rows.linear_coefficient, step)
            change = change + self._apply_linears(
                flat, coefficient if factor is None else coefficient * factor
            )
        if self.keep_length:
            assert flat is not None
            rescaled = _keep_length(flat, change)
            change = torch.where(rows.keeps_length[:, :, None], rescaled, change)
        # The change is computed in float32 whatever the model's dtype, and rounded only once, when
        # it is added, so that a change of 0 leaves the activation as it was.
        change = change.reshape(*change.shape[:2], *activation.shape[2:])
        return activation + change.to(activation.dtype)

    def _factors(
        self,
        clock: Clock | None,
        weights: DynamicWeights | None,
        step: Int[Tensor, "batch pos"] | None,
    ) -> Float[Tensor, "_ _"] | Bool[Tensor, "_ _"] | None:
        """Return the mask of each position times its dynamic weight; None if all are 1."""
        mask = None if clock is None else self._mask(clock)
        if not self.dynamic:
            return mask
        assert clock is not None and weights is not None and step is not None
        factors = weights.look_up(clock.rows.to(step.device), self.rows.dynamic, step)
        return factors if mask is None else factors * mask

    def _mask(self, clock: Clock) -> Bool[Tensor, "row pos"] | None:
        """Return whether each position is edited; None if all positions are."""
        rows, device = self.rows, self.rows.push.device
        if not self.masked:
            return (clock.index >= 0).to(device) if clock.padded else None
        step = clock.step.to(device)
        inside = step >= rows.first_step
        inside &= step < rows.end_step
        # A pad has index -1 and a span begins at index 0 or later, so that pads are outside.
        inside &= clock.index.to(device) >= rows.first_index
        return inside

    def _units_at(self, step: Int[Tensor, "batch pos"] | None) -> Float[Tensor, "_ _ width"]:
        """Return the unit vector of each row, at each position if the vector changes by step."""
        if not self.stepped:
            return self.units
        assert step is not None  # row_hooks refuses edits that change by step without a clock
        last = self.units.shape[1] - 1
        return self.units[self.rows.direction[:, None], step.clamp(0, last)]

    def _apply_linears(
        self, flat: Float[Tensor, "batch pos width"], coefficient: Float[Tensor, "_ _"]
    ) -> Float[Tensor, "batch pos width"]:
        """Return the change by the linear maps, each in the rows that have this map.

        Each map is computed for all rows and masked, so that the rounding of a row's result does
        not depend on the other rows of the batch.
        """
        total = torch.zeros_like(flat)
        for number, matrix, origin in self.linears:
            of_own_rows = coefficient * (self.rows.linear == number)[:, None]
            deviation = flat - origin
            mapped = deviation * matrix if matrix.ndim == 1 else deviation @ matrix.T
            total = total + of_own_rows[:, :, None] * mapped
        return total


def _keep_length(
    flat: Float[Tensor, "batch pos width"], change: Float[Tensor, "_ _ width"]
) -> Float[Tensor, "batch pos width"]:
    """Return a change to the same direction as ``change``, after which the length is as before."""
    changed = flat + change
    length = changed.norm(dim=2, keepdim=True)
    # An activation that is moved to the origin has lost its direction: it is left unchanged.
    ratio = torch.where(length > 0, flat.norm(dim=2, keepdim=True) / length, 0.0)
    return torch.where(length > 0, changed * ratio - flat, 0.0)


def _look_up(
    table: Float[Tensor, "row step"], step: Int[Tensor, "batch pos"] | None
) -> Float[Tensor, "_ _"]:
    """Return the entries of a table at the steps of a pass; one per row if the table has one."""
    if table.shape[1] == 1:
        return table
    assert step is not None  # row_hooks refuses edits that change by step without a clock
    return table.expand(len(step), -1).gather(1, step.clamp(0, table.shape[1] - 1))


def _fill_gaps(edits: Sequence[Affine | None]) -> list[Affine]:
    """Give rows without an edit an edit of zeros, along a direction that another row has."""
    some = next(edit for edit in edits if edit is not None)
    idle = replace(
        some,
        push=(0.0,),
        pull=0.0,
        weights=(1.0,),
        span=Span(),
        dynamic=None,
        linear=None,
        linear_coefficient=0.0,
        keeps_length=False,
    )
    return [idle if edit is None else edit for edit in edits]


def _extend(by_step: Float[Tensor, " step *shape"], steps: int) -> Float[Tensor, " longer *shape"]:
    """Repeat the last entry up to a number of steps."""
    more = steps - len(by_step)
    return torch.cat([by_step, by_step[-1:].expand(more, *by_step.shape[1:])]) if more else by_step


def _weigh_by_step(
    rows: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
) -> Float[Tensor, "row step"]:
    """Multiply two sequences by step for each row; all rows are as long as the longest sequence.

    The product is computed in float64 and rounded once.
    """
    longest = max(max(len(values), len(weights)) for values, weights in rows)
    values, weights = (
        torch.stack(
            [_extend(torch.tensor(row[side], dtype=torch.float64), longest) for row in rows]
        )
        for side in (0, 1)
    )
    return (values * weights).float()


def _column(values: Sequence[int]) -> Int[Tensor, "row 1"]:
    return torch.tensor(values, dtype=torch.int64)[:, None]


class SiteHook:
    """The hook function of one site, which applies the edits of each row there, in order.

    Args:
        site: the site, for error messages.
        rows: the edits of each row at this site; a single row stands for any number of rows.
        clock: says which positions a pass holds and which rows are left.
        weights: the weights of dynamic schedules.
    """

    def __init__(
        self,
        site: str,
        rows: Sequence[Sequence[Affine]],
        clock: Clock | None,
        weights: DynamicWeights | None = None,
    ) -> None:
        self._site = site
        self._clock = clock
        self._weights = weights
        self._n_rows = len(rows)
        self._width = next(edit.unit[0].numel() for row in rows for edit in row)
        most_edits = max(map(len, rows))
        # Outside inference mode, so that the same hooks can serve a pass that takes gradients.
        with torch.inference_mode(False):
            self._stacked = [
                _StackedEdits.stack([row[k] if k < len(row) else None for row in rows])
                for k in range(most_edits)
            ]
        self._gathered: list[_GatheredEdits] = []
        self._gathered_for: tuple[int, torch.device] | None = None

    def __call__(
        self, activation: Float[Tensor, "batch pos *shape"], hook: Any = None
    ) -> Float[Tensor, "batch pos *shape"]:
        """Edit one activation.

        Raises:
            InterventionError: if the width of the activation is not that of the directions, the
                number of its rows not that of the interventions, or its positions are not those
                that the clock announced.
        """
        # The compiler traces this call once: checks and changes of rows are left to the caller.
        if not torch.compiler.is_compiling():
            self.prepare(activation.device)
            self._check(activation)
        for edits in self._gathered:
            activation = edits.apply(activation, self._clock, self._weights)
        return activation

    def prepare(self, device: torch.device) -> None:
        """Gather the edits of the rows that the clock announced, unless that is done already.

        Every call of the hook does this first, except inside a compiled pass: before that, the
        caller must.
        """
        state = (-1 if self._clock is None else self._clock.changes, device)
        if state != self._gathered_for:
            self._gather(device)
            self._gathered_for = state

    def __repr__(self) -> str:
        return f"SiteHook({self._site}, {self._n_rows} rows)"

    def _gather(self, device: torch.device) -> None:
        with torch.inference_mode(False):  # as for the stacked edits
            stacked = self._stacked
            if self._clock is not None and self._n_rows > 1:
                rows = self._clock.rows
                self._check_rows(self._clock.n_rows or max(self._n_rows, int(rows.max()) + 1))
                stacked = [edits.select(rows.cpu()) for edits in stacked]
            # Only a compiled pass has slots; see interp_steer.generation.compiled.
            compiled = isinstance(self._clock, SlotClock)
            gathered = (edits.gather(device, compiled) for edits in stacked)
            self._gathered = [edits for edits in gathered if edits is not None]

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
