"""A steering vector with a direction for each generated step, at every layer and head."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor

from interp_steer import notebook
from interp_steer.errors import VectorError
from interp_steer.interventions.intervention import Direction, Intervention, compose
from interp_steer.interventions.schedules import AnySchedule, fixed
from interp_steer.models.basis import check_basis
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.storage.tensors import read_tensors, report_as, write_tensors
from interp_steer.vectors.card import Card, closed, layers_of
from interp_steer.vectors.hub import Published
from interp_steer.vectors.steering_vector import LARGEST


@dataclass(frozen=True, eq=False)
class SteppedVector(Published):
    """Directions ``D_i`` for each generated step ``i`` (paper B, section 2).

    With ``mu_i`` the mean activation of the prompts whose answer is still running at step ``i``::

        D_i = mu_i(present) - mu_i(absent)

    Step 0 is the last token of the prompt. As a rule they are read at ``z``, where each head has
    its own. Vectors of one model add, subtract and scale.

    Raises:
        VectorError: when a tensor is not finite or the shapes do not agree.

    Example:
        >>> vector = ist.fit_steps(model, pairs, n_steps=30)                 # doctest: +SKIP
        >>> steer = vector.shift(1.5, diminishing(30))                       # doctest: +SKIP
    """

    directions: Float[Tensor, "step layer *shape"]
    """Float32, raw; at ``z`` the shape is ``(n_heads, d_head)``."""
    counts: Int64[Tensor, "side step"]
    """The answers that were still running at each step: of prompts with the property, without."""
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
        return f"SteppedVector for {self.card.whose}"

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
        """What the vector stands for; canonical lines call it so."""
        return self.card.name

    @property
    def n_steps(self) -> int:
        """How many steps have a direction of their own."""
        return len(self.directions)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The site of each layer."""
        return tuple(Site(self.card.component, layer) for layer in self.layers)

    @property
    def norms(self) -> Float[Tensor, "step layer"]:
        """``|D_i|`` at each layer, at ``z`` over all heads together."""
        return rearrange(self.directions, "step layer ... -> step layer (...)").norm(dim=-1)

    @property
    def head_norms(self) -> Float[Tensor, "step layer head"]:
        """``|D_i|`` of each head.

        Raises:
            VectorError: for a vector that was not read at ``z``.
        """
        self._at_z("norms by head")
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
            positions: see :func:`interp_steer.interventions.positions.span`; where answers are generated, as far
                as there are directions, when not given.

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
        """The directions of all steps that were read at ``source``, to be applied at ``site``.

        Raises:
            VectorError: when the vector was not read at ``source``.
            InterventionError: when it is zero there at every step.
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
        """The vector with everything set to zero but some layers, or some heads.

        Args:
            layers: that stay; all when not given.
            heads: pairs of a layer and a head, that stay; all when not given.

        Raises:
            VectorError: for a layer or head that it does not have.
        """
        kept = torch.ones(self.directions.shape[1:])
        said = []
        if layers is not None:
            inside = torch.zeros_like(kept)
            inside[[self._row(layer) for layer in layers]] = 1
            kept, said = kept * inside, [*said, f"layers {' '.join(map(str, layers))}"]
        if heads is not None:
            self._at_z("heads")
            inside = torch.zeros_like(kept)
            for layer, head in heads:
                if not 0 <= head < kept.shape[1]:
                    raise VectorError(
                        f"{self} has no head {head}; heads run from 0 to {kept.shape[1] - 1}"
                    )
                inside[self._row(layer), head] = 1
            heads_said = " ".join(f"{layer}.{head}" for layer, head in heads)
            kept, said = kept * inside, [*said, f"heads {heads_said}"]
        return self._like(self.directions * kept, f"{self.name} ({', '.join(said)})")

    def shared(self) -> SteppedVector:
        """One direction for all steps: their mean, weighted by how many answers were running."""
        weight = self.counts.min(dim=0).values.double()
        mean = einsum(
            weight / weight.sum(), self.directions.double(), "step, step layer ... -> layer ..."
        ).float()
        directions = mean.expand_as(self.directions).clone()
        return self._like(directions, f"{self.name} (shared)")

    def at_output(self, model: HookedLM) -> SteppedVector:
        """What the heads write of it: ``D_i W_O`` at ``attn_out``, which has the same effect.

        Args:
            model: that it was fitted on.

        Raises:
            VectorError: for a vector that was not read at ``z``, of another model, or of one that
                normalises what its heads write, such as Gemma-2.
        """
        self._at_z("output")
        self.check(model)
        outputs = torch.stack([_output_weights(model, layer) for layer in self.layers])
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
        """The cosine with another vector at each step that both have, over all heads together.

        Zero where either is zero.

        Raises:
            VectorError: when bases, components, layers or shapes differ.
        """
        self._alike(other)
        steps = min(self.n_steps, other.n_steps)
        sides = (
            rearrange(v.directions[:steps].double(), "s l ... -> s l (...)") for v in (self, other)
        )
        return torch.cosine_similarity(*sides, dim=-1).float()

    def alignment(self, other: SteppedVector) -> float:
        """The cosine with another vector, steps, layers and heads taken as one long vector.

        Raises:
            VectorError: when bases, components, layers or shapes differ, or either is zero
                everywhere.
        """
        self._alike(other)
        steps = min(self.n_steps, other.n_steps)
        mine, theirs = (v.directions[:steps].double().flatten() for v in (self, other))
        if not (mine.any() and theirs.any()):
            raise VectorError(f"{self.name!r} or {other.name!r} is zero everywhere; no angle")
        return float(torch.cosine_similarity(mine, theirs, dim=0))

    def like_random(self, seed: int) -> SteppedVector:
        """A random control: in each layer and head one random direction, as long as this at each
        step. Both disturb every head as much.

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
        """The sum, as long as the longer; a step that one has not counts as zero.

        Raises:
            VectorError: for vectors of different models, components or layers.
        """
        return self._sum(other, 1)

    def __sub__(self, other: SteppedVector) -> SteppedVector:
        """The difference; see :meth:`__add__`."""
        return self._sum(other, -1)

    def __mul__(self, factor: float | int) -> SteppedVector:
        """The vector scaled.

        Raises:
            VectorError: when the factor is not finite.
        """
        if not isinstance(factor, (int, float)):
            return NotImplemented
        if not math.isfinite(factor):
            raise VectorError(f"{self}, {self.name!r}, cannot be scaled by {factor}; use a number")
        return self._like(self.directions * factor, f"{factor:g}*{closed(self.name)}")

    __rmul__ = __mul__

    def __neg__(self) -> SteppedVector:
        """The vector from present to absent."""
        return self._like(-self.directions, f"-{closed(self.name)}")

    def save(self, path: str | Path) -> None:
        """Write the vector as safetensors, its card in the header, whole or not at all.

        Raises:
            VectorError: when the file cannot be written.
        """
        tensors = {"directions": self.directions, "counts": self.counts}
        header = {"card": asdict(self.card), "layers": self.layers}
        write_tensors(path, "SteppedVector", tensors, header, VectorError)

    @classmethod
    def load(cls, path: str | Path) -> SteppedVector:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            VectorError: when the file is missing, truncated, changed, or no stepped vector.
        """
        needed = ("directions", "counts", "layers", "card")
        tensors, header = read_tensors(
            path, "SteppedVector", VectorError, needed, integers=("counts",), largest=LARGEST
        )
        with report_as(path, VectorError):
            return cls(
                directions=tensors["directions"],
                counts=tensors["counts"],
                layers=layers_of(header["layers"]),
                card=Card.read(header["card"]),
            )

    def _row(self, layer: int) -> int:
        if layer not in self.layers:
            raise VectorError(
                f"{self}, {self.name!r}, has no layer {layer}; it has "
                f"{', '.join(map(str, self.layers))}"
            )
        return self.layers.index(layer)

    def _at_z(self, what: str) -> None:
        if self.card.component != "z":
            raise VectorError(
                f"{self}, {self.name!r}, was read at {self.card.component} and has no {what}; fit "
                "it at z: ist.fit_steps(model, pairs, component='z')"
            )

    def _like(self, directions: Tensor, name: str) -> SteppedVector:
        return replace(self, directions=directions, card=replace(self.card, name=name))

    def _alike(self, other: SteppedVector) -> None:
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
        self._alike(other)
        if self.card.fingerprint != other.card.fingerprint:
            raise VectorError(
                f"{self.name!r} and {other.name!r} are of different models; fit both on one"
            )
        longest = max(self.n_steps, other.n_steps)
        mine, theirs = (_lengthened(v.directions, longest) for v in (self, other))
        counts = [_lengthened(v.counts.T, longest).T for v in (self, other)]
        return replace(
            self,
            directions=mine + sign * theirs,
            counts=reduce(torch.stack(counts), "vector side step -> side step", "sum"),
            card=self.card.joined(other.card, "+" if sign > 0 else "-"),
        )


def _lengthened(by_step: Tensor, steps: int) -> Tensor:
    """The same with zeros up to a number of steps."""
    more = by_step.new_zeros(steps - len(by_step), *by_step.shape[1:])
    return torch.cat([by_step, more])


def _output_weights(model: HookedLM, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """The output projection of a layer, by heads; it must be the last of what writes attn_out."""
    projection, _ = model.module_of(Site("z", layer))
    attention, _ = model.module_of(Site("attn_out", layer))
    if projection not in attention.modules():
        raise VectorError(
            f"{model.describe()} normalises what its heads write before it is added: no direction "
            "at attn_out has the effect of one at z; steer at z"
        )
    return model.bridge.blocks[layer].attn.W_O.detach()
