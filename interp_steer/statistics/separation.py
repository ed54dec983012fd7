"""Measure how well one number tells two groups apart: AUROC with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import stats
from torch import Tensor

from interp_steer.errors import CaptureError


@dataclass(frozen=True, eq=False)
class Separation:
    """How well a number tells two sides apart, for each head: the area under the ROC curve."""

    auroc: Float64[Tensor, "*unit"]
    """The share of couples, one prompt of either side, in which the prompt with the property has
    the larger number; ties count half. 0.5 is chance."""
    low: Float64[Tensor, "*unit"]
    """Lower end of the 95 % interval."""
    high: Float64[Tensor, "*unit"]
    """Its upper end."""
    n: int
    """Prompts on the smaller side."""


def measure_separation(
    present: Float[Tensor, "with *unit"], absent: Float[Tensor, "without ..."]
) -> Separation:
    """AUROC of each head, from the ranks of its numbers, with its interval.

    The interval is Newcombe's (2006, method 5): Hanley and McNeil's variance, taken at the bound
    rather than at the estimate. A bootstrap of sides that are apart altogether would claim
    certainty from any number of prompts; this does not. It takes the prompts of the two sides as
    independent.

    Args:
        present: numbers of the prompts with the property, such as projections on a direction that
            was fitted on *other* prompts.
        absent: those of the prompts without it.

    Raises:
        CaptureError: for a side of no prompts, units that differ, or numbers that are not finite.

    Example:
        >>> float(separation(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.5])).auroc)
        0.75
    """
    sides = [side.detach().double().cpu() for side in (present, absent)]
    if present.shape[1:] != absent.shape[1:] or not all(map(len, sides)):
        raise CaptureError(
            f"numbers of shapes {tuple(present.shape)} and {tuple(absent.shape)} are no two sides; "
            "give a row for each prompt, at least one on either side, and as many heads"
        )
    if not all(side.isfinite().all() for side in sides):
        raise CaptureError("some numbers are nan or inf; load the model in bfloat16 or float32")
    m, n = map(len, sides)
    value = auroc(*sides).numpy()
    low, high = (_bound(value, m, n, sign) for sign in (-1, 1))
    tensors = [torch.as_tensor(each) for each in (value, low, high)]
    return Separation(tensors[0], tensors[1], tensors[2], min(m, n))


def auroc(
    present: Float64[Tensor, "with *unit"], absent: Float64[Tensor, "without ..."]
) -> Float64[Tensor, "*unit"]:
    """The area under the ROC curve of each unit, from the ranks of its numbers; ties count half."""
    m, n = len(present), len(absent)
    ranks = stats.rankdata(torch.cat([present, absent]).numpy(), axis=0)[:m]
    return torch.as_tensor((ranks.sum(axis=0) - m * (m + 1) / 2) / (m * n))


def _bound(value: np.ndarray, m: int, n: int, sign: int, level: float = 0.95) -> np.ndarray:
    """Where ``sign (t - value) = z s(t)``: by bisection, since everything grows with ``t``."""
    z = stats.norm.ppf((1 + level) / 2)
    near, far = value.copy(), np.full_like(value, (1 + sign) / 2)
    for _ in range(50):
        middle = (near + far) / 2
        extra = (m + n) / 2 - 1
        spread = 1 + extra * (1 - middle) / (2 - middle) + extra * middle / (1 + middle)
        inside = sign * (middle - value) <= z * np.sqrt(middle * (1 - middle) * spread / (m * n))
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return near
