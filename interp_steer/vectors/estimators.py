"""Which direction a property has: estimators over the moments of both sides of a contrast set.

With ``m`` and ``m'`` the means of the prompts with and without the property, ``W`` the covariance
within the sides, pooled and shrunk by :func:`oas`, and ``d_i = h_i - h'_i`` the difference of a
pair, each estimator has a direction ``w``:

======================= ============================================================================
``difference_in_means`` ``m - m'``
``pca``                 the first axis of ``mean d d^T``: the line through the origin nearest to the
                        differences. Zou et al. (2023) get it by random signs, repeng by its
                        ``pca_center``
``pca_centred``         the first axis of the covariance of ``d``, which is what a PCA of the
                        differences leaves when it centres them, as scikit-learn's does and repeng's
                        ``pca_diff`` with it. Their mean, which is the shift, is what it takes away:
                        it finds where pairs differ from one another, and may be orthogonal to what
                        they share
``lda``                 ``W^-1 (m - m')`` (Fisher 1936): the best linear reading, where both sides
                        are Gaussian with covariance ``W``
``whitened``            ``W^-1/2 (m - m')``: the difference in means of activations whitened by
                        ``W^-1/2``; half-way between the difference in means and LDA
======================= ============================================================================

What a fit leaves is the part of the mean shift along that line, ``v = <m - m', u> u`` with ``u =
w / |w|``. So ``v`` points towards the property whichever way ``w`` pointed, its length is the
distance of the means along it, and one step of it, or a projection to its target, moves the mean of
one side as far along ``u`` as that of the other lies. A short ``v`` says that the means hardly
differ there. At ``z`` covariances, and axes, are taken head by head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.capture.contrast_moments import ContrastMoments
from interp_steer.errors import VectorError
from interp_steer.models.sites import Site
from interp_steer.statistics.covariance import oas, power

Estimator: TypeAlias = Callable[[ContrastMoments, Site], Float64[Tensor, "*shape"]]
"""From both sides to the direction at a site, as long as the mean shift along it."""


def shift_along(
    shift: Float64[Tensor, "*shape"], direction: Float[Tensor, "*shape"]
) -> Float64[Tensor, "*shape"]:
    """The part of a shift along a direction, ``<s, u> u``: its sign and length do not matter.

    Args:
        shift: such as the difference of two means.
        direction: any multiple of ``u``; where it is zero, so is the part.
    """
    exact = direction.double()
    square = (exact**2).sum()
    return (exact * shift).sum() / torch.where(square == 0, 1.0, square) * exact


def difference_in_means(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """``m - m'``."""
    return sides.shift(site)


def pca(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Along the first axis of the differences as they are.

    Raises:
        VectorError: when differences of pairs are not known.
    """
    found = sides.of_pairs()
    assert found.scatter is not None  # differences always have one
    mean = found.mean[site][0]
    outer = einsum(mean, mean, "... a, ... b -> ... a b")
    return _first_axis(found.scatter[site][0] / int(found.count[0]) + outer, mean)


def pca_centred(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Along the first axis of the differences less their mean.

    Raises:
        VectorError: when differences of pairs are not known.
        CaptureError: for a single pair.
    """
    found = sides.of_pairs()
    return _first_axis(found.covariance(site)[0], found.mean[site][0])


def lda(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Along ``W^-1 (m - m')``.

    Raises:
        CaptureError: when second moments are not known.
    """
    shift, within = sides.shift(site), oas(sides.within(site), sides.degrees)
    return shift_along(shift, torch.linalg.solve(within, shift[..., None])[..., 0])


def whitened(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Along ``W^-1/2 (m - m')``.

    Raises:
        CaptureError: when second moments are not known.
    """
    shift, within = sides.shift(site), oas(sides.within(site), sides.degrees)
    root = power(within, -0.5)
    return shift_along(shift, einsum(root, shift, "... a b, ... b -> ... a"))


def _first_axis(
    matrix: Float64[Tensor, "*unit d d"], shift: Float64[Tensor, "*unit d"]
) -> Float64[Tensor, "*unit d"]:
    """The part of a shift along the first axis of a matrix, at ``z`` in each head."""
    axis = torch.linalg.eigh(matrix).eigenvectors[..., -1]
    along = einsum(axis, shift, "... d, ... d -> ...")
    return along[..., None] * axis


ESTIMATORS: dict[str, Estimator] = {
    "difference_in_means": difference_in_means,
    "pca": pca,
    "pca_centred": pca_centred,
    "lda": lda,
    "whitened": whitened,
}
"""By the names that :func:`interp_steer.fit` knows."""

SECOND_MOMENTS = frozenset({"lda", "whitened"})
"""Those that need the scatter of each side."""

PAIRED = frozenset({"pca", "pca_centred"})
"""Those that need the differences of single pairs."""


def estimator(name: str) -> Estimator:
    """The estimator of a name.

    Raises:
        VectorError: for an unknown one, naming those there are.
    """
    if name not in ESTIMATORS:
        raise VectorError(f"estimator {name!r} is unknown; use {', '.join(map(repr, ESTIMATORS))}")
    return ESTIMATORS[name]
