"""Fit affine maps that carry activations without a property onto activations with it.

A steering vector adds the same shift to every activation. It moves the mean of the prompts without
the property to the mean of the prompts with it, and leaves the spread about the mean as it was. But
a property may also change the spread: along some axes activations with the property may vary more,
along others less. An affine map can move both mean and spread. Optimal transport chooses, of all
maps that do so, the map that moves activations the least::

    T(x) = m + A (x - m') = x + (m - m') + (A - I) (x - m')

``m'`` and ``m`` are the means of the prompts without and with the property: the second term is the
steering vector, and the third term changes the spread. With ``S'`` and ``S`` the covariances of the
two sides, each shrunk by :func:`interp_steer.statistics.covariance.oas`, the kinds of map are

=============== ====================================================================================
``mean``        ``A = I``: the difference in means is added
``coordinates`` ``A = diag(s / s')``, the ratios of the standard deviations: optimal transport of
                each coordinate separately. Linear-AcT (Rodriguez et al. 2024, arXiv:2410.23054)
                fits a line to sorted activations. For Gaussian activations that is the same line;
                otherwise its slope is smaller, by the correlation of the sorted values
``gaussian``    ``A = S'^-1/2 (S'^1/2 S S'^1/2)^1/2 S'^-1/2``: optimal transport between Gaussians
                (Olkin and Pukelsheim 1982), after which mean and covariance are the target's
=============== ====================================================================================

``transport(c)`` moves an activation by the share ``c`` of the way, ``x + c (T(x) - x)``: 0 changes
nothing, 1 is the map, and the part of the means is ``shift(c)`` of the difference in means. It is
an operation like the others: it composes, has positions and a schedule, can differ between the rows
of a batch, and is recorded on every completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import SupportsFloat

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.capture.contrast_moments import ContrastMoments, capture_contrast
from interp_steer.capture.options import CaptureOptions
from interp_steer.contrast.contrast_set import ContrastSet, take_split
from interp_steer.errors import InterventionError, VectorError
from interp_steer.interventions.affine import Linear
from interp_steer.interventions.intervention import Direction, Intervention
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.schedules import AnySchedule, fixed
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.models.sites import Site
from interp_steer.statistics.covariance import oas, power
from interp_steer.storage.tensors import read_tensors, report_as, write_tensors
from interp_steer.vectors.card import Card, read_layers
from interp_steer.vectors.fitting import estimate
from interp_steer.vectors.steering_vector import SteeringVector


@dataclass(frozen=True, eq=False)
class TransportMap(Direction):
    """A map of one layer: a direction, which is the mean shift, and a linear part.

    Args:
        matrix: ``A - I``; a vector where the matrix is diagonal.
        origin: ``m'``, the mean without the property.

    Raises:
        InterventionError: as :class:`~interp_steer.interventions.intervention.Direction`, and for a
            map at ``z``, or a matrix or origin of another width.
    """

    matrix: Float[Tensor, " width *width"]
    origin: Float[Tensor, " width"]

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = tuple(map(tuple, (self.vector.shape, self.matrix.shape, self.origin.shape)))
        d = self.d_model
        if shapes not in (((d,), (d,), (d,)), ((d,), (d, d), (d,))):
            raise InterventionError(
                f"map {self.name} has shift, matrix and origin of shapes {shapes}; at a component "
                f"of the residual stream's width they are ({d},), ({d}, {d}) or ({d},), and ({d},)"
            )

    @cached_property
    def linear(self) -> Linear:  # type: ignore[override]
        """Return the linear part, which acts on deviations from the mean without the property."""
        return Linear(self.matrix, self.origin)

    def __call__(self, rows: Float[Tensor, "*row width"]) -> Float64[Tensor, "*row width"]:
        """Compute ``T(x)`` of activations, in float64."""
        away = rows.double() - self.origin.double()
        matrix = self.matrix.double()
        moved = away * matrix if matrix.ndim == 1 else einsum(away, matrix, "... b, a b -> ... a")
        return rows.double() + self.vector.double() + moved

    def transport(
        self,
        coefficient: SupportsFloat = 1.0,
        positions: str = "all",
        schedule: AnySchedule = fixed,
    ) -> Intervention:
        """Return the intervention ``x <- x + coefficient (T(x) - x)``.

        Args:
            coefficient: the share of the way; beyond 1 the activation moves beyond the map.
            positions: see :func:`interp_steer.interventions.positions.span`.
            schedule: a factor on the coefficient at each step.

        Raises:
            InterventionError: when the coefficient is not a finite number or positions are unknown.
        """
        return self.apply(Operation.TRANSPORT, coefficient, positions, schedule)


@dataclass(frozen=True, eq=False)
class TransportMaps:
    """A map for each layer, with its card; made by :func:`fit_transport`.

    Raises:
        VectorError: for a vector at ``z`` or without a baseline, or matrices of another shape.

    Example:
        >>> maps = ist.fit_transport(model, pairs, "coordinates", layers=[5])
        >>> answers = ist.generate(model, prompts, maps.at(5).transport(0.8), max_new_tokens=4)
    """

    vector: SteeringVector
    """The difference in means at each layer, and the mean without the property."""
    matrices: Float[Tensor, "layer width *width"]
    """``A - I`` at each layer; a vector for each layer where the matrices are diagonal."""

    def __post_init__(self) -> None:
        d, layers = self.vector.card.d_model, len(self.vector.layers)
        known = self.vector.baseline is not None and self.vector.card.component != "z"
        if not known or tuple(self.matrices.shape) not in ((layers, d), (layers, d, d)):
            raise VectorError(
                f"{self.vector} at {self.vector.card.component} with matrices of shape "
                f"{tuple(self.matrices.shape)} does not make maps; give a vector of the residual "
                f"stream's width with its baseline, and matrices of shape ({layers}, {d}) or "
                f"({layers}, {d}, {d})"
            )
        if not self.matrices.isfinite().all():
            raise VectorError(
                f"the maps {self.name} have matrices with nan or inf; look for overflow in the "
                "activations, and fit the maps again"
            )

    @property
    def name(self) -> str:
        """Return the name of the maps in canonical lines."""
        return self.vector.name

    @property
    def card(self) -> Card:
        """Return the card of the maps."""
        return self.vector.card

    @property
    def layers(self) -> tuple[int, ...]:
        """Return the layers that the maps were read at, rising."""
        return self.vector.layers

    def at(self, layer: int) -> TransportMap:
        """Return the map of a layer, to be applied there.

        Raises:
            VectorError: for a layer without a map, or at which the means do not differ.
        """
        site = Site(self.card.component, layer)
        return self.direction(site, site)

    def direction(self, source: Site, site: Site) -> TransportMap:
        """Return the map read at ``source``, to be applied at ``site``.

        Raises:
            VectorError: for a ``source`` without a map, or at which the means do not differ.
            SiteError: when the model does not have ``site``.
        """
        shift = self.vector.direction(source, site)
        row = self.vector.sites.index(source)
        assert self.vector.baseline is not None  # or there would be no maps
        return TransportMap(
            **{entry.name: getattr(shift, entry.name) for entry in fields(shift)},
            matrix=self.matrices[row],
            origin=self.vector.baseline[row],
        )

    def check(self, model: HookedLM) -> TransportMaps:
        """Return these maps when they were fitted on exactly this model.

        Raises:
            VectorError: when the model has other sizes or other weights.
        """
        self.vector.check(model)
        return self

    def like_random(self, seed: int) -> TransportMaps:
        """Return a random control: a shift of the same length, and a linear part with the same
        eigenvalues along random axes.

        A diagonal linear part stays diagonal: its entries are permuted.

        Args:
            seed: of the draw.
        """
        generator = torch.Generator().manual_seed(seed)
        n, d = self.matrices.shape[:2]
        if self.matrices.ndim == 2:
            order = torch.stack([torch.randperm(d, generator=generator) for _ in range(n)])
            turned = self.matrices.gather(1, order)
        else:
            drawn = torch.randn(n, d, d, generator=generator, dtype=torch.float64)
            axes = torch.linalg.qr(drawn).Q.to(self.matrices)
            turned = einsum(axes, self.matrices, axes, "l a i, l i j, l b j -> l a b")
        return TransportMaps(self.vector.like_random(seed), turned)

    def save(self, path: str | Path) -> None:
        """Write the maps as safetensors, in full or not at all.

        Raises:
            VectorError: when the file cannot be written.
        """
        vector = self.vector
        assert vector.baseline is not None  # or there would be no maps
        tensors = {"shifts": vector.directions, "baseline": vector.baseline}
        if vector.targets is not None:
            tensors["targets"] = vector.targets
        header = {"card": vector.card.to_flat(), "layers": vector.layers}
        write_tensors(
            path, "TransportMaps", tensors | {"matrices": self.matrices}, header, VectorError
        )

    @classmethod
    def load(cls, path: str | Path) -> TransportMaps:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            VectorError: when the file is missing or damaged, or does not hold maps.
        """
        needed = ("shifts", "baseline", "matrices", "layers", "card")
        tensors, header = read_tensors(path, "TransportMaps", VectorError, needed)
        with report_as(path, VectorError):
            vector = SteeringVector(
                directions=tensors["shifts"],
                targets=tensors.get("targets"),
                layers=read_layers(header["layers"]),
                card=Card.read(header["card"]),
                baseline=tensors["baseline"],
            )
            return cls(vector, tensors["matrices"])


def gaussian_map(
    absent: Float64[Tensor, "d d"], present: Float64[Tensor, "d d"]
) -> Float64[Tensor, "d d"]:
    """Compute ``A`` of optimal transport between Gaussians of two covariances: ``A S' A = S``.

    Args:
        absent: ``S'``, which must be positive definite.
        present: ``S``.
    """
    root, inverse = power(absent, 0.5), power(absent, -0.5)
    middle = einsum(root, present, root, "a b, b c, c d -> a d")
    linear = einsum(inverse, power((middle + middle.T) / 2, 0.5), inverse, "a b, b c, c d -> a d")
    return (linear + linear.T) / 2


def _mean(absent: Float64[Tensor, "d d"], present: Float64[Tensor, "d d"]) -> Float64[Tensor, " d"]:
    return torch.ones_like(absent[0])


def _coordinates(
    absent: Float64[Tensor, "d d"], present: Float64[Tensor, "d d"]
) -> Float64[Tensor, " d"]:
    return (present.diagonal() / absent.diagonal()).sqrt()


KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "coordinates": _coordinates,
    "gaussian": gaussian_map,
}
"""Computes ``A`` of each kind of map from the covariances without and with the property."""


def transport_of(
    sides: ContrastMoments, kind: str, *, name: str, data_hash: str, model: HookedLM
) -> TransportMaps:
    """Compute the maps between two sides. One capture serves every kind, and every estimator.

    Args:
        sides: captured with second moments, at one component of the residual stream's width.
        kind: ``"mean"``, ``"coordinates"`` or ``"gaussian"``.
        name: the property that the maps stand for; canonical lines name maps by kind and property.
        data_hash: the hash of the pairs that were captured.
        model: the model that was captured.

    Raises:
        VectorError: for an unknown kind, sides at ``z``, or sides that do not make a vector.
        CaptureError: for sides without second moments.
    """
    if kind not in KINDS:
        raise VectorError(f"map {kind!r} is unknown; use {', '.join(map(repr, KINDS))}")
    shift = estimate(
        sides, "difference_in_means", name=f"{kind}({name})", data_hash=data_hash, model=model
    )
    if shift.card.component == "z":
        raise VectorError("covariances at z are taken head by head; fit maps at another component")
    changes = []
    for site in sides.sites:
        shrunk = [
            oas(side.covariance(site)[0], int(side.count[0]) - 1)
            for side in (sides.absent, sides.present)
        ]
        linear = KINDS[kind](*shrunk)
        changes.append(linear - (1.0 if linear.ndim == 1 else torch.eye(len(linear)).to(linear)))
    vector = replace(shift, card=replace(shift.card, estimator=f"{kind} transport"))
    return TransportMaps(vector, torch.stack(changes).float())


def fit_transport(
    model: HookedLM,
    pairs: ContrastSet,
    kind: str = "gaussian",
    *,
    component: str = "resid_post",
    layers: Sequence[int] | None = None,
    position: str | int = "last",
    max_new_tokens: int = 64,
    batch_size: int = 32,
) -> TransportMaps:
    """Fit a map from prompts without a property to prompts with it, every layer in one pass.

    A covariance of ``d`` dimensions needs many more than ``d`` prompts. With fewer prompts, the map
    is determined mostly by the matrix that the covariance is shrunk to.

    Args:
        model: the model whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        kind: ``"mean"``, ``"coordinates"`` or ``"gaussian"``.
        component: a component of the residual stream's width.
        layers: the layers to read; all when not given. Each layer holds ``d x d`` numbers.
        position: see :func:`interp_steer.fit`.
        max_new_tokens: see :func:`interp_steer.fit`.
        batch_size: the most prompts in a batch.

    Raises:
        VectorError: for an unknown kind, or component ``z``.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.
    """
    if kind not in KINDS:
        raise VectorError(f"map {kind!r} is unknown; use {', '.join(map(repr, KINDS))}")
    check_model(model)
    pairs = take_split(pairs, "fit")
    sides = capture_contrast(
        model,
        pairs,
        model.sites(component, layers),
        position,
        second_moments=True,
        max_new_tokens=max_new_tokens,
        options=CaptureOptions(batch_size=batch_size),
    )
    return transport_of(sides, kind, name=pairs.name, data_hash=pairs.hash, model=model)
