"""Hold a steering vector with a direction for each generated step, at every layer and head."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor

from interp_steer import notebook
from interp_steer.errors import VectorError
from interp_steer.interventions.intervention import Direction, Intervention, compose
from interp_steer.interventions.schedules import AnySchedule, fixed
from interp_steer.models.attention_output import head_output_weights, heads_add_up
from interp_steer.models.basis import check_basis
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.storage.tensors import read_tensors, report_as, write_tensors
from interp_steer.vectors.card import Card, parenthesise, read_layers
from interp_steer.vectors.hub import Published
from interp_steer.vectors.steering_vector import LARGEST


@dataclass(frozen=True, eq=False)
class SteppedVector(Published):
    """Directions ``D_i`` for each generated step ``i`` (paper B, section 2).

    With ``mu_i`` the mean activation of the prompts whose answer is still running at step ``i``::

        D_i = mu_i(present) - mu_i(absent)

    Step 0 is the last token of the prompt. The usual component is ``z``, where each head has its
    own direction. Vectors of one model can be added, subtracted and scaled.

    Raises:
        VectorError: when a tensor is not finite or the shapes do not agree.

    Example:
        >>> stepped = ist.fit_steps(model, pairs, n_steps=4)
        >>> steer = stepped.shift(1.5, ist.schedules.diminishing(4))
    """

    directions: Float[Tensor, "step layer *shape"]
    """The directions, in float32, not normalised; at ``z`` the shape is ``(n_heads, d_head)``."""
    counts: Int64[Tensor, "side step"]
    """The number of answers still running at each step, of the prompts with the property and of the
    prompts without it."""
    layers: tuple[int, ...]
    """The layers, rising."""
    card: Card

    def __post_init__(self) -> None:
        n_steps, n_layers = self.directions.shape[:2]
        shape = tuple(self.directions.shape[2:])
        at_z = self.card.component == "z"
        if (
            not n_steps
            or n_layers != len(self.layers)
            or list(self.layers) != sorted(set(self.layers))
            or (len(shape) != 2 if at_z else shape != (self.card.d_model,))
            or self.counts.shape != (2, n_steps)
        ):
            inner = "n_heads, d_head" if at_z else self.card.d_model
            raise VectorError(
                f"{self} has directions of shape {tuple(self.directions.shape)} and counts of "
                f"shape {tuple(self.counts.shape)} for the layers {self.layers}; the shapes must "
                f"be (step, layer, {inner}) and (2, step), the layers rising"
            )
        for site in self.sites:
            site.check(self.card.n_layers)
        if not self.directions.isfinite().all():
            raise VectorError(
                f"{self} has directions with nan or inf; look for overflow in the activations, "
                "and load the model in bfloat16 or float32 rather than float16"
            )
        object.__setattr__(self, "card", replace(self.card, layers=self.layers))

    def __str__(self) -> str:
        return f"SteppedVector for {self.card.identity}"

    def _repr_html_(self) -> str:
        return notebook.render_stepped_vector(
            self.name,
            self.card.facts(),
            self.layers,
            self.norms.norm(dim=1).tolist(),
            self.norms.norm(dim=0).tolist(),
            self.counts.min(dim=0).values.tolist(),
        )

    @property
    def name(self) -> str:
        """Return the name of the property; canonical lines use it."""
        return self.card.name

    @property
    def n_steps(self) -> int:
        """Return the number of steps that have a direction."""
        return len(self.directions)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Return the site of each layer."""
        return tuple(Site(self.card.component, layer) for layer in self.layers)

    @property
    def norms(self) -> Float[Tensor, "step layer"]:
        """Return ``|D_i|`` at each layer, at ``z`` over all heads together."""
        return rearrange(self.directions, "step layer ... -> step layer (...)").norm(dim=-1)

    @property
    def head_norms(self) -> Float[Tensor, "step layer head"]:
        """Return ``|D_i|`` of each head.

        Raises:
            VectorError: for a vector that was not read at ``z``.
        """
        self._check_z("norms by head")
        return self.directions.norm(dim=-1)

    def shift(
        self,
        coefficient: float = 1.0,
        schedule: AnySchedule = fixed,
        positions: str | None = None,
    ) -> Intervention:
        """Add ``coefficient * a_i * D_i`` at every layer (paper B, section 2).

        Args:
            coefficient: ``alpha`` of the paper.
            schedule: the weights ``a_i``.
            positions: see :func:`interp_steer.interventions.positions.span`; when not given, the
                generated positions of the steps that have a direction.

        Raises:
            InterventionError: for a coefficient that is not finite, or unknown positions.
            VectorError: when the vector is zero everywhere.
        """
        where = f"first({self.n_steps})" if positions is None else positions
        acting = [site for site, norm in zip(self.sites, self.norms.T, strict=True) if norm.any()]
        if not acting:
            raise VectorError(f"{self}, {self.name!r}, is zero everywhere; fit it on other pairs")
        return compose(
            self.direction(site, site).shift(coefficient, where, schedule) for site in acting
        )

    def direction(self, source: Site, site: Site) -> Direction:
        """Return the directions of all steps that were read at ``source``, to be applied at
        ``site``.

        Raises:
            VectorError: for a ``source`` that the vector was not read at.
            InterventionError: when the vector is zero there at every step.
        """
        if source not in self.sites:
            raise VectorError(
                f"{self}, {self.name!r}, has no directions at {source}; it was read at "
                f"{', '.join(map(str, self.sites))}"
            )
        return Direction(
            vector=self.directions[:, self.sites.index(source)],
            target=None,
            name=self.name,
            source=source,
            site=site,
            model=self.card.model,
            n_layers=self.card.n_layers,
            d_model=self.card.d_model,
            basis=self.card.basis,
        )

    def only(
        self, layers: Sequence[int] | None = None, heads: Sequence[tuple[int, int]] | None = None
    ) -> SteppedVector:
        """Keep some layers or some heads, and set all others to zero.

        Args:
            layers: the layers that are kept; all when not given.
            heads: the heads that are kept, as pairs of a layer and a head; all when not given.

        Raises:
            VectorError: for a layer or head that the vector does not have.
        """
        mask = torch.ones(self.directions.shape[1:])
        labels = []
        if layers is not None:
            inside = torch.zeros_like(mask)
            inside[[self._row(layer) for layer in layers]] = 1
            mask, labels = mask * inside, [*labels, f"layers {' '.join(map(str, layers))}"]
        if heads is not None:
            self._check_z("heads")
            inside = torch.zeros_like(mask)
            for layer, head in heads:
                if not 0 <= head < mask.shape[1]:
                    raise VectorError(
                        f"{self} has no head {head}; heads run from 0 to {mask.shape[1] - 1}"
                    )
                inside[self._row(layer), head] = 1
            names = " ".join(f"{layer}.{head}" for layer, head in heads)
            mask, labels = mask * inside, [*labels, f"heads {names}"]
        return self._copy(self.directions * mask, f"{self.name} ({', '.join(labels)})")

    def shared(self) -> SteppedVector:
        """Return the mean direction for all steps, weighted by the number of answers still
        running."""
        weight = self.counts.min(dim=0).values.double()
        mean = einsum(
            weight / weight.sum(), self.directions.double(), "step, step layer ... -> layer ..."
        ).float()
        directions = mean.expand_as(self.directions).clone()
        return self._copy(directions, f"{self.name} (shared)")

    def at_output(self, model: HookedLM) -> SteppedVector:
        """Project the vector through ``W_O``: ``D_i W_O`` at ``attn_out`` has the same effect.

        Args:
            model: the model that the vector was fitted on.

        Raises:
            VectorError: for a vector that was not read at ``z``, a vector of another model, or a
                model that normalises what its heads write, such as Gemma-2.
        """
        self._check_z("output")
        self.check(model)
        if not all(heads_add_up(model, layer) for layer in self.layers):
            raise VectorError(
                f"{model.describe()} normalises what its heads write before it is added, so a "
                "direction at attn_out does not have the effect of a direction at z; steer at z"
            )
        outputs = torch.stack([head_output_weights(model, layer) for layer in self.layers])
        written = einsum(
            self.directions.double(),
            outputs.double().cpu(),
            "step layer head d_head, layer head d_head d_model -> step layer d_model",
        )
        return replace(
            self, directions=written.float(), card=replace(self.card, component="attn_out")
        )

    def check(self, model: HookedLM) -> SteppedVector:
        """Return this vector when it was fitted on exactly this model.

        Raises:
            VectorError: when the model has other sizes or other weights.
            BasisError: when its weights are in another basis.
        """
        check_basis(self.card.basis, f"{self}, {self.name!r},", model.basis, model.describe())
        shape = self.sites[0].shape(model.n_heads, model.d_head, model.d_model)
        same = (self.card.n_layers, tuple(self.directions.shape[2:])) == (model.n_layers, shape)
        if not same or self.card.fingerprint != model.fingerprint:
            raise VectorError(
                f"{self} (weights {self.card.fingerprint}) cannot steer {model.describe()} "
                f"(weights {model.fingerprint}); fit one with ist.fit_steps(model, pairs)"
            )
        return self

    def cosine(self, other: SteppedVector) -> Float[Tensor, "step layer"]:
        """Compute the cosine with another vector at each step that both have, over all heads
        together.

        It is zero where either vector is zero.

        Raises:
            VectorError: when bases, components, layers or shapes differ.
        """
        self._check_alike(other)
        steps = min(self.n_steps, other.n_steps)
        sides = (
            rearrange(v.directions[:steps].double(), "s l ... -> s l (...)") for v in (self, other)
        )
        return torch.cosine_similarity(*sides, dim=-1).float()

    def alignment(self, other: SteppedVector) -> float:
        """Compute the cosine with another vector, all steps, layers and heads flattened into one
        vector.

        Raises:
            VectorError: when bases, components, layers or shapes differ, or either is zero
                everywhere.
        """
        self._check_alike(other)
        steps = min(self.n_steps, other.n_steps)
        mine, theirs = (v.directions[:steps].double().flatten() for v in (self, other))
        if not (mine.any() and theirs.any()):
            raise VectorError(f"{self.name!r} or {other.name!r} is zero everywhere; no angle")
        return float(torch.cosine_similarity(mine, theirs, dim=0))

    def like_random(self, seed: int) -> SteppedVector:
        """Return a random control: one random direction in each layer and head, with this vector's
        norms.

        Both disturb every head equally at each step.

        Args:
            seed: of the draw; the same seed and name give the same control.
        """
        key = int.from_bytes(hashlib.sha256(f"{seed}/{self.name}".encode()).digest()[:7], "big")
        drawn = torch.randn(self.directions.shape[1:], generator=torch.Generator().manual_seed(key))
        unit = drawn / drawn.norm(dim=-1, keepdim=True)
        directions = self.directions.norm(dim=-1, keepdim=True) * unit
        card = replace(self.card, name=f"random-{seed}({self.name})", estimator="random")
        return replace(self, directions=directions, card=card)

    def __add__(self, other: SteppedVector) -> SteppedVector:
        """Return the sum, with the steps of the longer vector; a missing step counts as zero.

        Raises:
            VectorError: for vectors of different models, components or layers.
        """
        return self._sum(other, 1)

    def __sub__(self, other: SteppedVector) -> SteppedVector:
        """Return the difference; see :meth:`__add__`."""
        return self._sum(other, -1)

    def __mul__(self, factor: float | int) -> SteppedVector:
        """Return the vector scaled.

        Raises:
            VectorError: when the factor is not finite.
        """
        if not isinstance(factor, (int, float)):
            return NotImplemented
        if not math.isfinite(factor):
            raise VectorError(f"{self}, {self.name!r}, cannot be scaled by {factor}; use a number")
        return self._copy(self.directions * factor, f"{factor:g}*{parenthesise(self.name)}")

    __rmul__ = __mul__

    def __neg__(self) -> SteppedVector:
        """Return the vector from present to absent."""
        return self._copy(-self.directions, f"-{parenthesise(self.name)}")

    def save(self, path: str | Path) -> None:
        """Write the vector as safetensors, with its card in the header, in full or not at all.

        Raises:
            VectorError: when the file cannot be written.
        """
        tensors = {"directions": self.directions, "counts": self.counts}
        header = {"card": self.card.to_flat(), "layers": self.layers}
        write_tensors(path, "SteppedVector", tensors, header, VectorError)

    @classmethod
    def load(cls, path: str | Path) -> SteppedVector:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            VectorError: when the file is missing, truncated or changed, or does not hold a stepped
                vector.
        """
        needed = ("directions", "counts", "layers", "card")
        tensors, header = read_tensors(
            path, "SteppedVector", VectorError, needed, integers=("counts",), largest=LARGEST
        )
        with report_as(path, VectorError):
            return cls(
                directions=tensors["directions"],
                counts=tensors["counts"],
                layers=read_layers(header["layers"]),
                card=Card.read(header["card"]),
            )

    def _row(self, layer: int) -> int:
        if layer not in self.layers:
            raise VectorError(
                f"{self}, {self.name!r}, has no layer {layer}; it has "
                f"{', '.join(map(str, self.layers))}"
            )
        return self.layers.index(layer)

    def _check_z(self, what: str) -> None:
        if self.card.component != "z":
            raise VectorError(
                f"{self}, {self.name!r}, was read at {self.card.component} and has no {what}; fit "
                "it at z: ist.fit_steps(model, pairs, component='z')"
            )

    def _copy(self, directions: Tensor, name: str) -> SteppedVector:
        return replace(self, directions=directions, card=replace(self.card, name=name))

    def _check_alike(self, other: SteppedVector) -> None:
        for what, mine, theirs in (
            ("basis", self.card.basis, other.card.basis),
            ("component", self.card.component, other.card.component),
            ("layers", self.layers, other.layers),
            ("shape", tuple(self.directions.shape[2:]), tuple(other.directions.shape[2:])),
        ):
            if mine != theirs:
                raise VectorError(
                    f"{self}, {self.name!r}, has {what} {mine} and {other}, {other.name!r}, has "
                    f"{theirs}; combine vectors of the same {what}"
                )

    def _sum(self, other: SteppedVector, sign: int) -> SteppedVector:
        if not isinstance(other, SteppedVector):
            return NotImplemented
        self._check_alike(other)
        if self.card.fingerprint != other.card.fingerprint:
            raise VectorError(
                f"{self.name!r} and {other.name!r} are of different models; fit both on one"
            )
        longest = max(self.n_steps, other.n_steps)
        mine, theirs = (_lengthen(v.directions, longest) for v in (self, other))
        counts = [_lengthen(v.counts.T, longest).T for v in (self, other)]
        return replace(
            self,
            directions=mine + sign * theirs,
            counts=reduce(torch.stack(counts), "vector side step -> side step", "sum"),
            card=self.card.join(other.card, "+" if sign > 0 else "-"),
        )


def _lengthen(by_step: Tensor, steps: int) -> Tensor:
    """Pad a tensor with zeros up to a number of steps."""
    more = by_step.new_zeros(steps - len(by_step), *by_step.shape[1:])
    return torch.cat([by_step, more])
