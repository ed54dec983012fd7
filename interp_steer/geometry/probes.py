"""Is a property linear? Readings of activations, along a line and not, that are compared held out.

Every reading gives an activation a number, the larger the likelier it has the property. Along a
direction ``u`` (:mod:`interp_steer.vectors.estimators`) it is ``<x, u>``. Of Gaussians with the moments of
both sides it is the log of the ratio of their densities, which is linear where their covariances
are one, and quadratic otherwise. Of a probe it is the log of the odds that a classifier gives:

============ =======================================================================================
``logistic`` logistic regression
``sparse``   logistic regression under an L1 penalty, which leaves few coordinates
``mlp``      a layer of ReLU between: what it reads beyond the others lies along no line
============ =======================================================================================

Probes are scikit-learn's, trained on activations whose coordinates are scaled to mean 0 and
deviation 1. Of several penalties that one is kept under which held-out activations are likeliest.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from interp_steer.capture.contrast_moments import ContrastMoments
from interp_steer.errors import VectorError
from interp_steer.models.sites import Site
from interp_steer.statistics.covariance import oas
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.resampling import draw_weights
from interp_steer.statistics.separation import measure_separation

Kind: TypeAlias = Literal["logistic", "sparse", "mlp"]

Both: TypeAlias = tuple[Float[Tensor, "_ d"], Float[Tensor, "_ d"]]
"""A row for each prompt with the property, and for each without it."""

HIDDEN = 32
"""Units of the layer of ``mlp``."""

PENALTIES: dict[Kind, tuple[float, ...]] = {
    "logistic": (1.0, 10.0, 100.0, 1000.0),
    "sparse": (1.0, 3.0, 10.0, 30.0),
    "mlp": (1.0, 10.0, 100.0),
}
"""Those that are tried: what half the sum of the squared weights counts (of ``sparse``, the sum of
their absolute values), beside the sum of the prompts' losses in nats."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A classifier that was trained on activations.

    Its log-odds are ``b2 + w2 relu(W1 z + b1)`` of the scaled activation ``z = (x - mean) / scale``
    for ``mlp``, and ``b1 + W1 z`` for the others.
    """

    kind: Kind
    penalty: float
    """The one that was kept; see :data:`PENALTIES`."""
    mean: Float64[Tensor, " d"]
    scale: Float64[Tensor, " d"]
    weights: tuple[Float64[Tensor, "_ _"], ...]
    """Of each layer, units by inputs, the first before the last."""
    biases: tuple[Float64[Tensor, " _"], ...]

    def __call__(self, rows: Float[Tensor, "row d"]) -> Float64[Tensor, " row"]:
        """The log-odds that each activation has the property."""
        inner = (rows.double() - self.mean) / self.scale
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inner = einsum(inner, weight, "row d, unit d -> row unit") + bias
            if at < len(self.weights) - 1:
                inner = inner.relu()
        return inner[:, 0]

    def direction(self, rows: Float[Tensor, "row d"]) -> Float64[Tensor, " d"]:
        """The gradient of the log-odds, in the mean over activations; of a linear probe the same at
        all of them."""
        with torch.inference_mode(False), torch.enable_grad():
            exact = rows.detach().clone().double().requires_grad_()
            (gradient,) = torch.autograd.grad(self(exact).sum(), exact)
        return gradient.mean(dim=0)

    @property
    def coordinates(self) -> int:
        """How many coordinates of an activation it reads."""
        return int((self.weights[0] != 0).any(dim=0).sum())


def train(kind: Kind, fit: Both, select: Both, *, seed: int = 0) -> Probe:
    """Train a probe, and choose its penalty.

    Args:
        kind: see above.
        fit: activations that it is trained on.
        select: others that the penalty is chosen on, by the mean log-loss.
        seed: of the weights that ``mlp`` begins with.

    Raises:
        VectorError: for a side without rows, or without scikit-learn.

    Example:
        >>> probe = train("mlp", (present, absent), held_out)         # doctest: +SKIP
        >>> separation(probe(present), probe(absent))                 # doctest: +SKIP
    """
    return min(
        (trained(kind, fit, penalty, seed=seed) for penalty in PENALTIES[kind]),
        key=lambda probe: log_loss(probe, select),
    )


def trained(kind: Kind, fit: Both, penalty: float, *, seed: int = 0) -> Probe:
    """A probe of one penalty; see :func:`train`."""
    present, absent = (side.detach().double().cpu() for side in fit)
    if not len(present) or not len(absent):
        raise VectorError(
            f"{len(present)} activations with the property and {len(absent)} without teach no "
            "probe; give some of either side"
        )
    rows = torch.cat([present, absent])
    labels = np.repeat([1, 0], [len(present), len(absent)])
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0)
    scale = torch.where(deviation == 0, 1.0, deviation)
    classifier = _classifier(kind, penalty, seed)
    with warnings.catch_warnings():
        # One that is stopped before it has converged is a probe like others, and chosen as such.
        warnings.filterwarnings("ignore", "lbfgs failed to converge")
        found = classifier.fit(((rows - mean) / scale).numpy(), labels)
    if kind == "mlp":
        weights, biases = [each.T for each in found.coefs_], found.intercepts_
    else:
        weights, biases = [found.coef_], [found.intercept_]
    return Probe(
        kind,
        penalty,
        mean,
        scale,
        *(tuple(torch.tensor(each).double() for each in side) for side in (weights, biases)),
    )


def _classifier(kind: Kind, penalty: float, seed: int) -> Any:
    """scikit-learn's, before it is fitted.

    Raises:
        VectorError: without scikit-learn.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
    except ImportError:
        raise VectorError(
            "a probe needs scikit-learn, which is not installed; "
            "pip install 'interp_steer[geometry]'"
        ) from None
    if kind == "mlp":
        return MLPClassifier(
            (HIDDEN,), alpha=penalty, solver="lbfgs", max_iter=200, random_state=seed
        )
    sparse: dict[str, Any] = {}
    if kind == "sparse":
        # Since scikit-learn 1.8 the ratio alone says what the penalty is.
        penalty_given = inspect.signature(LogisticRegression).parameters.get("penalty")
        by_name = penalty_given is not None and penalty_given.default == "l2"
        sparse = {"penalty": "l1"} if by_name else {"l1_ratio": 1.0}
        sparse |= {"solver": "liblinear", "random_state": seed}
    return LogisticRegression(C=1 / penalty, max_iter=1000, **sparse)


def log_loss(probe: Probe, rows: Both) -> float:
    """The mean negative log-likelihood of both sides, in nats a prompt."""
    present, absent = (probe(side) for side in rows)
    losses = torch.cat([-present, absent])
    return float(torch.nn.functional.softplus(losses).mean())


def density_ratio(
    sides: ContrastMoments, site: Site, *, diagonal: bool = False
) -> Callable[[Float[Tensor, "row d"]], Float64[Tensor, " row"]]:
    """The log of the ratio of the densities of Gaussians with the moments of both sides.

    Quadratic discriminant analysis: the reading of the same means and covariances, shrunk alike,
    that :mod:`interp_steer.vectors.transport` moves by.

    Args:
        sides: captured with second moments.
        site: one of theirs, of the residual stream's width.
        diagonal: whether coordinates are taken as independent, as ``coordinates`` does.

    Raises:
        CaptureError: without second moments.
    """

    def density(side: Any) -> Any:
        covariance = oas(side.covariance(site)[0], int(side.count[0]) - 1)
        mean = side.mean[site][0]
        if diagonal:
            return Independent(Normal(mean, covariance.diagonal().sqrt()), 1)
        return MultivariateNormal(mean, covariance)

    present, absent = density(sides.present), density(sides.absent)
    return lambda rows: present.log_prob(rows.double()) - absent.log_prob(rows.double())


def auroc_gain(
    first: tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]],
    second: tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]],
    *,
    draws: int = 500,
    seed: int = 0,
) -> Interval:
    """By how much a second reading tells two sides apart better than a first: ``AUROC2 - AUROC1``.

    The interval is of the method of variance estimates recovery (Zou and Donner 2008): Newcombe's
    of either AUROC (see :func:`interp_steer.statistics.separation.measure_separation`), put together with their
    correlation, which a bootstrap of the pairs gives. A bootstrap of the difference would be sure
    of it where both tell all prompts apart; this is not.

    Args:
        first: the numbers of the prompts with the property, and of those without, pair by pair.
        second: the same of the other reading.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        The difference, above 0 where the second is better.

    Raises:
        CaptureError: as :func:`~interp_steer.statistics.separation.measure_separation`.
    """
    one, other = (measure_separation(*sides) for sides in (first, second))
    n = one.n
    times = draw_weights(n, draws, seed) * n
    drawn = [_resampled(*sides, times) for sides in (first, second)]
    together = float(torch.corrcoef(torch.stack(drawn))[0, 1])
    correlation = max(together, 0.0) if math.isfinite(together) else 0.0
    down, up = (
        math.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0.0))
        for a, b in (
            (float(other.auroc - other.low), float(one.high - one.auroc)),
            (float(other.high - other.auroc), float(one.auroc - one.low)),
        )
    )
    value = float(other.auroc - one.auroc)
    return Interval(value, max(value - down, -1.0), min(value + up, 1.0), n, "newcombe paired 95%")


def _resampled(
    present: Float[Tensor, " pair"],
    absent: Float[Tensor, " pair"],
    times: Float64[Tensor, "draw pair"],
) -> Float64[Tensor, " draw"]:
    """The AUROC of resampled pairs."""
    above = (present[:, None] > absent).double() + 0.5 * (present[:, None] == absent).double()
    return einsum(times, above, times, "draw p, p a, draw a -> draw") / len(present) ** 2
