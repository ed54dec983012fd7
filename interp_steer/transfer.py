"""Vectors from one model to another, by maps between residual streams fitted on shared texts.

Two models read the same texts, and at each layer a map is fitted from the activations ``x`` of the
source to the activations ``y`` of the target::

    y  =  (x - mean x) W + mean y

An activation goes through the whole of it; a direction, which is a difference of two activations,
through ``W`` alone. The texts need not show the property of a vector, but what they never vary
along, no map can know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from interp_steer.errors import TransferError, VectorError
from interp_steer.linear_maps import KINDS, Candidate, squared_errors
from interp_steer.model import HookedLM
from interp_steer.pairs import Prompt
from interp_steer.shared_texts import LayerPairs, SharedTexts, Stream, read
from interp_steer.statistics import Interval
from interp_steer.steering_vector import SteeringVector, inner_product, unit_directions
from interp_steer.subspaces import resampled_means
from interp_steer.tensorfiles import read_tensors, write_tensors

__all__ = ["PENALTIES", "Map", "SharedTexts", "fit", "fit_on", "map", "r_squared", "read"]

PENALTIES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The penalties that are tried, in units of the mean variance of an activation's coordinate."""


@dataclass(frozen=True, eq=False)
class Map:
    """From the residual stream of one model to that of another, a map for each layer.

    Raises:
        TransferError: for shapes that do not agree, or numbers that are not finite.

    Example:
        >>> to_gemma = ist.transfer.fit(llama, gemma, prompts)          # doctest: +SKIP
        >>> ist.generate(gemma, prompts, to_gemma(vector).at(4).project())  # doctest: +SKIP
    """

    kind: str
    """How it was fitted: one of :data:`interp_steer.linear_maps.KINDS`, or what it was made of."""
    source: Stream
    target: Stream
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
    """:func:`r_squared` of the prompts held out, for each layer; None of a map that was not fitted
    but joined or drawn."""
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
                estimator=f"{card.estimator} of {card.model} via {self.kind}",
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

    def then(self, other: Map) -> Map:
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
        return Map(
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

    def like_random(self, seed: int) -> Map:
        """A random control: this map behind a random rotation of the source, at each layer.

        All singular values stay: the Frobenius norm, and orthogonality where there is any. So do
        the directions of the target that the map can reach, and the means.

        Args:
            seed: of the rotations; the same seed, kind and layer give the same rotation.
        """
        turned = []
        for (_, there), each in zip(self.layers, self.weights, strict=True):
            turn = _rotation(f"{seed}/{self.kind}/{there}", self.source.d_model)
            turned.append(einsum(turn, each.double(), "s k, k t -> s t"))
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
        header["quality"] = None if self.quality is None else [asdict(q) for q in self.quality]
        tensors = {name: getattr(self, name) for name in _TENSORS}
        write_tensors(path, "Map", tensors, header, TransferError)

    @classmethod
    def load(cls, path: str | Path) -> Map:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            TransferError: when the file is missing, truncated, changed, or no map.
        """
        tensors, header = read_tensors(path, "Map", TransferError)
        quality = header.pop("quality")
        return cls(
            **tensors,
            **{side: Stream(**header.pop(side)) for side in _STREAMS},
            layers=tuple((here, there) for here, there in header.pop("layers")),
            penalties=tuple(header.pop("penalties")),
            ranks=tuple(header.pop("ranks")),
            quality=None if quality is None else tuple(Interval(**each) for each in quality),
            **header,
        )

    def _row(self, layer: int) -> int:
        found = [row for row, (_, there) in enumerate(self.layers) if there == layer]
        if not found:
            raise TransferError(
                f"{self} has no layer {layer} of the target; use one of "
                f"{[there for _, there in self.layers]}"
            )
        return found[0]


_HEADER = ("kind", "component", "position", "layers", "n", "data_hash", "penalties", "ranks")
_STREAMS = ("source", "target")
_TENSORS = ("weights", "source_mean", "target_mean")


def fit(
    source: HookedLM,
    target: HookedLM,
    prompts: Sequence[Prompt],
    kind: str = "ridge",
    *,
    penalties: Sequence[float] = PENALTIES,
    **options: Any,
) -> Map:
    """Fit a map from the residual stream of one model to that of another.

    Args:
        source: where vectors come from.
        target: where they go.
        prompts: that both models read; none that a vector is fitted on or reported on.
        kind: ``"procrustes"``, ``"ridge"``, ``"cca"``, or the control ``"identity"``.
        penalties: of which the best on prompts held out is taken, layer by layer.
        options: of :func:`interp_steer.shared_texts.read`: ``position``, ``component``, ``layers``,
            ``answers``, ``max_new_tokens``, ``batch_size``, ``seed``.

    Raises:
        TransferError: for an unknown kind, penalties below 0, prompts that are too few, or what
            :func:`interp_steer.shared_texts.read` refuses.

    Example:
        >>> to_gemma = ist.transfer.fit(llama, gemma, prompts)  # doctest: +SKIP
        >>> [str(each) for each in to_gemma.quality]            # doctest: +SKIP
    """
    _check_kind(kind, penalties)
    return fit_on(read(source, target, prompts, **options), kind, penalties=penalties)


def fit_on(
    texts: SharedTexts, kind: str = "ridge", *, penalties: Sequence[float] = PENALTIES
) -> Map:
    """Fit a map on activations that were read before; see :func:`fit`.

    The map is fitted on the fit split of the prompts, its penalty and rank chosen on the select
    split, and its quality that of the test split.

    Args:
        texts: what both models make of the same texts.
        kind: see :func:`fit`.
        penalties: see :func:`fit`.

    Raises:
        TransferError: for an unknown kind or penalties below 0, or activations that are all alike.
    """
    _check_kind(kind, penalties)
    fitted, select = texts.split("fit"), texts.split("select")
    chosen: list[Candidate] = []
    means: list[tuple[Tensor, Tensor]] = []
    for here, there in texts.layers:
        x, y = texts.source_rows[here].double(), texts.target_rows[there].double()
        means.append((x[fitted].mean(dim=0), y[fitted].mean(dim=0)))
        x, y = x - means[-1][0], y - means[-1][1]
        if not (x[fitted].any() and y[fitted].any()):
            raise TransferError(
                f"the activations of layer {here} of {texts.source} or {there} of {texts.target} "
                f"are all alike on {int(fitted.sum())} rows; give prompts that differ, or read at "
                "another layer or position"
            )
        chosen.append(
            min(
                KINDS[kind](x[fitted], y[fitted], penalties),
                key=lambda one: float(squared_errors(x[select], y[select], one.weights).sum()),
            )
        )
    made = Map(
        kind=kind,
        source=texts.source,
        target=texts.target,
        component=texts.component,
        position=texts.position,
        layers=texts.layers,
        weights=torch.stack([one.weights for one in chosen]).float(),
        source_mean=torch.stack([mean for mean, _ in means]).float(),
        target_mean=torch.stack([mean for _, mean in means]).float(),
        n=len(set(texts.prompt[fitted].tolist())),
        data_hash=texts.data_hash,
        penalties=tuple(one.penalty for one in chosen),
        ranks=tuple(one.rank for one in chosen),
    )
    return replace(made, quality=r_squared(made, texts))


def map(
    vector: SteeringVector,
    source: HookedLM,
    target: HookedLM,
    prompts: Sequence[Prompt],
    kind: str = "ridge",
    **options: Any,
) -> SteeringVector:
    """Take a vector from one model to another, by a map that is fitted for it.

    Args:
        vector: of the source.
        source: the model that it was fitted on.
        target: the model that it shall steer.
        prompts: see :func:`fit`; read where the vector was, unless ``position`` is given.
        kind: see :func:`fit`.
        options: of :func:`fit`.

    Raises:
        VectorError: for a vector of another model.
        TransferError: as :func:`fit`.

    Example:
        >>> lowercase = ist.transfer.map(vector, llama, gemma, prompts)     # doctest: +SKIP
        >>> ist.generate(gemma, ["Name a tree."], lowercase.at(4).project())  # doctest: +SKIP
    """
    vector.check(source)
    position = vector.card.position
    where = {
        "position": int(position) if position.lstrip("-").isdigit() else position,
        "component": vector.card.component,
    }
    return fit(source, target, prompts, kind, **where | options)(vector)


def r_squared(
    made: Map, texts: SharedTexts, split: str = "test", *, level: float = 0.95, draws: int = 1000
) -> tuple[Interval, ...]:
    """How well a map predicts the target's activations, at each of its layers.

    ``1 - sum |y - y'|^2 / sum |y - mean y|^2`` over the rows of the prompts in a split, ``mean y``
    being that of the map: 0 for what always says the mean, below 0 for what is worse. Intervals are
    percentiles of a bootstrap of the prompts.

    Args:
        made: a map, which may be a control.
        texts: activations at its layers.
        split: ``"fit"``, ``"select"`` or ``"test"``.
        level: confidence level, in (0, 1).
        draws: of the bootstrap.
    """
    held = texts.split(split)
    numbers, place = texts.prompt[held].unique(return_inverse=True)
    found = []
    for row, (here, there) in enumerate(made.layers):
        x = texts.source_rows[here][held].double()
        y = texts.target_rows[there][held].double()
        about = made.target_mean[row].double()
        left = (y - made.activations(x, there)).square().sum(dim=1)
        whole = (y - about).square().sum(dim=1)
        sums = torch.zeros(len(numbers), 2, dtype=torch.float64)
        sums.index_add_(0, place, torch.stack([left, whole], dim=1))
        drawn = resampled_means(sums, draws, texts.seed)
        low, high = np.quantile(1 - drawn[:, 0] / drawn[:, 1], [(1 - level) / 2, (1 + level) / 2])
        value = float(1 - left.sum() / whole.sum())
        method = f"bootstrap by prompt {100 * level:g}%"
        found.append(
            Interval(value, min(float(low), value), max(float(high), value), len(numbers), method)
        )
    return tuple(found)


def _check_kind(kind: str, penalties: Sequence[float]) -> None:
    if kind not in KINDS:
        raise TransferError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    if not penalties or not min(penalties) >= 0:
        raise TransferError(
            f"penalties {tuple(penalties)} must be numbers from 0 up, at least one; 1 is as much "
            "as the mean variance"
        )


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
