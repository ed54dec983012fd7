"""Map the residual stream of one model to that of another, to carry vectors across."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.errors import TransferError, VectorError
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.sites import Site
from interp_steer.statistics.intervals import Interval
from interp_steer.storage.tensors import check_types, read_tensors, report_as, write_tensors
from interp_steer.vectors.algebra import inner_product, unit_directions
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.transfer.paired_activations import LayerPairs


@dataclass(frozen=True, eq=False)
class ResidualMap:
    """A map from the residual stream of one model to that of another, for each layer.

    Raises:
        TransferError: for shapes that do not agree, or numbers that are not finite.
        SiteError: for a layer that a model does not have.

    Example:
        >>> requests = [f"Tell me about the {thing}." for thing in ("castle", "fox", "sea", "wind")]
        >>> carry = ist.transfer.fit_map(model, model, requests, layers=[(5, 5)])
        >>> steer = carry(vector).at(5).project()
    """

    kind: str
    """How the map was fitted: one of :data:`interp_steer.vectors.transfer.linear_maps.KINDS`, or
    the maps that it was made from."""
    source: ModelIdentity
    target: ModelIdentity
    component: str
    position: str
    """The position at which the shared texts were read."""
    layers: LayerPairs
    """The mapped layers as (source, target), rising in the target."""
    weights: Float[Tensor, "layer d_source d_target"]
    """``W``, float32."""
    source_mean: Float[Tensor, "layer d_source"]
    target_mean: Float[Tensor, "layer d_target"]
    n: int
    """The number of prompts that the map was fitted on."""
    data_hash: str
    """The hash of the shared texts."""
    quality: tuple[Interval, ...] | None = None
    """:func:`interp_steer.vectors.transfer.fitting.r_squared` of the held-out prompts, for each
    layer; None for a map that was joined or drawn."""
    penalties: tuple[float | None, ...] = ()
    """The penalty chosen at each layer; None for a kind of map without a penalty."""
    ranks: tuple[int | None, ...] = ()
    """The number of canonical variates at each layer; None for a kind without them."""

    def __post_init__(self) -> None:
        layers = len(self.layers)
        for name, expected in (
            ("weights", (layers, self.source.d_model, self.target.d_model)),
            ("source_mean", (layers, self.source.d_model)),
            ("target_mean", (layers, self.target.d_model)),
        ):
            tensor = getattr(self, name)
            if tuple(tensor.shape) != expected:
                raise TransferError(
                    f"{self} has {name} of shape {tuple(tensor.shape)}; for {layers} layers it "
                    f"must be {expected}"
                )
            if not tensor.isfinite().all():
                raise TransferError(
                    f"{self} has {name} that are not finite; look for overflow in the activations, "
                    "and load the models in bfloat16 or float32 rather than float16"
                )
        for here, there in self.layers:
            Site(self.component, here).check(self.source.n_layers)
            Site(self.component, there).check(self.target.n_layers)
        for name in ("quality", "penalties", "ranks"):
            if len(getattr(self, name) or ()) not in (0, layers):
                raise TransferError(
                    f"{self} has {name} of {len(getattr(self, name))} layers; it must be {layers}"
                )

    def __str__(self) -> str:
        return f"Map ({self.kind}) from {self.source} to {self.target}"

    def __call__(self, vector: SteeringVector) -> SteeringVector:
        """Return the vector mapped to the target.

        Directions go through ``W``, the baseline goes through the whole affine map. With the
        baseline ``b``, the unit direction ``u`` and the target projection ``z``, the property lies
        at the point ``b + (z - <b, u>) u`` in the source. The new target projection is that of the
        mapped point.

        Args:
            vector: a vector of the source, at this map's component and at some of its layers.

        Returns:
            A vector at the target's layers; without targets where the vector has no baseline.

        Raises:
            VectorError: for a vector of another model or component, or without any layer of the
                map.
        """
        card = vector.card
        if card.fingerprint != self.source.fingerprint:
            raise VectorError(
                f"{vector}, {vector.name!r}, was read from weights {card.fingerprint}, and {self} "
                f"takes vectors of weights {self.source.fingerprint}; fit a map from its "
                "model"
            )
        if card.component != self.component:
            raise VectorError(
                f"{vector}, {vector.name!r}, was read at {card.component} and {self} maps "
                f"{self.component}; fit a map with component={card.component!r}"
            )
        known = [row for row, (layer, _) in enumerate(self.layers) if layer in vector.layers]
        if not known:
            raise VectorError(
                f"{vector}, {vector.name!r}, has layers {list(vector.layers)} and {self} takes "
                f"layers {sorted({layer for layer, _ in self.layers})}; fit both at the same layers"
            )
        rows = [vector.layers.index(self.layers[row][0]) for row in known]
        directions = _multiply(vector.directions[rows], self.weights[known])
        targets = baseline = None
        if vector.baseline is not None:
            before = vector.baseline[rows].double()
            moved = _multiply(before - self.source_mean[known].double(), self.weights[known])
            after = moved + self.target_mean[known].double()
            baseline = after.float()
            if vector.targets is not None:
                unit = unit_directions(vector.directions[rows])
                reach = vector.targets[rows].double() - inner_product(before, unit)
                point = after + reach[:, None] * _multiply(unit, self.weights[known])
                targets = inner_product(point, unit_directions(directions)).float()
        return SteeringVector(
            directions=directions.float(),
            targets=targets,
            layers=tuple(self.layers[row][1] for row in known),
            card=replace(
                card,
                identity=self.target,
                estimator=f"{card.estimator} of {card.model} via {self.kind}",
                reliability=None,  # of the vector in the source
            ),
            baseline=baseline,
        )

    def activations(
        self, rows: Float[Tensor, "*row d_source"], layer: int
    ) -> Float64[Tensor, "*row d_target"]:
        """Map activations of the source to the target.

        Args:
            rows: activations at the layer of the source that is paired with ``layer``.
            layer: a layer of the target.

        Raises:
            TransferError: for a layer that the map does not have.
        """
        at = self._row(layer)
        moved = einsum(
            rows.double() - self.source_mean[at].double(),
            self.weights[at].double(),
            "... s, s t -> ... t",
        )
        return moved + self.target_mean[at].double()

    def then(self, other: ResidualMap) -> ResidualMap:
        """Return the composition of this map and another, ``other(self(vector))``, as one map.

        Args:
            other: a map from this map's target to a third model. Its layers are kept where this map
                has the layer of the middle model.

        Raises:
            TransferError: for a map that does not begin where this map ends, or shares no layer
                with it.
        """
        for what, mine, theirs in (
            ("model", self.target.fingerprint, other.source.fingerprint),
            ("component", self.component, other.component),
        ):
            if mine != theirs:
                raise TransferError(
                    f"{self} ends at {what} {mine} and {other} begins at {theirs}; join maps whose "
                    f"{what} is the same"
                )
        ends = {there: row for row, (_, there) in enumerate(self.layers)}
        joints = [(ends[middle], row) for row, (middle, _) in enumerate(other.layers)
                  if middle in ends]  # fmt: skip
        if not joints:
            raise TransferError(
                f"{self} ends at layers {sorted(ends)} and {other} begins at layers "
                f"{sorted({middle for middle, _ in other.layers})}; join maps that share a layer"
            )
        mine, theirs = (list(rows) for rows in zip(*joints, strict=True))
        first, second = self.weights[mine].double(), other.weights[theirs].double()
        step = self.target_mean[mine].double() - other.source_mean[theirs].double()
        return ResidualMap(
            kind=f"{self.kind} via {other.kind}",
            source=self.source,
            target=other.target,
            component=self.component,
            position=self.position,
            layers=tuple((self.layers[a][0], other.layers[b][1]) for a, b in joints),
            weights=einsum(first, second, "layer s m, layer m t -> layer s t").float(),
            source_mean=self.source_mean[mine],
            target_mean=(_multiply(step, second) + other.target_mean[theirs].double()).float(),
            n=min(self.n, other.n),
            data_hash=hashlib.sha256(f"{self.data_hash}{other.data_hash}".encode()).hexdigest(),
        )

    def like_random(self, seed: int) -> ResidualMap:
        """Return a random control: this map between random rotations of source and target, layer by
        layer.

        All singular values stay, and so do the Frobenius norm, the orthogonality of an orthogonal
        map, and the means. The directions that the map reads and reaches are random. For the effect
        of a random vector through the map itself, use ``made(vector.like_random(seed))``; that
        effect need not be small for a map that reaches few directions of the target.

        Args:
            seed: of the rotations; the same seed, kind and layer give the same rotations.
        """
        turned = []
        for (_, there), weights in zip(self.layers, self.weights, strict=True):
            key = f"{seed}/{self.kind}/{there}"
            before = _draw_rotation(f"{key}/source", self.source.d_model)
            after = _draw_rotation(f"{key}/target", self.target.d_model)
            turned.append(einsum(before, weights.double(), after, "s k, k l, l t -> s t"))
        return replace(
            self,
            kind=f"random-{seed}({self.kind})",
            weights=torch.stack(turned).float(),
            quality=None,
        )

    def save(self, path: str | Path) -> None:
        """Write the map as safetensors, in full or not at all.

        Raises:
            TransferError: when the file cannot be written.
        """
        header: dict[str, Any] = {name: getattr(self, name) for name in _HEADER}
        header |= {side: getattr(self, side).to_flat() for side in _SIDES}
        header["quality"] = self.quality and [asdict(interval) for interval in self.quality]
        tensors = {name: getattr(self, name) for name in _TENSORS}
        write_tensors(path, "Map", tensors, header, TransferError)

    @classmethod
    def load(cls, path: str | Path) -> ResidualMap:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            TransferError: when the file is missing, truncated or changed, or does not hold a map.
        """
        needed = (*_TENSORS, *_HEADER)
        tensors, header = read_tensors(path, "Map", TransferError, needed)
        with report_as(path, TransferError):
            fields = check_types(header, _HEADER)
            source, target = (
                ModelIdentity.from_flat(check_types(fields.pop(side), _IDENTITY)) for side in _SIDES
            )
            quality = fields.pop("quality")
            return cls(
                **tensors,
                source=source,
                target=target,
                layers=tuple((here, there) for here, there in fields.pop("layers")),
                penalties=tuple(fields.pop("penalties")),
                ranks=tuple(fields.pop("ranks")),
                quality=quality
                and tuple(Interval(**check_types(entry, _INTERVAL)) for entry in quality),
                **fields,
            )

    def _row(self, layer: int) -> int:
        rows = [row for row, (_, there) in enumerate(self.layers) if there == layer]
        if not rows:
            raise TransferError(
                f"{self} has no layer {layer} of the target; use one of "
                f"{[there for _, there in self.layers]}"
            )
        return rows[0]


_SIDES = ("source", "target")
_TENSORS = ("weights", "source_mean", "target_mean")
_HEADER = {
    **dict.fromkeys(("kind", "component", "position", "data_hash"), str),
    **dict.fromkeys(("layers", "penalties", "ranks"), list),
    **dict.fromkeys(_SIDES, dict),
    "n": int,
    "quality": (list, type(None)),
}
_IDENTITY = {
    **dict.fromkeys(("model", "fingerprint", "basis"), str),
    **dict.fromkeys(("n_layers", "d_model"), int),
    "revision": (str, type(None)),
}
_INTERVAL = {
    **dict.fromkeys(("value", "low", "high"), (int, float)),
    "n": int,
    "method": str,
}


def _multiply(
    rows: Float[Tensor, "layer s"], weights: Float[Tensor, "layer s t"]
) -> Float64[Tensor, "layer t"]:
    return einsum(rows.double(), weights.double(), "layer s, layer s t -> layer t")


def _draw_rotation(key: str, d: int) -> Float64[Tensor, "d d"]:
    """Draw a rotation or reflection uniformly from the orthogonal group (Mezzadri 2007)."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    drawn = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    return q * r.diagonal().sign()
