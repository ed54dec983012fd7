"""Hold a direction for each layer with its card: check, combine and store steering vectors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer import notebook
from interp_steer.errors import VectorError
from interp_steer.interventions.intervention import Direction, Intervention, compose
from interp_steer.interventions.schedules import AnySchedule, fixed
from interp_steer.models.basis import check_basis
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.storage.tensors import read_tensors, report_as, write_tensors
from interp_steer.vectors.algebra import (
    compute_norms,
    expand_layers,
    inner_product,
    unit_directions,
)
from interp_steer.vectors.card import Card, list_layers, parenthesise, read_layers
from interp_steer.vectors.hub import Published

LARGEST = 2**31
"""The most bytes that are read from a file of one vector."""


@dataclass(frozen=True, eq=False)
class SteeringVector(Published):
    """A direction for each layer, not normalised, with its target projection and its card.

    With ``h`` the activations of prompts with the property and ``h'`` of prompts without it (paper
    A, section 2)::

        v_l = mean h_l - mean h'_l          directions
        u_l = v_l / |v_l|                   unit
        z_l = mean <h_l, u_l>               targets

    Steering vectors form a vector space: ``a + b``, ``a - b``, ``2 * a``, ``a / 2``, ``-a``. A sum
    has no targets, because prompts with both properties were not measured. Scaling keeps the
    targets, and ``-a`` equals the vector of the two sides exchanged.

    Raises:
        VectorError: when a tensor is not finite or the shapes do not agree.

    Example:
        >>> vector = ist.fit(model, pairs.fit)
        >>> steer = vector.at(5).project() + vector.at(3).add(4.0)
    """

    directions: Float[Tensor, " layer *shape"]
    """The directions, in float32; at ``z`` the shape is ``(n_heads, d_head)``."""
    targets: Float[Tensor, " layer"] | None
    """The mean projection on ``unit`` of the prompts with the property; None when not measured."""
    layers: tuple[int, ...]
    """The layer at which each direction was read, rising."""
    card: Card
    baseline: Float[Tensor, " layer *shape"] | None = None
    """The mean activation of the prompts without the property; None when not measured."""

    steered: ClassVar[str] = "vector.at({layer}).shift(1.0)"

    def __post_init__(self) -> None:
        shape = tuple(self.directions.shape[1:])
        rows = len(self.directions)
        if not rows or rows != len(self.layers) or list(self.layers) != sorted(set(self.layers)):
            raise VectorError(
                f"{self} has directions of shape {(rows, *shape)} for the layers {self.layers}; "
                "give one direction for each layer, the layers rising"
            )
        for layer in self.layers:
            Site(self.card.component, layer).check(self.card.n_layers)
        if len(shape) != 2 if self.card.component == "z" else shape != (self.card.d_model,):
            fitting = "n_heads, d_head" if self.card.component == "z" else self.card.d_model
            raise VectorError(
                f"{self} has directions of shape {(rows, *shape)}; at {self.card.component} they "
                f"must have the shape (layer, {fitting})"
            )
        for name, expected in (
            ("directions", (rows, *shape)),
            ("targets", (rows,)),
            ("baseline", (rows, *shape)),
        ):
            tensor = getattr(self, name)
            if tensor is None:
                continue
            if tuple(tensor.shape) != expected:
                raise VectorError(
                    f"{self} has {name} of shape {tuple(tensor.shape)} and directions of shape "
                    f"{(rows, *shape)}; the shape of {name} must be {expected}"
                )
            finite = tensor.reshape(rows, -1).isfinite().all(dim=-1).tolist()
            bad = [layer for layer, good in zip(self.layers, finite, strict=True) if not good]
            if bad:
                raise VectorError(
                    f"{self} has {name} with nan or inf at layers {bad}; look for overflow in the "
                    "activations, and load the model in bfloat16 or float32 rather than float16"
                )
        object.__setattr__(self, "card", replace(self.card, layers=self.layers))

    def __str__(self) -> str:
        return f"SteeringVector for {self.card.identity}"

    def _repr_html_(self) -> str:
        targets = None if self.targets is None else self.targets.tolist()
        facts, norms = self.card.facts(), self.norms.tolist()
        return notebook.render_vector(self.name, facts, self.layers, norms, targets)

    @property
    def name(self) -> str:
        """Return the name of the property; canonical lines use it."""
        return self.card.name

    @property
    def sites(self) -> tuple[Site, ...]:
        """Return the site at which each direction was read."""
        return tuple(Site(self.card.component, layer) for layer in self.layers)

    @property
    def norms(self) -> Float[Tensor, " layer"]:
        """Return ``|v_l|``, at ``z`` over all heads together.

        For a difference in means it is the distance of the means of the two sides.
        """
        return compute_norms(self.directions).float()

    @property
    def unit(self) -> Float[Tensor, " layer *shape"]:
        """Return ``u_l = v_l / |v_l|``, at ``z`` over all heads together.

        Raises:
            VectorError: with the layers at which the direction is zero.
        """
        zero = [layer for layer, norm in zip(self.layers, self.norms, strict=True) if norm == 0]
        if zero:
            raise VectorError(f"{self}, {self.name!r}, {_ZERO.format(layers=zero)}")
        return unit_directions(self.directions).float()

    def at(self, layer: int, apply_layer: int | None = None) -> Direction:
        """Return the direction read at a layer, to be applied there or at another layer.

        Args:
            layer: the layer at which the direction was read.
            apply_layer: the layer at which it is applied; the same layer when not given.

        Raises:
            VectorError: for a layer that the vector does not have, or at which it is zero.
            SiteError: when the model has no layer ``apply_layer``.
        """
        component = self.card.component
        source = Site(component, layer)
        return self.direction(
            source, source if apply_layer is None else Site(component, apply_layer)
        )

    def shift(
        self,
        coefficient: float = 1.0,
        schedule: AnySchedule = fixed,
        positions: str = "generated",
    ) -> Intervention:
        """Add ``coefficient * a_i * v_l`` at every layer at once (paper B, with one shared step).

        Args:
            coefficient: how many times the raw directions are added.
            schedule: the weights ``a_i``.
            positions: see :func:`interp_steer.interventions.positions.span`.

        Raises:
            InterventionError: for a coefficient that is not finite, or unknown positions.
            VectorError: when the vector is zero at a layer.
        """
        return compose(
            self.at(layer).shift(coefficient, positions, schedule) for layer in self.layers
        )

    def direction(self, source: Site, site: Site) -> Direction:
        """Return the direction read at ``source``, to be applied at ``site``.

        Raises:
            VectorError: for a ``source`` that the vector was not read at, or at which it is zero.
            SiteError: when the model does not have ``site``.
        """
        if source not in self.sites:
            raise VectorError(
                f"{self}, {self.name!r}, was read at {self.card.component} of layers "
                f"{list_layers(self.layers)} and has no direction at {source}; use one of "
                "those, or fit one with ist.fit(model, pairs, component=..., layers=...)"
            )
        row = self.sites.index(source)
        if not self.directions[row].any():
            raise VectorError(f"{self}, {self.name!r}, {_ZERO.format(layers=[source.layer])}")
        return Direction(
            vector=self.directions[row],
            target=None if self.targets is None else float(self.targets[row]),
            name=self.name,
            source=source,
            site=site,
            model=self.card.model,
            n_layers=self.card.n_layers,
            d_model=self.card.d_model,
            basis=self.card.basis,
        )

    def check(self, model: HookedLM) -> SteeringVector:
        """Return this vector when it was fitted on exactly this model.

        Raises:
            VectorError: when the model has other sizes or other weights.
            BasisError: when its weights are in another basis.
        """
        fix = "fit one with ist.fit(model, pairs)"
        if self.card.component != "z":  # heads of two models do not correspond
            fix += ", or map it with ist.transfer.map_vector(...)"
        shape = self.sites[0].shape(model.n_heads, model.d_head, model.d_model)
        if (self.card.n_layers, tuple(self.directions.shape[1:])) != (model.n_layers, shape):
            raise VectorError(f"{self} cannot steer {model.describe()}; {fix}")
        check_basis(self.card.basis, f"{self}, {self.name!r},", model.basis, model.describe())
        if self.card.fingerprint != model.fingerprint:
            raise VectorError(
                f"{self} cannot steer {model.describe()}: its weights were "
                f"{self.card.fingerprint}, these are {model.fingerprint}; {fix}"
            )
        return self

    def cosine(self, other: SteeringVector) -> Float[Tensor, " layer"]:
        """Compute ``<u_l, w_l>`` with another vector, layer by layer; the models may differ.

        Raises:
            VectorError: when bases, components, layers or shapes differ, or a direction is zero.
        """
        self._same_layers(other)
        return inner_product(self.unit, other.unit).float()

    def __add__(self, other: SteeringVector) -> SteeringVector:
        """Return the sum, without targets.

        Raises:
            VectorError: for vectors of different models, components, positions or layers.
        """
        return self._sum(other, "+")

    def __sub__(self, other: SteeringVector) -> SteeringVector:
        """Return the difference, without targets; see :meth:`__add__`."""
        return self._sum(other, "-")

    def __mul__(self, factor: float | int) -> SteeringVector:
        """Return the vector scaled, with its targets; a negative factor also exchanges the sides.

        Raises:
            VectorError: when the factor is not finite.
        """
        if isinstance(factor, SteeringVector):
            return NotImplemented
        if not math.isfinite(factor):
            raise VectorError(
                f"{self}, {self.name!r}, cannot be scaled by {factor}; use a finite number"
            )
        if factor < 0:
            return (-self) * -factor
        scaled = replace(
            self,
            directions=self.directions * factor,
            card=replace(self.card, name=f"{factor:g}*{parenthesise(self.name)}"),
        )
        return scaled if factor else replace(scaled, targets=None)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float | int) -> SteeringVector:
        """Return the vector scaled by ``1 / divisor``.

        Raises:
            VectorError: for a divisor of 0.
        """
        if divisor == 0:
            raise VectorError(f"{self}, {self.name!r}, cannot be divided by 0; use another number")
        return self * (1.0 / divisor)

    def __neg__(self) -> SteeringVector:
        """Return the vector from present to absent, as a fit with the sides exchanged would give
        it."""
        targets = baseline = None
        if self.targets is not None and self.baseline is not None:
            unit = unit_directions(self.directions)
            absent = inner_product(self.baseline, unit)
            moved = expand_layers(self.targets.double() - absent, unit) * unit
            targets, baseline = -absent.float(), (self.baseline.double() + moved).float()
        card = replace(self.card, name=f"-{parenthesise(self.name)}")
        return replace(
            self, directions=-self.directions, targets=targets, baseline=baseline, card=card
        )

    def like_random(self, seed: int) -> SteeringVector:
        """Return a random control: uniformly drawn directions, matched as :meth:`matched` says.

        Args:
            seed: of the draw; the same seed, name and layer give the same direction.
        """
        shape = tuple(self.directions.shape[1:])
        drawn = [_draw_gaussian(f"{seed}/{self.name}/{site}", shape) for site in self.sites]
        return self._control(torch.stack(drawn), f"random-{seed}({self.name})", "random")

    def matched(self, other: SteeringVector, name: str | None = None) -> SteeringVector:
        """Return another vector as a control, with the norms and the displacement of this vector.

        Projecting an activation ``h'`` of a prompt without the property moves it by ``z - <h',
        u>``, which is ``z - <b, u>`` in the mean, with ``b`` the baseline. The target along the
        control's unit direction ``r`` is set so that its mean displacement is the same::

            z_r = <b, r> + (z - <b, u>)

        So both the projection and the addition of the control change activations as much as the
        projection and the addition of this vector do. Without targets or a baseline the control has
        no targets.

        Args:
            other: a vector of the same model, component and layers.
            name: the name of the control; ``other.name`` when not given.

        Raises:
            VectorError: when the other vector is of another model, component or other layers, or is
                zero.
        """
        for what in ("basis", "fingerprint", "component"):
            self._same(other, what, getattr(self.card, what), getattr(other.card, what))
        self._same_layers(other)
        return self._control(other.unit, name or other.name, other.card.estimator)

    def _control(
        self, directions: Float[Tensor, " layer *shape"], name: str, estimator: str
    ) -> SteeringVector:
        other = unit_directions(directions)
        targets = None
        if self.targets is not None and self.baseline is not None:
            unit = unit_directions(self.directions)
            moved = self.targets.double() - inner_product(self.baseline, unit)
            targets = (inner_product(self.baseline, other) + moved).float()
        card = replace(self.card, name=name, estimator=estimator, reliability=None)
        scaled = (other * expand_layers(compute_norms(self.directions), other)).float()
        return replace(self, directions=scaled, targets=targets, card=card)

    def save(self, path: str | Path) -> None:
        """Write the vector as safetensors, with its card in the header, in full or not at all.

        Raises:
            VectorError: when the file cannot be written.
        """
        tensors = {
            name: tensor
            for name in ("directions", "targets", "baseline")
            if (tensor := getattr(self, name)) is not None
        }
        header = {"card": self.card.to_flat(), "layers": self.layers}
        write_tensors(path, "SteeringVector", tensors, header, VectorError)

    @classmethod
    def load(cls, path: str | Path) -> SteeringVector:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            VectorError: when the file is missing, truncated or changed, or does not hold a steering
                vector.
        """
        needed = ("directions", "layers", "card")
        tensors, header = read_tensors(path, "SteeringVector", VectorError, needed, largest=LARGEST)
        with report_as(path, VectorError):
            return cls(
                directions=tensors["directions"],
                targets=tensors.get("targets"),
                layers=read_layers(header["layers"]),
                card=Card.read(header["card"]),
                baseline=tensors.get("baseline"),
            )

    def _sum(self, other: SteeringVector, sign: str) -> SteeringVector:
        if not isinstance(other, SteeringVector):
            return NotImplemented
        for what in ("basis", "fingerprint", "component", "position"):
            self._same(other, what, getattr(self.card, what), getattr(other.card, what))
        self._same_layers(other)
        card = self.card.join(other.card, sign)
        directions = torch.add(self.directions, other.directions, alpha=1 if sign == "+" else -1)
        return replace(self, directions=directions, targets=None, baseline=None, card=card)

    def _same_layers(self, other: SteeringVector) -> None:
        for what in ("basis", "component"):
            self._same(other, what, getattr(self.card, what), getattr(other.card, what))
        self._same(other, "layers", self.layers, other.layers)
        self._same(other, "shape", tuple(self.directions.shape), tuple(other.directions.shape))

    def _same(self, other: SteeringVector, what: str, mine: object, theirs: object) -> None:
        if mine != theirs:
            raise VectorError(
                f"{self}, {self.name!r}, has {what} {mine} and {other}, {other.name!r}, has "
                f"{theirs}; combine vectors of the same {what}"
            )


_ZERO = "is zero at layers {layers} and has no direction there; use another layer, or other pairs"


def _draw_gaussian(key: str, shape: Sequence[int]) -> Float[Tensor, "*shape"]:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
