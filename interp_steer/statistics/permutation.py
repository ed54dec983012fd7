"""Test a statistic against its values under random permutations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from interp_steer.statistics.intervals import Interval

TIES = 1e-9
"""Two statistics tie if they differ by less than this share of the largest."""


@dataclass(frozen=True)
class PermutationTest:
    """A statistic of the pairs, compared with its values when sides are swapped at random."""

    p_value: float
    """``(1 + k) / (1 + n)``, where ``k`` of the ``n`` swaps have a statistic at least as large."""
    statistic: float
    chance: Interval
    """The mean over the swaps, and the range that holds 95 % of them."""


def rank_first_draw(statistics: Float64[Tensor, " draw"]) -> PermutationTest:
    """Return the test of the first statistic among all of them (Phipson and Smyth 2010).

    Args:
        statistics: the statistic of the data, followed by its values under random permutations.
    """
    own, chance = float(statistics[0]), statistics[1:]
    draws = len(chance)
    ties = TIES * float(statistics.abs().max())
    low, high = np.quantile(chance.numpy(), [0.025, 0.975]).tolist()
    return PermutationTest(
        p_value=(1 + int((chance >= own - ties).sum())) / (1 + draws),
        statistic=own,
        chance=Interval(float(chance.mean()), low, high, draws, "permutation 95%"),
    )
