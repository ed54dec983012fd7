"""From the residual stream of one model to that of another: what takes a vector across."""

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
from interp_steer.models.sites import Site
from interp_steer.statistics.intervals import Interval
from interp_steer.storage.tensors import check_types, read_tensors, report_as, write_tensors
from interp_steer.vectors.algebra import inner_product, unit_directions
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.transfer.paired_activations import LayerPairs, ModelIdentity


@dataclass(frozen=True, eq=False)
class ResidualMap:
    """From the residual stream of one model to that of another, a map for each layer.

    Raises:
        TransferError: for shapes that do not agree, or numbers that are not finite.
        SiteError: for a layer that a model does not have.

    Example:
        >>> to_gemma = ist.transfer.fit_map(llama, gemma, prompts)          # doctest: +SKIP
        >>> ist.generate(gemma, prompts, to_gemma(vector).at(4).project())  # doctest: +SKIP
    """

    kind: str
    """How it was fitted: one of :data:`interp_steer.vectors.transfer.linear_maps.KINDS`, or what it was made of."""
    source: ModelIdentity
    target: ModelIdentity
    component: str
    position: str
    """Where the shared texts were read."""
    layers: LayerPairs
    """As (source, target), rising in the target."""
    weights: Float[Tensor, "layer d_source d_target"]
    """``W``, float32."""
    source_mean: Float[Tensor, "layer d_source"]
    target_mean: Float[Tensor, "layer d_target"]
    n: int
    """Prompts that it was fitted on."""
    data_hash: str
    """Of the shared texts."""
    quality: tuple[Interval, ...] | None = None
    """:func:`interp_steer.vectors.transfer.fitting.r_squared` of the prompts held out, for each layer; None of a
    map that was not fitted but joined or drawn."""
    penalties: tuple[float | None, ...] = ()
    """The penalty chosen at each layer; None where there is none."""
    ranks: tuple[int | None, ...] = ()
    """The number of canonical variates chosen at each layer; None where there are none."""

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
        """The vector as one of the target.

        Directions go through ``W``, the baseline through the whole map. The target projection is
        that of the point which the property is at in the source: with the baseline ``b``, the unit
        direction ``u`` and the target ``z``, the point ``b + (z - <b, u>) u``, mapped.

        Args:
            vector: of the source, at this map's component and at its layers.

        Returns:
            A vector at the target's layers; without targets where the vector has no baseline.

        Raises:
            VectorError: for a vector of another model or component, or one that lacks all layers.
        """
        card = vector.card
        if card.fingerprint != self.source.fingerprint:
            raise VectorError(
                f"{vector}, {vector.name!r}, was read from weights {card.fingerprint}, and {self} "
                f"takes vectors of weights {self.source.fingerprint}; fit a map from its model"
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
                f"layers {sorted({layer for layer, _ in self.layers})}; fit either at the others"
            )
        rows = [vector.layers.index(self.layers[row][0]) for row in known]
        directions = _through(vector.directions[rows], self.weights[known])
        targets = baseline = None
        if vector.baseline is not None:
            before = vector.baseline[rows].double()
            moved = _through(before - self.source_mean[known].double(), self.weights[known])
            after = moved + self.target_mean[known].double()
            baseline = after.float()
            if vector.targets is not None:
                unit = unit_directions(vector.directions[rows])
                reach = vector.targets[rows].double() - inner_product(before, unit)
                point = after + reach[:, None] * _through(unit, self.weights[known])
                targets = inner_product(point, unit_directions(directions)).float()
        return SteeringVector(
            directions=directions.float(),
            targets=targets,
            layers=tuple(self.layers[row][1] for row in known),
            card=replace(
                card,
                model=self.target.model,
                fingerprint=self.target.fingerprint,
                n_layers=self.target.n_layers,
                d_model=self.target.d_model,
                revision=self.target.revision,
                basis=self.target.basis,
                estimator=f"{card.estimator} of {card.model} via {self.kind}",
                reliability=None,  # of the vector in the source
            ),
            baseline=baseline,
        )

    def activations(
        self, rows: Float[Tensor, "*row d_source"], layer: int
    ) -> Float64[Tensor, "*row d_target"]:
        """Activations of the source as the target would have them.

        Args:
            rows: at the layer of the source that goes with ``layer``.
            layer: of the target.

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
        """This map and another behind it: what ``other(self(vector))`` does, as one.

        Args:
            other: from this map's target to a third model. Of its layers those are kept whose layer
                of the middle model this map has.

        Raises:
            TransferError: for a map that does not begin where this one ends, or shares no layer.
        """
        for what, mine, theirs in (
            ("model", self.target.fingerprint, other.source.fingerprint),
            ("component", self.component, other.component),
        ):
            if mine != theirs:
                raise TransferError(
                    f"{self} ends at {what} {mine} and {other} begins at {theirs}; join maps that "
                    "meet"
                )
        ends = {there: row for row, (_, there) in enumerate(self.layers)}
        joints = [(ends[middle], row) for row, (middle, _) in enumerate(other.layers)
                  if middle in ends]  # fmt: skip
        if not joints:
            raise TransferError(
                f"{self} ends at layers {sorted(ends)} and {other} begins at layers "
                f"{sorted({middle for middle, _ in other.layers})}; join maps that share one"
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
            target_mean=(_through(step, second) + other.target_mean[theirs].double()).float(),
            n=min(self.n, other.n),
            data_hash=hashlib.sha256(f"{self.data_hash}{other.data_hash}".encode()).hexdigest(),
        )

    def like_random(self, seed: int) -> ResidualMap:
        """A random control: this map between random rotations of source and target, layer by layer.

        All singular values stay: the Frobenius norm, and orthogonality where there is any; so do
        the means. Which directions it reads and which it reaches is left to chance. What another
        vector does through the map itself is ``made(vector.like_random(seed))``: of a map that
        reaches few directions of the target, that need not be little.

        Args:
            seed: of the rotations; the same seed, kind and layer give the same ones.
        """
        turned = []
        for (_, there), each in zip(self.layers, self.weights, strict=True):
            key = f"{seed}/{self.kind}/{there}"
            before = _rotation(f"{key}/source", self.source.d_model)
            after = _rotation(f"{key}/target", self.target.d_model)
            turned.append(einsum(before, each.double(), after, "s k, k l, l t -> s t"))
        return replace(
            self,
            kind=f"random-{seed}({self.kind})",
            weights=torch.stack(turned).float(),
            quality=None,
        )

    def save(self, path: str | Path) -> None:
        """Write the map as safetensors, what it is in the header, whole or not at all.

        Raises:
            TransferError: when the file cannot be written.
        """
        header: dict[str, Any] = {name: getattr(self, name) for name in _HEADER}
        header |= {side: asdict(getattr(self, side)) for side in _STREAMS}
        header["quality"] = self.quality and [asdict(each) for each in self.quality]
        tensors = {name: getattr(self, name) for name in _TENSORS}
        write_tensors(path, "Map", tensors, header, TransferError)

    @classmethod
    def load(cls, path: str | Path) -> ResidualMap:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            TransferError: when the file is missing, truncated, changed, or no map.
        """
        needed = (*_TENSORS, *_HEADER)
        tensors, header = read_tensors(path, "Map", TransferError, needed)
        with report_as(path, TransferError):
            said = check_types(header, _HEADER)
            source, target = (
                ModelIdentity(**check_types(said.pop(side), _STREAM)) for side in _STREAMS
            )
            quality = said.pop("quality")
            return cls(
                **tensors,
                source=source,
                target=target,
                layers=tuple((here, there) for here, there in said.pop("layers")),
                penalties=tuple(said.pop("penalties")),
                ranks=tuple(said.pop("ranks")),
                quality=quality
                and tuple(Interval(**check_types(each, _INTERVAL)) for each in quality),
                **said,
            )

    def _row(self, layer: int) -> int:
        found = [row for row, (_, there) in enumerate(self.layers) if there == layer]
        if not found:
            raise TransferError(
                f"{self} has no layer {layer} of the target; use one of "
                f"{[there for _, there in self.layers]}"
            )
        return found[0]


_STREAMS = ("source", "target")
_TENSORS = ("weights", "source_mean", "target_mean")
_HEADER = {
    **dict.fromkeys(("kind", "component", "position", "data_hash"), str),
    **dict.fromkeys(("layers", "penalties", "ranks"), list),
    **dict.fromkeys(_STREAMS, dict),
    "n": int,
    "quality": (list, type(None)),
}
_STREAM = {
    **dict.fromkeys(("model", "fingerprint", "basis"), str),
    **dict.fromkeys(("n_layers", "d_model"), int),
    "revision": (str, type(None)),
}
_INTERVAL = {
    **dict.fromkeys(("value", "low", "high"), (int, float)),
    "n": int,
    "method": str,
}


def _through(
    rows: Float[Tensor, "layer s"], weights: Float[Tensor, "layer s t"]
) -> Float64[Tensor, "layer t"]:
    return einsum(rows.double(), weights.double(), "layer s, layer s t -> layer t")


def _rotation(key: str, d: int) -> Float64[Tensor, "d d"]:
    """A rotation or reflection drawn evenly over all (Mezzadri 2007)."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    drawn = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    return q * r.diagonal().sign()
