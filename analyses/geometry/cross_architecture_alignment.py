"""Read a property's vector in two models, and compare both after a map between the models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float64
from torch import Tensor

import interp_steer as ist
from analyses.kit.operations import READ_TOKENS, position_of
from interp_steer.geometry import discrimination
from interp_steer.statistics import Interval, bootstrap, draw_weights, normal_interval
from interp_steer.vectors import difference_in_means
from interp_steer.vectors.transfer import ResidualMap

RESAMPLES = 300
"""Bootstrap draws of the held-out pairs, for the interval of an AUROC."""

Score = tuple[str, str, int, Interval]
"""The setting, the quantity, the layer of the target, and the value."""


@dataclass(frozen=True, eq=False)
class BothSides:
    """Activations of both sides of some pairs, at every layer of a model."""

    vector: ist.SteeringVector
    """The difference in means of the two sides."""
    sums: Float64[Tensor, "side pair layer d_model"]
    """Sums of the activations of each prompt: first with the property, then without."""
    counts: Float64[Tensor, "side pair"]
    """Number of activations of each prompt."""

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet, read: str) -> BothSides:
        """Run both sides of some pairs.

        Args:
            model: the model that reads the prompts.
            pairs: the pairs of one split.
            read: where activations are read; see :class:`analyses.kit.operations.SteeringSpec`.
        """
        present, absent = (
            ist.capture.capture_moments(
                model,
                prompts,
                positions=position_of(read),
                max_new_tokens=READ_TOKENS,
                keep_rows=True,
            )
            for prompts in (pairs.present, pairs.absent)
        )
        sums, counts = zip(*map(_sum_by_prompt, (present, absent)), strict=True)
        return cls(
            vector=difference_in_means(
                present, absent, name=pairs.name, data_hash=pairs.hash, model=model
            ),
            sums=torch.stack(sums),
            counts=torch.stack(counts),
        )

    def resample(self, draws: int, seed: int) -> Float64[Tensor, "draw layer d_model"]:
        """Fit the vectors of resampled pairs; the same seed draws the same pairs in both models."""
        weights = draw_weights(self.counts.shape[1], draws, seed)
        total = einsum(weights, self.sums, "draw pair, side pair layer d -> side draw layer d")
        count = einsum(weights, self.counts, "draw pair, side pair -> side draw")
        present, absent = total / count[..., None, None]
        return present - absent

    def measure_auroc(
        self, vector: ist.SteeringVector, layer: int, resamples: int, seed: int
    ) -> Interval:
        """Return the AUROC of the mean projection of a prompt on a direction."""
        unit = vector.at(layer).unit.double()
        row = self.vector.layers.index(layer)
        along = einsum(self.sums[:, :, row], unit, "side pair d, d -> side pair")
        present, absent = along / self.counts
        return discrimination(present, absent, seed=seed, n_resamples=resamples).auroc


def _sum_by_prompt(
    side: ist.Moments,
) -> tuple[Float64[Tensor, "pair layer d_model"], Float64[Tensor, " pair"]]:
    assert side.rows is not None
    rows = torch.stack([side.rows.values[site].double() for site in side.sites], dim=1)
    sums = rows.new_zeros(side.prompts, *rows.shape[1:]).index_add(0, side.rows.prompt, rows)
    return sums, torch.bincount(side.rows.prompt, minlength=side.prompts).double()


@dataclass(frozen=True, eq=False)
class VectorsInBothModels:
    """The vectors of one instruction in both models, read at one position."""

    source: BothSides
    """The fit split in the source."""
    own: BothSides
    """The fit split in the target."""
    held: BothSides
    """The test split in the target."""

    @classmethod
    def of(
        cls, source: ist.HookedLM, target: ist.HookedLM, pairs: ist.ContrastSet, read: str
    ) -> VectorsInBothModels:
        """Read both models.

        Args:
            source: the model that vectors are transferred from.
            target: the model that vectors are transferred to.
            pairs: the pairs of the instruction, with their splits.
            read: where activations are read; see :class:`analyses.kit.operations.SteeringSpec`.
        """
        return cls(
            BothSides.of(source, pairs.fit, read),
            BothSides.of(target, pairs.fit, read),
            BothSides.of(target, pairs.test, read),
        )

    def measure_ceiling(self, seed: int) -> dict[int, Interval]:
        """Return the AUROC of the target's own vector on held-out pairs, by layer."""
        own = self.own.vector
        return {layer: self.held.measure_auroc(own, layer, RESAMPLES, seed) for layer in own.layers}

    def score_map(
        self, fitted_map: ResidualMap, random: Sequence[ResidualMap], *, draws: int, seed: int
    ) -> Iterator[Score]:
        """Yield the cosine with the target's own vector, and the AUROC on held-out pairs, by layer.

        Args:
            fitted_map: a map to every layer of the target.
            random: random maps, whose values are averaged.
            draws: bootstrap draws of the pairs, for the interval of the cosine.
            seed: seed of all draws.
        """
        own, source = self.own.resample(draws, seed), self.source.resample(draws, seed)
        pairs = self.own.counts.shape[1]
        vector = fitted_map(self.source.vector)
        controls = [random_map(self.source.vector) for random_map in random]
        cosines, *by_chance = (
            mapped.cosine(self.own.vector).tolist() for mapped in (vector, *controls)
        )
        for row, (source_layer, layer) in enumerate(fitted_map.layers):
            mapped = einsum(
                source[:, source_layer], fitted_map.weights[row].double(), "draw s, s t -> draw t"
            )
            resampled = torch.cosine_similarity(mapped, own[:, layer], dim=-1)
            yield (
                "mapped",
                "cosine",
                layer,
                normal_interval(cosines[row], resampled, pairs, (-1.0, 1.0)),
            )
            yield "mapped", "auroc", layer, self.held.measure_auroc(vector, layer, RESAMPLES, seed)
            if controls:
                aurocs = [
                    self.held.measure_auroc(control, layer, 1, seed).value for control in controls
                ]
                chance = [by_layer[row] for by_layer in by_chance]
                yield "random map", "cosine", layer, bootstrap(chance, seed=seed)
                yield "random map", "auroc", layer, bootstrap(aurocs, seed=seed)
