"""How strongly to steer, in units that mean the same at every layer, of every vector and model.

The coefficient of a unit direction is in units of an activation's length, which grows with depth
and differs between models. An amount of 1 stands for

========== =========================================================================================
``norm``      the vector's own length there: for a difference in means, as far as the property moves
              an activation in the mean
``residual``  the root mean square length of the activations there
``sd``        the standard deviation of the activations' projection on the direction
``kl``        the coefficient that moves the model's predictions by 1 nat a token
``ppl``       the largest coefficient under which answers keep the perplexity that they have
              unsteered; 1.5 lets it grow to 1.5 times as much
``raw``       a length of 1
========== =========================================================================================

With ``kl`` and ``ppl`` layers, vectors and operations are compared at equal damage: the coefficient
is searched for on answers that the model gives unsteered, to prompts that do not ask for the
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
from interp_steer.interventions.schedules import AnySchedule, fixed
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector

Unit: TypeAlias = Literal["norm", "residual", "sd", "kl", "ppl", "raw"]
How: TypeAlias = Literal["add", "turn", "project"]


@dataclass(frozen=True)
class Strength:
    """An amount of a unit; ``str`` writes it as :meth:`parse` reads it.

    Raises:
        InterventionError: for an amount that is not finite, or an unknown unit.

    Example:
        >>> str(Strength.parse("0.3kl")), Strength.parse("-2").unit
        ('0.3kl', 'norm')
    """

    amount: float
    """Negative to steer away."""
    unit: Unit = "norm"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit) or not math.isfinite(self.amount):
            raise InterventionError(
                f"strength {self.amount!r} {self.unit!r} is none; give a finite number and one of "
                f"the units {', '.join(get_args(Unit))}"
            )

    @classmethod
    def parse(cls, text: str) -> Strength:
        """Read a number with its unit behind it, ``norm`` where none is given.

        Raises:
            InterventionError: for a text that is no strength.
        """
        match = re.fullmatch(r"([+-]?\d*\.?\d+(?:e[+-]?\d+)?)([a-z]*)", text)
        if match is None or (match[2] or "norm") not in get_args(Unit):
            raise InterventionError(
                f"strength {text!r} is none; write a number and one of the units "
                f"{', '.join(get_args(Unit))}, such as 2, 0.1residual, 0.3kl or 1.5ppl"
            )
        return cls(float(match[1]), match[2] or "norm")  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.amount:g}{'' if self.unit == 'norm' else self.unit}"


class StrengthCalibrator:
    """What the strengths of one vector are measured by: prompts that do not ask for its property.

    Nothing is run before it is needed: the activations of the prompts for ``residual`` and ``sd``,
    their unsteered answers for ``kl`` and ``ppl``.

    Args:
        model: that the vector steers.
        vector: the vector.
        prompts: such as ``pairs.select.absent``; neither fitted on nor reported.
        max_new_tokens: of the unsteered answers.
        batch_size: rows run together.

    Example:
        >>> gauge = Gauge(model, vector, pairs.select.absent)
        >>> gauge.steering(5, "add", Strength.parse("0.3kl"))  # doctest: +SKIP
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
        self._found: dict[tuple[Site, Site, Strength, How, str], float] = {}

    def steering(
        self,
        layer: int,
        how: How = "add",
        strength: Strength | None = None,
        positions: str = "all",
        schedule: AnySchedule = fixed,
        *,
        apply_layer: int | None = None,
        along: SteeringVector | None = None,
    ) -> Intervention:
        """Steer at a layer with a strength.

        A projection of coefficient ``c`` sets the component along the direction to ``<b, u> + c``,
        with ``b`` the mean activation without the property where it acts; an amount of 1 ``norm``
        is therefore the target of paper A.

        Args:
            layer: where the vector was read.
            how: ``"add"``, ``"turn"`` or ``"project"``.
            strength: 1 ``norm`` when not given.
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: what share of it is done at each step; strengths are measured at the whole.
            apply_layer: where it acts; where it was read when not given.
            along: another vector, such as a control, to act along with the coefficient that this
                one has.

        Raises:
            InterventionError: for an unknown ``how``, or a strength that cannot be reached.
            VectorError: when the vector has no such layer.
        """
        vector = self.vector if along is None else along
        direction = vector.at(layer, apply_layer)
        if how == "project" and strength is None:
            return direction.project(positions=positions, schedule=schedule)
        coefficient = self.coefficient(
            layer, strength or Strength(1.0), how, positions, apply_layer=apply_layer
        )
        return _act(vector, direction, how, coefficient, positions, schedule)

    def coefficient(
        self,
        layer: int,
        strength: Strength,
        how: How = "add",
        positions: str = "all",
        *,
        apply_layer: int | None = None,
    ) -> float:
        """What a strength is at a layer, in units of an activation's length.

        The vector's own length is that where it was read; activations, predictions and answers are
        those where it acts.

        Raises:
            InterventionError: for an unknown ``how``, or a strength that cannot be reached.
            VectorError: when the vector has no such layer.
        """
        direction = self.vector.at(layer, apply_layer)
        if strength.unit in _BUDGETS:
            asked = (direction.source, direction.site, strength, how, positions)
            if asked not in self._found:
                self._found[asked] = self._within(direction, strength, how, positions)
            return self._found[asked]
        unit = {
            "raw": lambda: 1.0,
            "norm": lambda: self._norm(layer),
            "residual": lambda: _length(self._rows(direction)),
            "sd": lambda: _spread(self._rows(direction), direction),
        }[strength.unit]()
        return strength.amount * unit

    def damage(self, steering: Intervention) -> Divergence:
        """What an intervention does to the unsteered answers, in the mean over the prompts."""
        prompts, answers = self._plain
        each = divergence(self.model, prompts, answers, steering, batch_size=self.batch_size)
        return Divergence(
            kl=math.fsum(one.kl for one in each) / len(each),
            perplexity=_geometric_mean([one.perplexity for one in each]),
            plain_perplexity=_geometric_mean([one.plain_perplexity for one in each]),
        )

    def _within(self, direction: Direction, budget: Strength, how: How, positions: str) -> float:
        """The largest coefficient that stays within a budget, with the budget's sign."""
        spent = _BUDGETS[budget.unit]

        def damage(coefficient: float) -> float:
            signed = math.copysign(coefficient, budget.amount)
            return spent(self.damage(_act(self.vector, direction, how, signed, positions)))

        start = self._norm(direction.source.layer)
        try:
            if budget.unit == "ppl" and abs(budget.amount) <= 1:
                raise InterventionError(
                    f"a perplexity within {abs(budget.amount):g} times the unsteered one leaves no "
                    "room to steer; give a larger budget, such as 1.5ppl"
                )
            found = largest_within(abs(budget.amount), damage, start=start)
        except InterventionError as error:
            raise InterventionError(f"{how} at {direction}: {error}") from error
        return math.copysign(found, budget.amount)

    def _norm(self, layer: int) -> float:
        return float(self.vector.norms[self.vector.layers.index(layer)])

    @cached_property
    def _plain(self) -> tuple[list[Prompt], list[Sequence[int]]]:
        """The prompts, with the unsteered answers to them."""
        said = generate(
            self.model,
            self.prompts,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )
        return self.prompts, [completion.tokens for completion in said]

    def _rows(self, direction: Direction) -> Float[Tensor, "row d"]:
        """The activations of the prompts where a direction acts, in float64.

        Raises:
            InterventionError: where the vector was not read.
        """
        if direction.site not in self.vector.sites:
            raise InterventionError(
                f"{direction} acts where its vector was not read, so that activations are not "
                "known there; fit it there too, with ist.fit(model, pairs, layers=...), or give "
                "the strength in norm, kl, ppl or raw"
            )
        return self._activations.values[direction.site].double().flatten(1)

    @cached_property
    def _activations(self) -> SiteRows:
        """The activations of the prompts, wherever the vector was read."""
        position = self.vector.card.position
        index = position if position in ("last", "all", "generated") else int(position)
        found = capture_moments(
            self.model,
            self.prompts,
            self.vector.sites,
            index,
            max_new_tokens=self.max_new_tokens,
            keep_rows=True,
        )
        assert found.rows is not None
        return found.rows


def _length(rows: Float[Tensor, "row d"]) -> float:
    """The root mean square length of activations."""
    return float(reduce(rows**2, "row d -> row", "sum").mean().sqrt())


def _spread(rows: Float[Tensor, "row d"], direction: Direction) -> float:
    """The standard deviation of the projections of activations on a unit direction."""
    return float(einsum(rows, direction.unit.double().flatten(), "row d, d -> row").std())


_BUDGETS: dict[str, Callable[[Divergence], float]] = {
    "kl": lambda found: found.kl,
    "ppl": lambda found: found.perplexity / found.plain_perplexity,
}
"""The units of which an amount is a budget, and what of it is spent."""


def largest_within(
    budget: float,
    damage: Callable[[float], float],
    *,
    start: float = 1.0,
    tolerance: float = 0.02,
    most: float = 2.0**12,
) -> float:
    """The largest coefficient whose damage stays within a budget.

    The coefficient is doubled, or halved, until the budget lies between two neighbours, then
    bisected. Damage is taken to grow with the coefficient; where it does not, what is found is the
    end of a stretch from below that stays within the budget at every coefficient that was tried.

    Args:
        budget: such as nats a token, or a ratio of perplexities.
        damage: of a positive coefficient.
        start: the first coefficient that is tried.
        tolerance: how near, as a share of it, the result is to the first coefficient beyond.
        most: how many times ``start`` is tried at most, and the least is one over it.

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


def _act(
    vector: SteeringVector,
    direction: Direction,
    how: How,
    coefficient: float,
    positions: str,
    schedule: AnySchedule = fixed,
) -> Intervention:
    if how == "add":
        return direction.add(coefficient, positions, schedule)
    if how == "turn":
        return direction.turn(coefficient, positions, schedule)
    if how != "project":
        raise InterventionError(f"how is {how!r}; give one of {', '.join(get_args(How))}")
    if vector.baseline is None:
        raise InterventionError(
            f"{vector} has no baseline to measure a projection from; fit it with ist.fit, or use "
            "its own target: project without a strength"
        )
    if direction.site not in vector.sites:
        raise InterventionError(
            f"{direction} acts where its vector was not read, so that there is no baseline to "
            "measure a projection from; fit it there too, with ist.fit(model, pairs, layers=...), "
            "or use its own target: project without a strength"
        )
    baseline = vector.baseline[vector.sites.index(direction.site)].double().flatten()
    start = float(baseline @ direction.unit.double().flatten().to(baseline.device))
    return direction.project(start + coefficient, positions, schedule)


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))
