"""Resample means many at a time, and read normal intervals off the resamples."""

from __future__ import annotations

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64
from scipy.stats import norm
from torch import Tensor

from interp_steer.errors import VectorError
from interp_steer.statistics.intervals import Interval


def resampled_means(
    rows: Float[Tensor, " row *shape"], draws: int, seed: int
) -> Float64[Tensor, " draw *shape"]:
    """Means of rows drawn with replacement: what other samples of prompts would have given.

    Args:
        rows: one for each pair of prompts.
        draws: how many means.
        seed: of the draws. The same seed draws the same rows of any set of as many, so that sets of
            the same questions are resampled together.

    Raises:
        VectorError: for no rows.
    """
    if not len(rows):
        raise VectorError("there are no rows to draw from; capture some prompts")
    weights = draw_weights(len(rows), draws, seed)
    return einsum(weights, rows.double(), "draw row, row ... -> draw ...")


def draw_weights(n: int, draws: int, seed: int) -> Float64[Tensor, "draw row"]:
    """How much each of ``n`` rows weighs in the mean of each bootstrap draw; weights sum to 1.

    Raises:
        VectorError: for fewer than two draws.
    """
    if draws < 2:
        raise VectorError(f"{draws} draws of a bootstrap make no interval; draw at least 2")
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return torch.from_numpy(times / n)


def normal_interval(
    value: float,
    draws: Float[Tensor, " draw"],
    n: int,
    within: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> Interval:
    """An estimate with the interval that the spread of its bootstrap draws gives.

    A resampled mean is noisier than the mean, so that cosines of resampled means lie nearer to zero
    than their cosine, and effective ranks higher; percentiles of the draws could then leave the
    estimate out. Their standard deviation has no such shift. What noise has already taken from the
    estimate itself, which is little where many prompts are read, it does not give back.

    Args:
        value: the estimate.
        draws: the same of each bootstrap draw.
        n: how many prompts, or pairs of them, were drawn from.
        within: the values that the estimate can take; the interval does not leave them.
        level: confidence level, in (0, 1).

    Example:
        >>> str(normal_interval(0.5, torch.tensor([0.4, 0.6]), 10))
        '0.500 [0.223, 0.777]'
    """
    reach = float(norm.ppf((1 + level) / 2) * draws.double().std())
    low, high = max(value - reach, within[0]), min(value + reach, within[1])
    # Rounding may put an estimate a hair beyond what it can be.
    return Interval(
        value, min(low, value), max(high, value), n, f"bootstrap normal {100 * level:g}%"
    )
