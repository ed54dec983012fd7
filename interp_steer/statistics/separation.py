"""Measure how well a number separates two groups: the area under the ROC curve, with its
interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64
from scipy import stats
from torch import Tensor

from interp_steer.errors import CaptureError
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.resampling import draw_weights


@dataclass(frozen=True, eq=False)
class Separation:
    """The area under the ROC curve of a number on two sides, for each head."""

    auroc: Float64[Tensor, "*unit"]
    """The share of couples, one prompt of either side, in which the prompt with the property has
    the larger number; ties count half. 0.5 is chance."""
    low: Float64[Tensor, "*unit"]
    """The lower end of the 95 % interval."""
    high: Float64[Tensor, "*unit"]
    """The upper end of the 95 % interval."""
    n: int
    """The number of prompts on the smaller side."""


def measure_separation(
    present: Float[Tensor, "with *unit"], absent: Float[Tensor, "without ..."]
) -> Separation:
    """Compute the AUROC of each head, from the ranks of its numbers, with its interval.

    The interval is Newcombe's (2006, method 5): Hanley and McNeil's variance, taken at the bound
    rather than at the estimate. It does not claim certainty where the sides are separated
    completely, as a bootstrap of any number of prompts would. It takes the prompts of the two sides
    as independent.

    Args:
        present: numbers of the prompts with the property, such as projections on a direction that
            was fitted on *other* prompts.
        absent: numbers of the prompts without the property.

    Raises:
        CaptureError: for an empty side, units that differ, or numbers that are not finite.

    Example:
        >>> float(measure_separation(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.5])).auroc)
        0.75
    """
    sides = [side.detach().double().cpu() for side in (present, absent)]
    if present.shape[1:] != absent.shape[1:] or not all(map(len, sides)):
        raise CaptureError(
            f"numbers of shapes {tuple(present.shape)} and {tuple(absent.shape)} do not go "
            "together; give a row for each prompt, at least one on either side, and as many heads"
        )
    if not all(side.isfinite().all() for side in sides):
        raise CaptureError("some numbers are nan or inf; load the model in bfloat16 or float32")
    m, n = map(len, sides)
    value = auroc(*sides).numpy()
    low, high = (_find_bound(value, m, n, sign) for sign in (-1, 1))
    tensors = [torch.as_tensor(array) for array in (value, low, high)]
    return Separation(tensors[0], tensors[1], tensors[2], min(m, n))


def auroc(
    present: Float64[Tensor, "with *unit"], absent: Float64[Tensor, "without ..."]
) -> Float64[Tensor, "*unit"]:
    """Compute the area under the ROC curve of each unit, from ranks; ties count half."""
    m, n = len(present), len(absent)
    ranks = stats.rankdata(torch.cat([present, absent]).numpy(), axis=0)[:m]
    return torch.as_tensor((ranks.sum(axis=0) - m * (m + 1) / 2) / (m * n))


def auroc_gain(
    first: tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]],
    second: tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]],
    *,
    draws: int = 500,
    seed: int = 0,
) -> Interval:
    """Return how much a second reading separates two sides better than a first: ``AUROC2 -
    AUROC1``.

    The interval is by the method of variance estimates recovery (Zou and Donner 2008): Newcombe's
    intervals of both AUROCs (see :func:`measure_separation`), combined with their correlation,
    which a bootstrap of the pairs gives. A bootstrap of the difference would claim certainty where
    both readings separate all prompts; this interval does not.

    Args:
        first: the numbers of the prompts with the property, and of the prompts without it, pair by
            pair.
        second: the same for the second reading.
        draws: the number of bootstrap draws.
        seed: of the draws.

    Returns:
        The difference, above 0 where the second reading is better.

    Raises:
        CaptureError: as :func:`measure_separation`.
    """
    before, after = (measure_separation(*sides) for sides in (first, second))
    n = before.n
    times = draw_weights(n, draws, seed) * n
    drawn = [resampled_auroc(*sides, times) for sides in (first, second)]
    together = float(torch.corrcoef(torch.stack(drawn))[0, 1])
    correlation = max(together, 0.0) if math.isfinite(together) else 0.0
    down, up = (
        math.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0.0))
        for a, b in (
            (float(after.auroc - after.low), float(before.high - before.auroc)),
            (float(after.high - after.auroc), float(before.auroc - before.low)),
        )
    )
    value = float(after.auroc - before.auroc)
    return Interval(value, max(value - down, -1.0), min(value + up, 1.0), n, "newcombe paired 95%")


def resampled_auroc(
    present: Float[Tensor, " pair"],
    absent: Float[Tensor, " pair"],
    times: Float64[Tensor, "draw pair"],
) -> Float64[Tensor, " draw"]:
    """Compute the AUROC of resampled pairs, given how often each draw holds each pair."""
    above = (present[:, None] > absent).double() + 0.5 * (present[:, None] == absent).double()
    return einsum(times, above, times, "draw p, p a, draw a -> draw") / len(present) ** 2


def _find_bound(value: np.ndarray, m: int, n: int, sign: int, level: float = 0.95) -> np.ndarray:
    """Find by bisection where ``sign (t - value) = z s(t)``."""
    z = stats.norm.ppf((1 + level) / 2)
    near, far = value.copy(), np.full_like(value, (1 + sign) / 2)
    for _ in range(50):
        middle = (near + far) / 2
        extra = (m + n) / 2 - 1
        spread = 1 + extra * (1 - middle) / (2 - middle) + extra * middle / (1 + middle)
        inside = sign * (middle - value) <= z * np.sqrt(middle * (1 - middle) * spread / (m * n))
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return near
