"""What no property at all would give: vectors of pairs whose sides are swapped at random.

Under the null hypothesis the two sides of a pair are interchangeable: swapping them at random,
``d_i -> -d_i``, leaves the distribution of everything as it is. A statistic is then as likely to
have any rank among those of swapped pairs, and ``(1 + k) / (1 + n)`` is an exact p-value for any
number of pairs and swaps (Phipson and Smyth 2010).

A small p-value says that the sides differ in something, be it no more than the length of the
prompt; that the vector stands for the property is for other controls to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.capture.pair_differences import Groups, exact_rows, grouped
from interp_steer.errors import VectorError
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.separation import auroc

TIES = 1e-9
"""Statistics of swapped sides that are equal but for this share of their size are ties."""


@dataclass(frozen=True)
class PermutationTest:
    """A statistic of the pairs beside what it is when their sides are swapped at random."""

    p_value: float
    """``(1 + k) / (1 + n)``, ``k`` of the ``n`` swaps having as large a statistic, or a larger."""
    statistic: float
    chance: Interval
    """Mean over the swaps, and the range that holds 95 % of them."""


def permutation_test(
    rows: Float[Tensor, "pair d"],
    *,
    groups: Groups = None,
    draws: int = 999,
    seed: int = 0,
) -> PermutationTest:
    """Is a vector longer than if the two sides of each pair were interchangeable?

    The statistic is ``|mean d_i|``.

    Args:
        rows: the differences of single pairs, see :func:`interp_steer.capture.pair_differences.differences`.
        groups: what pairs share, such as a query; the pairs of a group are swapped together.
        draws: how many random swaps.
        seed: of the swaps.

    Raises:
        VectorError: for rows that are not finite, groups that do not go with them or are fewer
            than four, or no draws.

    Example:
        >>> permutation_test(torch.ones(20, 3) + 0.1 * torch.randn(20, 3)).p_value
        0.001
    """
    exact, (group, n) = exact_rows(rows), grouped(len(rows), groups)
    signs = _signs(n, draws, np.random.default_rng(seed))[:, group]
    swapped = einsum(signs, exact, "draw pair, pair d -> draw d")
    return _tested(swapped.norm(dim=1) / len(exact), draws)


def separation_test(
    rows: Float[Tensor, "pair d"],
    present: Float[Tensor, "held _"],
    absent: Float[Tensor, "_ _"],
    *,
    groups: Groups = None,
    held_groups: Groups = None,
    draws: int = 999,
    seed: int = 0,
) -> PermutationTest:
    """Does a vector tell the sides of held-out pairs apart, more than one of swapped pairs does?

    The statistic is the area under the ROC curve of held-out prompts' projections on the vector.
    Each draw is the whole experiment with sides swapped at random, those of held-out pairs too: a
    strong shift survives in the direction of swapped pairs, forwards or backwards, and would tell
    held-out sides that were not swapped apart in half of all draws.

    Args:
        rows: the differences of the pairs that the vector is of.
        present: held-out activations with the property, a row each.
        absent: of the same held-out pairs without it.
        groups: see :func:`permutation_test`.
        held_groups: the same of the held-out pairs.
        draws: how many random swaps.
        seed: of the swaps.

    Raises:
        VectorError: for sides of different shapes, or as :func:`permutation_test`.
    """
    if present.shape != absent.shape or present.shape[1:] != rows.shape[1:]:
        raise VectorError(
            f"held-out sides of shapes {tuple(present.shape)} and {tuple(absent.shape)} beside "
            f"pairs of shape {tuple(rows.shape)}; give the same held-out pairs on both sides, at "
            "the site that the pairs were read at"
        )
    (group, n), (held, n_held) = grouped(len(rows), groups), grouped(len(present), held_groups)
    rng = np.random.default_rng(seed)
    signs, kept = _signs(n, draws, rng)[:, group], _signs(n_held, draws, rng)[:, held] > 0
    both = exact_rows(torch.cat([rows, present, absent]))
    fitted, *sides = both.split([len(rows), len(present), len(present)])
    along = []
    for side in sides:
        products = einsum(fitted, side, "pair d, held d -> pair held")
        along.append(einsum(signs, products, "draw pair, pair held -> held draw"))
    as_they_are = rearrange(kept, "draw held -> held draw")
    told = auroc(torch.where(as_they_are, *along), torch.where(as_they_are, *along[::-1]))
    return _tested(told, draws)


def _signs(n: int, draws: int, rng: np.random.Generator) -> Float64[Tensor, "draw group"]:
    """Whether each group is swapped (-1) or not, drawn at random; nothing is in the first row."""
    if draws < 1:
        raise VectorError(f"{draws} swaps make no test; draw at least one")
    drawn = rng.choice([-1.0, 1.0], size=(draws, n))
    return torch.from_numpy(np.concatenate([np.ones((1, n)), drawn]))


def _tested(statistics: Float64[Tensor, " draw"], draws: int) -> PermutationTest:
    """The test of the first number among all of them."""
    own, chance = float(statistics[0]), statistics[1:]
    ties = TIES * float(statistics.abs().max())
    low, high = np.quantile(chance.numpy(), [0.025, 0.975]).tolist()
    return PermutationTest(
        p_value=(1 + int((chance >= own - ties).sum())) / (1 + draws),
        statistic=own,
        chance=Interval(float(chance.mean()), low, high, draws, "permutation 95%"),
    )
