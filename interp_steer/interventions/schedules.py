"""Define how strongly an intervention acts at each generated step.

A :class:`Schedule` is known in advance: a weight ``a_i`` for each step ``i``, where step 0 is the
last token of the prompt. The weights of a :class:`Dynamic` schedule are found while the model
generates, from how far a probe moves the predictions.

Sources: Scalena, Sarti and Nissim (2024), section 3; Scalena, Fersini and Nissim (2024), section 2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp_steer.errors import InterventionError

LONGEST = 4096
"""The largest number of weights of a schedule."""

Reduction: TypeAlias = Literal["sum", "mean"]
"""How a divergence is taken over tokens: as a sum, or as a mean, as in the published code."""


@dataclass(frozen=True)
class Schedule:
    """A weight for each step.

    Args:
        name: the text that :func:`parse` reads back.
        weights: the weights at step 0, 1, 2 and so on. The last weight holds for all later steps,
            the first weight for the prompt tokens before step 0.

    Raises:
        InterventionError: for an empty list of weights, too many weights, or a weight that is not
            finite.

    Example:
        >>> diminishing(4).weights
        (1.0, 0.75, 0.5, 0.25, 0.0)
    """

    name: str
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.weights) <= LONGEST or not all(map(math.isfinite, self.weights)):
            raise InterventionError(
                f"schedule {self.name} has {len(self.weights)} weights, of which "
                f"{sum(not math.isfinite(weight) for weight in self.weights)} are not finite; give "
                f"from 1 to {LONGEST} finite ones"
            )

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Dynamic:
    """A weight that follows how far the model's prediction is from one with the property.

    At each step, ``p`` is the prediction without the property, and ``q`` is the prediction of a
    probe, which is steered with the weight ``probe`` at every step so far. The smallest set of
    tokens that reaches a probability of ``top_p`` is taken from each, and ``S`` is the union of
    both sets. With ``p`` and ``q`` scaled to sum to 1 over ``S``, the weight is::

        a_i = clip(sum_S p log(p / q), 0, most)

    If the two predictions agree, the answer has the property already, and nothing is added.

    Args:
        top_p: the probability that each set reaches; the token that crosses it is in the set.
        probe: the weight of the probe.
        most: the largest weight.
        reduction: ``"mean"`` divides the divergence by the size of ``S``, as the published code
            does.

    Raises:
        InterventionError: for numbers out of range, or an unknown reduction.
    """

    top_p: float = 0.5
    probe: float = 2.0
    most: float = 2.0
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        numbers = (self.top_p, self.probe, self.most)
        if not (0 < self.top_p <= 1 and self.most > 0 and all(map(math.isfinite, numbers))):
            raise InterventionError(
                f"a dynamic schedule with top_p {self.top_p}, probe {self.probe} and most "
                f"{self.most}: top_p must be above 0 and at most 1, most above 0, all finite"
            )
        if self.reduction not in get_args(Reduction):
            raise InterventionError(f"reduction is {self.reduction!r}; give 'sum' or 'mean'")

    @property
    def probing(self) -> Schedule:
        """Return the schedule of the probe."""
        return of(lambda _: self.probe, 1)

    def divergence(
        self, plain: Float[Tensor, "*row vocabulary"], probe: Float[Tensor, "*row vocabulary"]
    ) -> Float[Tensor, " *row"]:
        """Return ``KL(p || q)`` over ``S``, in nats.

        Args:
            plain: the logits without the property.
            probe: the logits of the probe.
        """
        p, q = (side.float().log_softmax(-1) for side in (plain, probe))
        in_either = _nucleus(p, self.top_p) | _nucleus(q, self.top_p)
        p, q = (side.masked_fill(~in_either, -torch.inf).log_softmax(-1) for side in (p, q))
        # A token of probability 0 adds nothing to the sum, though its logarithm is infinite.
        # Rounding can take a sum near 0 below 0, and a divergence is never negative.
        total = torch.where(p.exp() > 0, p.exp() * (p - q), 0.0).sum(-1).clamp(min=0.0)
        return total / in_either.sum(-1) if self.reduction == "mean" else total

    def weights(self, divergence: Float[Tensor, " *row"]) -> Float[Tensor, " *row"]:
        """Return the weights of divergences."""
        return divergence.clamp(0.0, self.most)

    def __str__(self) -> str:
        defaults = Dynamic()
        parts = [_shortest(self.top_p)]
        parts += [
            f"{name}={_shortest(getattr(self, name))}"
            for name in ("probe", "most")
            if getattr(self, name) != getattr(defaults, name)
        ]
        parts += [self.reduction] * (self.reduction != defaults.reduction)
        return f"dynamic({'; '.join(parts)})"


AnySchedule: TypeAlias = Schedule | Dynamic

fixed = Schedule("fixed", (1.0,))
"""The same weight at every step."""

start = Schedule("start", (1.0, 0.0))
"""Full weight where the first token is generated, and weight 0 later."""


def diminishing(steps: int) -> Schedule:
    """Return ``a_i = 1 - i / steps``, and 0 from step ``steps`` on (paper B, section 2).

    Raises:
        InterventionError: for fewer than one step, or more steps than a schedule can have.
    """
    _check_steps("diminishing", steps)
    return Schedule(f"diminishing({steps})", tuple(1 - i / steps for i in range(steps + 1)))


def exponential(rate: float) -> Schedule:
    """Return ``a_i = rate ** i``, and 0 once that is less than a millionth.

    Raises:
        InterventionError: for a rate that is not between 0 and 1, or so near 1 that the schedule
            would have too many steps.
    """
    if not 0 < rate < 1:
        raise InterventionError(f"exponential({rate}): the rate must be between 0 and 1")
    steps = math.ceil(math.log(1e-6) / math.log(rate))
    _check_steps(f"exponential({rate!r})", steps)
    return Schedule(f"exponential({rate!r})", (*(rate**i for i in range(steps)), 0.0))


def of(weight: Callable[[int], float], steps: int) -> Schedule:
    """Make a schedule from any function of the step.

    Args:
        weight: gives the weight of a step.
        steps: the number of steps; the weight of the last step holds for all later steps.

    Raises:
        InterventionError: for fewer than one step, or weights that are not finite numbers.

    Example:
        >>> str(of(lambda i: (-1) ** i, 3))
        'steps(1.0;-1.0;1.0)'
    """
    _check_steps("a schedule", steps)
    try:
        weights = tuple(float(weight(step)) for step in range(steps))
    except (TypeError, ValueError) as error:
        raise InterventionError(f"a weight of a schedule is not a number: {error}") from error
    return Schedule(f"steps({';'.join(map(repr, weights))})", weights)


def parse(text: str) -> AnySchedule:
    """Read a schedule that ``str(schedule)`` wrote.

    Args:
        text: ``fixed``, ``start``, ``diminishing(30)``, ``exponential(0.9)``, ``steps(1;0.5;0)``,
            or ``dynamic(0.5)``, in full ``dynamic(0.5; probe=1.5; most=3; mean)``.

    Raises:
        InterventionError: for any other text.
    """
    match = re.fullmatch(r"([a-z]+)(?:\(([^()]+)\))?", text)
    name, inside = (match[1], match[2]) if match else ("", None)
    try:
        if inside is None:
            return {"fixed": fixed, "start": start}[name]
        if name == "diminishing":
            return diminishing(int(inside))
        if name == "exponential":
            return exponential(float(inside))
        parts = [part.strip() for part in inside.split(";")]
        if name == "steps":
            weights = [float(part) for part in parts]
            return of(lambda step: weights[step], len(weights))
        if name == "dynamic":
            return _parse_dynamic(parts)
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, InterventionError):
            raise
    raise InterventionError(
        f"schedule {text!r} is unknown; use one of fixed, start, diminishing(30), "
        "exponential(0.9), steps(1;0.5;0), dynamic(0.5)"
    )


def _parse_dynamic(parts: list[str]) -> Dynamic:
    """Read the parts between the brackets of ``dynamic(...)``."""
    numbers: dict[str, float] = {}
    reductions = [part for part in parts[1:] if part in get_args(Reduction)]
    for part in parts[1:]:
        if part not in reductions:
            name, _, value = part.partition("=")
            numbers[name.strip()] = float(value)
    return Dynamic(float(parts[0]), **numbers, reduction=reductions[-1] if reductions else "sum")  # type: ignore[arg-type]


def _shortest(number: float) -> str:
    """Write a number so that it reads back the same, as ``2`` rather than ``2.0``."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


def _check_steps(what: str, steps: int) -> None:
    if not isinstance(steps, Integral) or not 1 <= steps < LONGEST:
        raise InterventionError(
            f"{what} of {steps} steps: give from 1 to {LONGEST - 1}, a whole number"
        )


def _nucleus(
    logprobs: Float[Tensor, "*row vocabulary"], top_p: float
) -> Bool[Tensor, "*row vocabulary"]:
    """Return the smallest set of tokens that reaches ``top_p``, with the token that crosses it."""
    probabilities, order = logprobs.exp().sort(-1, descending=True)
    likelier_tokens = probabilities.cumsum(-1) - probabilities
    inside = likelier_tokens < top_p
    return torch.zeros_like(inside).scatter(-1, order, inside)
