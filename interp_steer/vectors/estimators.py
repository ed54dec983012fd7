"""Estimate the direction of a property from the moments of both sides of a contrast set.

With ``m`` and ``m'`` the means of the prompts with and without the property, ``W`` the covariance
within the sides, pooled and shrunk by :func:`oas`, and ``d_i = h_i - h'_i`` the difference of a
pair, each estimator computes a direction ``w``:

======================= ============================================================================
``difference_in_means`` ``m - m'``
``pca``                 the first axis of ``mean d d^T``: the line through the origin nearest to the
                        differences. Zou et al. (2023) get it by random signs, repeng by its
                        ``pca_center``
``pca_centred``         the first axis of the covariance of ``d``: a PCA that centres the
                        differences first, as scikit-learn's PCA and repeng's ``pca_diff`` do.
                        Centring subtracts the mean difference, which is the shift, so the axis
                        shows where pairs differ from one another, and may be orthogonal to what
                        they share
``lda``                 ``W^-1 (m - m')`` (Fisher 1936): the best linear reading, where both sides
                        are Gaussian with covariance ``W``
``whitened``            ``W^-1/2 (m - m')``: the difference in means of activations whitened by
                        ``W^-1/2``; half-way between the difference in means and LDA
======================= ============================================================================
 A fit returns the part of the mean shift along that line, ``v = <m - m', u> u`` with ``u = w /
|w|``. So ``v`` points towards the property whichever way ``w`` points, and its length is the
distance of the means along ``u``. Adding ``v`` once, or projecting to the target, moves the mean of
the prompts without the property to where the mean of the others lies along ``u``. A short ``v``
says that the means hardly differ along that line. At ``z`` covariances and axes are taken head by
head.
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
"""Maps both sides and a site to a direction whose length is that of the mean shift along it."""


def shift_along(
    shift: Float64[Tensor, "*shape"], direction: Float[Tensor, "*shape"]
) -> Float64[Tensor, "*shape"]:
    """Return the part of a shift along a direction, ``<s, u> u``.

    The sign and the length of the direction do not matter.

    Args:
        shift: ``s``, such as the difference of two means.
        direction: any multiple of ``u``; a zero direction gives a zero part.
    """
    exact = direction.double()
    square = (exact**2).sum()
    return (exact * shift).sum() / torch.where(square == 0, 1.0, square) * exact


def difference_in_means(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Return ``m - m'``."""
    return sides.shift(site)


def pca(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Return the part of the shift along the first axis of the uncentred differences.

    Raises:
        VectorError: for sides without differences of pairs.
    """
    pairs = sides.of_pairs()
    assert pairs.scatter is not None  # differences always have a scatter
    mean = pairs.mean[site][0]
    outer = einsum(mean, mean, "... a, ... b -> ... a b")
    return _project_on_first_axis(pairs.scatter[site][0] / int(pairs.count[0]) + outer, mean)


def pca_centred(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Return the part of the shift along the first axis of the differences less their mean.

    Raises:
        VectorError: for sides without differences of pairs.
        CaptureError: for a single pair.
    """
    pairs = sides.of_pairs()
    return _project_on_first_axis(pairs.covariance(site)[0], pairs.mean[site][0])


def lda(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Return the part of the shift along ``W^-1 (m - m')``.

    Raises:
        CaptureError: for sides without second moments.
    """
    shift, within = sides.shift(site), oas(sides.within(site), sides.degrees)
    return shift_along(shift, torch.linalg.solve(within, shift[..., None])[..., 0])


def whitened(sides: ContrastMoments, site: Site) -> Float64[Tensor, "*shape"]:
    """Return the part of the shift along ``W^-1/2 (m - m')``.

    Raises:
        CaptureError: for sides without second moments.
    """
    shift, within = sides.shift(site), oas(sides.within(site), sides.degrees)
    root = power(within, -0.5)
    return shift_along(shift, einsum(root, shift, "... a b, ... b -> ... a"))


def _project_on_first_axis(
    matrix: Float64[Tensor, "*unit d d"], shift: Float64[Tensor, "*unit d"]
) -> Float64[Tensor, "*unit d"]:
    """Return the part of a shift along the first axis of a matrix; at ``z``, in each head."""
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
"""The estimators by the names that :func:`interp_steer.fit` takes."""

SECOND_MOMENTS = frozenset({"lda", "whitened"})
"""The estimators that need the scatter of each side."""

PAIRED = frozenset({"pca", "pca_centred"})
"""The estimators that need the differences of single pairs."""


def get_estimator(name: str) -> Estimator:
    """Return the estimator of a name.

    Raises:
        VectorError: for an unknown name, with the known names.
    """
    if name not in ESTIMATORS:
        raise VectorError(f"estimator {name!r} is unknown; use {', '.join(map(repr, ESTIMATORS))}")
    return ESTIMATORS[name]
