"""Resample many means at a time, and compute normal intervals from the resamples."""

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
    """Return means of rows drawn with replacement: the means that other samples of prompts would
    have.

    Args:
        rows: a row for each pair of prompts.
        draws: the number of means.
        seed: of the draws. The same seed draws the same rows of any set with the same number of
            rows, so sets of the same questions are resampled together.

    Raises:
        VectorError: for an empty set of rows.
    """
    if not len(rows):
        raise VectorError("the list of rows to draw from is empty; capture some prompts")
    weights = draw_weights(len(rows), draws, seed)
    return einsum(weights, rows.double(), "draw row, row ... -> draw ...")


def draw_weights(n: int, draws: int, seed: int) -> Float64[Tensor, "draw row"]:
    """Draw the weight of each of ``n`` rows in the mean of each bootstrap draw; weights sum to 1.

    Raises:
        VectorError: for fewer than two draws.
    """
    if draws < 2:
        raise VectorError(f"{draws} draws are too few for a bootstrap interval; draw at least 2")
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return torch.from_numpy(times / n)


def normal_interval(
    value: float,
    draws: Float[Tensor, " draw"],
    n: int,
    within: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> Interval:
    """Return an estimate with a normal interval, from the standard deviation of its bootstrap
    draws.

    A resampled mean is noisier than the mean, so cosines of resampled means are closer to zero than
    the cosine of the means, and effective ranks are higher. Percentiles of the draws could then
    exclude the estimate; their standard deviation has no such shift. The interval does not correct
    the bias of the estimate itself, which is small when there are many prompts.

    Args:
        value: the estimate.
        draws: the estimate of each bootstrap draw.
        n: the number of prompts, or of pairs of prompts, that were drawn from.
        within: the range of the estimate; the interval is cut to it.
        level: confidence level, in (0, 1).

    Example:
        >>> str(normal_interval(0.5, torch.tensor([0.4, 0.6]), 10))
        '0.500 [0.223, 0.777]'
    """
    reach = float(norm.ppf((1 + level) / 2) * draws.double().std())
    low, high = max(value - reach, within[0]), min(value + reach, within[1])
    # Rounding may put an estimate slightly outside its range.
    return Interval(
        value, min(low, value), max(high, value), n, f"bootstrap normal {100 * level:g}%"
    )
