"""Test a vector against vectors of pairs whose sides are swapped at random.

Under the null hypothesis the two sides of a pair are interchangeable: swapping them at random,
``d_i -> -d_i``, does not change the distribution of any statistic. A statistic is then equally
likely to have any rank among the statistics of swapped pairs, and ``(1 + k) / (1 + n)`` is an exact
p-value for any number of pairs and swaps (Phipson and Smyth 2010).

A small p-value says that the sides differ, possibly only in the length of the prompt. It does not
say that the vector stands for the property; other controls test that.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.capture.pair_differences import Groups, exact_rows, number_groups
from interp_steer.errors import VectorError
from interp_steer.statistics.permutation import PermutationTest, rank_first_draw
from interp_steer.statistics.separation import auroc


def permutation_test(
    rows: Float[Tensor, "pair d"],
    *,
    groups: Groups = None,
    draws: int = 999,
    seed: int = 0,
) -> PermutationTest:
    """Test whether a vector is longer than if the two sides of each pair were interchangeable.

    The statistic is ``|mean d_i|``.

    Args:
        rows: the differences of single pairs, see
            :func:`interp_steer.capture.pair_differences.differences`.
        groups: what pairs share, such as a query; the pairs of a group are swapped together.
        draws: the number of random swaps.
        seed: of the swaps.

    Raises:
        VectorError: for rows that are not finite, groups that do not go with them, fewer than four
            groups, or ``draws`` below 1.

    Example:
        >>> permutation_test(torch.ones(20, 3) + 0.1 * torch.randn(20, 3)).p_value
        0.001
    """
    exact, (group, n) = exact_rows(rows), number_groups(len(rows), groups)
    signs = _draw_signs(n, draws, np.random.default_rng(seed))[:, group]
    swapped = einsum(signs, exact, "draw pair, pair d -> draw d")
    return rank_first_draw(swapped.norm(dim=1) / len(exact))


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
    """Test whether a vector separates the sides of held-out pairs better than swapped pairs'
    vectors do.

    The statistic is the area under the ROC curve of held-out prompts' projections on the vector.
    Each draw repeats the whole experiment with sides swapped at random, including the sides of
    held-out pairs. Otherwise a strong shift, which survives forwards or backwards in the direction
    of swapped pairs, would separate held-out sides in half of all draws.

    Args:
        rows: the differences of the pairs that the vector is fitted on.
        present: held-out activations with the property, a row each.
        absent: held-out activations without the property, in the order of the pairs.
        groups: see :func:`permutation_test`.
        held_groups: the groups of the held-out pairs.
        draws: the number of random swaps.
        seed: of the swaps.

    Raises:
        VectorError: for sides of different shapes, or as :func:`permutation_test`.
    """
    if present.shape != absent.shape or present.shape[1:] != rows.shape[1:]:
        raise VectorError(
            f"held-out sides of shapes {tuple(present.shape)} and {tuple(absent.shape)} do not go "
            f"with pairs of shape {tuple(rows.shape)}; give the same held-out pairs on both sides, "
            "at the site that the pairs were read at"
        )
    (group, n), (held, n_held) = (
        number_groups(len(rows), groups),
        number_groups(len(present), held_groups),
    )
    rng = np.random.default_rng(seed)
    signs = _draw_signs(n, draws, rng)[:, group]
    unswapped = _draw_signs(n_held, draws, rng)[:, held] > 0
    both = exact_rows(torch.cat([rows, present, absent]))
    fitted, *sides = both.split([len(rows), len(present), len(present)])
    along = []
    for side in sides:
        products = einsum(fitted, side, "pair d, held d -> pair held")
        along.append(einsum(signs, products, "draw pair, pair held -> held draw"))
    in_place = rearrange(unswapped, "draw held -> held draw")
    areas = auroc(torch.where(in_place, *along), torch.where(in_place, *along[::-1]))
    return rank_first_draw(areas)


def _draw_signs(n: int, draws: int, rng: np.random.Generator) -> Float64[Tensor, "draw group"]:
    """Draw for each group whether it is swapped (-1) or not; the first row swaps nothing."""
    if draws < 1:
        raise VectorError(f"{draws} swaps are too few for a test; draw at least one")
    drawn = rng.choice([-1.0, 1.0], size=(draws, n))
    return torch.from_numpy(np.concatenate([np.ones((1, n)), drawn]))
