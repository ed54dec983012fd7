"""Express how strongly to steer in units that mean the same for every layer, vector and model.

The coefficient of a unit direction is a length of an activation, which grows with depth and differs
between models. An amount of 1 stands for

========== =========================================================================================
``norm``      the vector's own length at the layer: for a difference in means, the mean shift of an
              activation by the property
``residual``  the root mean square length of the activations there
``sd``        the standard deviation of the activations' projection on the direction
``kl``        the coefficient that moves the model's predictions by 1 nat a token
``ppl``       the largest coefficient at which answers keep their unsteered perplexity; 1.5 lets the
              perplexity grow by a factor of 1.5
``raw``       a length of 1
========== =========================================================================================

With ``kl`` and ``ppl``, layers, vectors and operations are compared at equal damage. The
coefficient is searched for on the model's unsteered answers to prompts that do not ask for the
property.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, get_args

from einops import einsum, reduce
from jaxtyping import Float
from torch import Tensor

from interp_steer.arguments import check_list
from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import SiteRows
from interp_steer.contrast.pair import Prompt
from interp_steer.errors import InterventionError
from interp_steer.generation.answer_scores import Divergence, divergence
from interp_steer.generation.completions import generate
from interp_steer.interventions.intervention import Direction, Intervention
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.schedules import AnySchedule, fixed
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector

Unit: TypeAlias = Literal["norm", "residual", "sd", "kl", "ppl", "raw"]


@dataclass(frozen=True)
class Strength:
    """An amount and its unit; ``str`` writes a strength as :meth:`parse` reads it.

    Raises:
        InterventionError: for an amount that is not finite, or an unknown unit.

    Example:
        >>> str(Strength.parse("0.3kl")), Strength.parse("-2").unit
        ('0.3kl', 'norm')
    """

    amount: float
    """The amount; negative to steer away from the property."""
    unit: Unit = "norm"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit) or not math.isfinite(self.amount):
            raise InterventionError(
                f"invalid strength {self.amount!r} {self.unit!r}; give a finite number and one of "
                f"the units {', '.join(get_args(Unit))}"
            )

    @classmethod
    def parse(cls, text: str) -> Strength:
        """Read a number followed by its unit; a number alone is in ``norm``.

        Raises:
            InterventionError: for a text that is not a strength.
        """
        match = re.fullmatch(r"([+-]?\d*\.?\d+(?:e[+-]?\d+)?)([a-z]*)", text)
        if match is None or (match[2] or "norm") not in get_args(Unit):
            raise InterventionError(
                f"invalid strength {text!r}; write a number and one of the units "
                f"{', '.join(get_args(Unit))}, such as 2, 0.1residual, 0.3kl or 1.5ppl"
            )
        return cls(float(match[1]), match[2] or "norm")  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.amount:g}{'' if self.unit == 'norm' else self.unit}"


class StrengthCalibrator:
    """Calibrates the strengths of one vector on prompts that do not ask for its property.

    Nothing is run before it is needed: ``residual`` and ``sd`` need the activations of the prompts,
    ``kl`` and ``ppl`` need the unsteered answers to them.

    Args:
        model: the model that the vector steers.
        vector: the vector.
        prompts: such as ``pairs.select.absent``; use neither fitted nor reported prompts.
        max_new_tokens: the most tokens of an unsteered answer.
        batch_size: rows run together.

    Example:
        >>> calibrator = StrengthCalibrator(model, vector, pairs.select.absent)
        >>> steer = calibrator.steering(5, "add", Strength.parse("0.5residual"))
    """

    def __init__(
        self,
        model: HookedLM,
        vector: SteeringVector,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int = 64,
        batch_size: int = 16,
    ) -> None:
        check_list("prompts", prompts, InterventionError)
        self.model = model
        self.vector = vector
        self.prompts = list(prompts)
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self._coefficients: dict[tuple[Site, Site, Strength, Operation, str], float] = {}

    def steering(
        self,
        layer: int,
        how: str = Operation.ADD,
        strength: Strength | None = None,
        positions: str = "all",
        schedule: AnySchedule = fixed,
        *,
        apply_layer: int | None = None,
        along: SteeringVector | None = None,
    ) -> Intervention:
        """Return the intervention that steers at a layer with a strength.

        A projection of coefficient ``c`` sets the component along the direction to ``<b, u> + c``,
        with ``b`` the mean activation without the property at the site of the intervention. An
        amount of 1 ``norm`` therefore equals the target of paper A.

        Args:
            layer: the layer at which the vector was read.
            how: ``"add"``, ``"turn"`` or ``"project"``.
            strength: the strength; 1 ``norm`` when not given.
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: the share of the strength at each step; strengths are calibrated at the full
                amount.
            apply_layer: the layer to steer; the layer that was read when not given.
            along: another vector, such as a control, to steer along with this vector's coefficient.

        Raises:
            InterventionError: for an unknown ``how``, or a strength that cannot be reached.
            VectorError: for a layer that the vector does not have.
        """
        operation = measured_operation(how)
        vector = self.vector if along is None else along
        direction = vector.at(layer, apply_layer)
        if operation is Operation.PROJECT and strength is None:
            return direction.project(positions=positions, schedule=schedule)
        coefficient = self.coefficient(
            layer, strength or Strength(1.0), operation, positions, apply_layer=apply_layer
        )
        return _apply(vector, direction, operation, coefficient, positions, schedule)

    def coefficient(
        self,
        layer: int,
        strength: Strength,
        how: str = Operation.ADD,
        positions: str = "all",
        *,
        apply_layer: int | None = None,
    ) -> float:
        """Return the coefficient of a strength at a layer, in units of an activation's length.

        The vector's own length is taken at the layer that was read; activations, predictions and
        answers are taken at the layer that is steered.

        Raises:
            InterventionError: for an unknown ``how``, or a strength that cannot be reached.
            VectorError: for a layer that the vector does not have.
        """
        operation = measured_operation(how)
        direction = self.vector.at(layer, apply_layer)
        if strength.unit in _BUDGETS:
            key = (direction.source, direction.site, strength, operation, positions)
            if key not in self._coefficients:
                self._coefficients[key] = self._find_within(
                    direction, strength, operation, positions
                )
            return self._coefficients[key]
        unit = {
            "raw": lambda: 1.0,
            "norm": lambda: self._norm(layer),
            "residual": lambda: _root_mean_square_length(self._rows(direction)),
            "sd": lambda: _projection_deviation(self._rows(direction), direction),
        }[strength.unit]()
        return strength.amount * unit

    def damage(self, steering: Intervention) -> Divergence:
        """Measure the effect of an intervention on the unsteered answers, in the mean over the
        prompts."""
        prompts, answers = self._plain
        by_prompt = divergence(self.model, prompts, answers, steering, batch_size=self.batch_size)
        return Divergence(
            kl=math.fsum(moved.kl for moved in by_prompt) / len(by_prompt),
            perplexity=_geometric_mean([moved.perplexity for moved in by_prompt]),
            plain_perplexity=_geometric_mean([moved.plain_perplexity for moved in by_prompt]),
        )

    def _find_within(
        self, direction: Direction, budget: Strength, operation: Operation, positions: str
    ) -> float:
        """Find the largest coefficient that stays within a budget, with the budget's sign."""
        measure = _BUDGETS[budget.unit]

        def damage(coefficient: float) -> float:
            signed = math.copysign(coefficient, budget.amount)
            steering = _apply(self.vector, direction, operation, signed, positions)
            return measure(self.damage(steering))

        start = self._norm(direction.source.layer)
        try:
            if budget.unit == "ppl" and abs(budget.amount) <= 1:
                raise InterventionError(
                    f"a perplexity within {abs(budget.amount):g} times the unsteered one leaves no "
                    "room to steer; give a larger budget, such as 1.5ppl"
                )
            coefficient = find_largest_within(abs(budget.amount), damage, start=start)
        except InterventionError as error:
            raise InterventionError(f"{operation} at {direction}: {error}") from error
        return math.copysign(coefficient, budget.amount)

    def _norm(self, layer: int) -> float:
        return float(self.vector.norms[self.vector.layers.index(layer)])

    @cached_property
    def _plain(self) -> tuple[list[Prompt], list[Sequence[int]]]:
        """Return the prompts with the unsteered answers to them."""
        answers = generate(
            self.model,
            self.prompts,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )
        return self.prompts, [completion.tokens for completion in answers]

    def _rows(self, direction: Direction) -> Float[Tensor, "row d"]:
        """Return the activations of the prompts at the site of a direction, in float64.

        Raises:
            InterventionError: for a site that the vector was not read at.
        """
        if direction.site not in self.vector.sites:
            raise InterventionError(
                f"{direction} acts where its vector was not read, so the activations there are not "
                "known; fit it there too, with ist.fit(model, pairs, layers=...), or give "
                "the strength in norm, kl, ppl or raw"
            )
        return self._activations.values[direction.site].double().flatten(1)

    @cached_property
    def _activations(self) -> SiteRows:
        """Return the activations of the prompts at every site that the vector was read at."""
        position = self.vector.card.position
        index = position if position in ("last", "all", "generated") else int(position)
        moments = capture_moments(
            self.model,
            self.prompts,
            self.vector.sites,
            index,
            max_new_tokens=self.max_new_tokens,
            keep_rows=True,
        )
        assert moments.rows is not None
        return moments.rows


def _root_mean_square_length(rows: Float[Tensor, "row d"]) -> float:
    """Compute the root mean square length of activations."""
    return float(reduce(rows**2, "row d -> row", "sum").mean().sqrt())


def _projection_deviation(rows: Float[Tensor, "row d"], direction: Direction) -> float:
    """Compute the standard deviation of the projections of activations on a unit direction."""
    return float(einsum(rows, direction.unit.double().flatten(), "row d, d -> row").std())


_BUDGETS: dict[str, Callable[[Divergence], float]] = {
    "kl": lambda moved: moved.kl,
    "ppl": lambda moved: moved.perplexity / moved.plain_perplexity,
}
"""The units whose amount is a budget, and how much of the budget an effect uses."""


def find_largest_within(
    budget: float,
    damage: Callable[[float], float],
    *,
    start: float = 1.0,
    tolerance: float = 0.02,
    most: float = 2.0**12,
) -> float:
    """Find the largest coefficient whose damage stays within a budget.

    The coefficient is doubled or halved until the budget lies between two neighbours, then
    bisected. This assumes that damage grows with the coefficient. Where damage does not grow, the
    result is the upper end of a range in which every coefficient that was tried stays within the
    budget.

    Args:
        budget: such as nats a token, or a ratio of perplexities.
        damage: computes the damage of a positive coefficient.
        start: the first coefficient that is tried.
        tolerance: the relative distance from the result to the first coefficient beyond the budget.
        most: the largest factor on ``start`` that is tried; the smallest is ``1 / most``.

    Raises:
        InterventionError: when no coefficient that is tried stays within the budget, or all do.
    """
    if not (math.isfinite(budget) and budget > 0 and math.isfinite(start) and start > 0):
        raise InterventionError(
            f"a budget of {budget} from a coefficient of {start}: both must be finite and above 0"
        )
    low = high = start
    if damage(start) <= budget:
        while damage(high := 2 * high) <= budget:
            low = high
            if high >= most * start:
                raise InterventionError(
                    f"the damage stays within {budget:g} up to a coefficient of {high:g}; give a "
                    "smaller budget"
                )
    else:
        while damage(low := low / 2) > budget:
            high = low
            if low <= start / most:
                raise InterventionError(
                    f"the damage is beyond {budget:g} even at a coefficient of {low:g}; give a "
                    "larger budget"
                )
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if damage(middle) <= budget else (low, middle)
    return low


def measured_operation(how: str) -> Operation:
    """Return the operation of a name, if its amount can be given as a strength.

    Raises:
        InterventionError: for another name.
    """
    measured = [operation for operation in Operation if operation.is_measured_as_length]
    if how not in measured:
        raise InterventionError(f"how is {how!r}; give one of {', '.join(measured)}")
    return Operation.parse(how)


def _apply(
    vector: SteeringVector,
    direction: Direction,
    operation: Operation,
    coefficient: float,
    positions: str,
    schedule: AnySchedule = fixed,
) -> Intervention:
    """Apply an operation as far as a coefficient, which a projection counts from the baseline."""
    if operation is Operation.PROJECT:
        coefficient = _baseline_projection(vector, direction) + coefficient
    return direction.apply(operation, coefficient, positions, schedule)


def _baseline_projection(vector: SteeringVector, direction: Direction) -> float:
    """Return the projection of the mean activation without the property where a direction acts.

    Raises:
        InterventionError: if this mean is not known.
    """
    if vector.baseline is None:
        raise InterventionError(
            f"{vector} has no baseline to measure a projection from; fit it with ist.fit, or use "
            "its own target: project without a strength"
        )
    if direction.site not in vector.sites:
        raise InterventionError(
            f"{direction} acts where its vector was not read, so the baseline of a projection is "
            "not known there; fit it there too, with ist.fit(model, pairs, layers=...), "
            "or use its own target: project without a strength"
        )
    baseline = vector.baseline[vector.sites.index(direction.site)].double().flatten()
    return float(baseline @ direction.unit.double().flatten().to(baseline.device))


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))
