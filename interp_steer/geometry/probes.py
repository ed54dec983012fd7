"""Read a property from activations, linearly and not, to test whether it is linear.

A reading maps an activation to a number that is larger the likelier the activation has the
property; readings are compared on held-out activations. Along a direction ``u``
(:mod:`interp_steer.vectors.estimators`) the reading is ``<x, u>``. For Gaussians with the moments
of both sides it is the log of the ratio of their densities, which is linear for equal covariances
and quadratic otherwise. For a probe it is the log of the odds of a classifier:

============ =======================================================================================
``logistic`` logistic regression
``sparse``   logistic regression with an L1 penalty, which keeps few coordinates
``mlp``      a hidden layer of ReLU units, which can read more than a linear direction
============ =======================================================================================

Probes are scikit-learn's, trained on activations whose coordinates are scaled to mean 0 and
deviation 1. Of several penalties, the one with the highest likelihood of held-out activations is
chosen.
"""

from __future__ import annotations

import inspect
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

Kind: TypeAlias = Literal["logistic", "sparse", "mlp"]

Both: TypeAlias = tuple[Float[Tensor, "_ d"], Float[Tensor, "_ d"]]
"""A row for each prompt with the property, and a row for each prompt without it."""

HIDDEN = 32
"""The units of the hidden layer of ``mlp``."""

PENALTIES: dict[Kind, tuple[float, ...]] = {
    "logistic": (1.0, 10.0, 100.0, 1000.0),
    "sparse": (1.0, 3.0, 10.0, 30.0),
    "mlp": (1.0, 10.0, 100.0),
}
"""The penalties that are tried: the weight of half the sum of the squared weights (for ``sparse``,
of the sum of their absolute values) relative to the sum of the prompts' losses in nats."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A classifier that was trained on activations.

    Its log-odds are ``b2 + w2 relu(W1 z + b1)`` of the scaled activation ``z = (x - mean) / scale``
    for ``mlp``, and ``b1 + W1 z`` for the others.
    """

    kind: Kind
    penalty: float
    """The penalty that was chosen; see :data:`PENALTIES`."""
    mean: Float64[Tensor, " d"]
    scale: Float64[Tensor, " d"]
    weights: tuple[Float64[Tensor, "_ _"], ...]
    """The weights of each layer, units by inputs, from first to last."""
    biases: tuple[Float64[Tensor, " _"], ...]

    def __call__(self, rows: Float[Tensor, "row d"]) -> Float64[Tensor, " row"]:
        """Compute the log-odds that each activation has the property."""
        inner = (rows.double() - self.mean) / self.scale
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inner = einsum(inner, weight, "row d, unit d -> row unit") + bias
            if at < len(self.weights) - 1:
                inner = inner.relu()
        return inner[:, 0]

    def direction(self, rows: Float[Tensor, "row d"]) -> Float64[Tensor, " d"]:
        """Return the gradient of the log-odds, in the mean over activations.

        For a linear probe the gradient is the same at all activations.
        """
        with torch.inference_mode(False), torch.enable_grad():
            exact = rows.detach().clone().double().requires_grad_()
            (gradient,) = torch.autograd.grad(self(exact).sum(), exact)
        return gradient.mean(dim=0)

    @property
    def coordinates(self) -> int:
        """Return the number of coordinates of an activation that the probe reads."""
        return int((self.weights[0] != 0).any(dim=0).sum())


def train_probe(kind: Kind, fit: Both, select: Both, *, seed: int = 0) -> Probe:
    """Train a probe, and choose its penalty.

    Args:
        kind: the kind of probe; see the module.
        fit: the activations to train on.
        select: other activations, on which the penalty is chosen by the mean log-loss.
        seed: of the initial weights of ``mlp``.

    Raises:
        VectorError: for a side without rows, or without scikit-learn.

    Example:
        >>> clouds = torch.randn(20, 3) + 2, torch.randn(20, 3) - 2
        >>> probe = train_probe("logistic", clouds, clouds)
        >>> probe(clouds[0]).shape
        torch.Size([20])
    """
    return min(
        (train_with_penalty(kind, fit, penalty, seed=seed) for penalty in PENALTIES[kind]),
        key=lambda probe: log_loss(probe, select),
    )


def train_with_penalty(kind: Kind, fit: Both, penalty: float, *, seed: int = 0) -> Probe:
    """Train a probe with one penalty; see :func:`train_probe`."""
    present, absent = (side.detach().double().cpu() for side in fit)
    if not len(present) or not len(absent):
        raise VectorError(
            f"{len(present)} activations with the property and {len(absent)} without cannot "
            "train a probe; give some of either side"
        )
    rows = torch.cat([present, absent])
    labels = np.repeat([1, 0], [len(present), len(absent)])
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0)
    scale = torch.where(deviation == 0, 1.0, deviation)
    classifier = _make_classifier(kind, penalty, seed)
    with warnings.catch_warnings():
        # A probe that did not converge is still a probe, and is chosen by the same rule.
        warnings.filterwarnings("ignore", "lbfgs failed to converge")
        classifier.fit(((rows - mean) / scale).numpy(), labels)
    if kind == "mlp":
        weights, biases = [matrix.T for matrix in classifier.coefs_], classifier.intercepts_
    else:
        weights, biases = [classifier.coef_], [classifier.intercept_]
    return Probe(
        kind,
        penalty,
        mean,
        scale,
        *(tuple(torch.tensor(array).double() for array in side) for side in (weights, biases)),
    )


def _make_classifier(kind: Kind, penalty: float, seed: int) -> Any:
    """Make a classifier of scikit-learn, not yet fitted.

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
        # Since scikit-learn 1.8 the penalty is chosen by the ratio alone.
        penalty_given = inspect.signature(LogisticRegression).parameters.get("penalty")
        by_name = penalty_given is not None and penalty_given.default == "l2"
        sparse = {"penalty": "l1"} if by_name else {"l1_ratio": 1.0}
        sparse |= {"solver": "liblinear", "random_state": seed}
    return LogisticRegression(C=1 / penalty, max_iter=1000, **sparse)


def log_loss(probe: Probe, rows: Both) -> float:
    """Compute the mean negative log-likelihood of both sides, in nats a prompt."""
    present, absent = (probe(side) for side in rows)
    losses = torch.cat([-present, absent])
    return float(torch.nn.functional.softplus(losses).mean())


def density_ratio(
    sides: ContrastMoments, site: Site, *, diagonal: bool = False
) -> Callable[[Float[Tensor, "row d"]], Float64[Tensor, " row"]]:
    """Return the log of the ratio of the densities of Gaussians with the moments of both sides.

    This is quadratic discriminant analysis. It uses the same means and shrunk covariances as the
    maps of :mod:`interp_steer.vectors.transport`.

    Args:
        sides: captured with second moments.
        site: one of the sites of the sides, of the residual stream's width.
        diagonal: whether coordinates are taken as independent, as ``coordinates`` does.

    Raises:
        CaptureError: for sides without second moments.
    """

    def density(side: Any) -> Any:
        covariance = oas(side.covariance(site)[0], int(side.count[0]) - 1)
        mean = side.mean[site][0]
        if diagonal:
            return Independent(Normal(mean, covariance.diagonal().sqrt()), 1)
        return MultivariateNormal(mean, covariance)

    present, absent = density(sides.present), density(sides.absent)
    return lambda rows: present.log_prob(rows.double()) - absent.log_prob(rows.double())
