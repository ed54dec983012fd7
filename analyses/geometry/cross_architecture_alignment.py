"""A vector in two models, and how alike they are once the one is mapped to the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float64
from torch import Tensor

import interp_steer as ist
from analyses.kit.operations import READ_TOKENS, position_of
from interp_steer.geometry.layers import discrimination
from interp_steer.statistics.intervals import Interval, bootstrap
from interp_steer.statistics.resampling import draw_weights, normal_interval
from interp_steer.vectors.fitting import difference_in_means
from interp_steer.vectors.transfer.residual_map import ResidualMap

RESAMPLES = 300
"""Of the held-out pairs, for the interval of an AUROC."""

Score = tuple[str, str, int, Interval]
"""What was measured, of which setting, at which layer of the target, and the number."""


@dataclass(frozen=True, eq=False)
class BothSides:
    """What was read of both sides of some pairs, at every layer of a model."""

    vector: ist.SteeringVector
    """Their difference in means."""
    sums: Float64[Tensor, "side pair layer d_model"]
    """Of the activations of each prompt: first with the property, then without."""
    counts: Float64[Tensor, "side pair"]
    """How many they are."""

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet, read: str) -> BothSides:
        """Run both sides of some pairs.

        Args:
            model: that reads them.
            pairs: of one split.
            read: where; see :class:`analyses.kit.operations.SteeringSpec`.
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
        sums, counts = zip(*map(_by_prompt, (present, absent)), strict=True)
        return cls(
            vector=difference_in_means(
                present, absent, name=pairs.name, data_hash=pairs.hash, model=model
            ),
            sums=torch.stack(sums),
            counts=torch.stack(counts),
        )

    def resampled(self, draws: int, seed: int) -> Float64[Tensor, "draw layer d_model"]:
        """The vectors that resampled pairs would have given; two models draw the same pairs."""
        weights = draw_weights(self.counts.shape[1], draws, seed)
        total = einsum(weights, self.sums, "draw pair, side pair layer d -> side draw layer d")
        count = einsum(weights, self.counts, "draw pair, side pair -> side draw")
        present, absent = total / count[..., None, None]
        return present - absent

    def auroc(self, vector: ist.SteeringVector, layer: int, resamples: int, seed: int) -> Interval:
        """How well the mean projection of a prompt on a direction tells the sides apart."""
        unit = vector.at(layer).unit.double()
        row = self.vector.layers.index(layer)
        along = einsum(self.sums[:, :, row], unit, "side pair d, d -> side pair")
        present, absent = along / self.counts
        return discrimination(present, absent, seed=seed, n_resamples=resamples).auroc


def _by_prompt(
    side: ist.Moments,
) -> tuple[Float64[Tensor, "pair layer d_model"], Float64[Tensor, " pair"]]:
    assert side.rows is not None
    rows = torch.stack([side.rows.values[site].double() for site in side.sites], dim=1)
    sums = rows.new_zeros(side.prompts, *rows.shape[1:]).index_add(0, side.rows.prompt, rows)
    return sums, torch.bincount(side.rows.prompt, minlength=side.prompts).double()


@dataclass(frozen=True, eq=False)
class Moved:
    """The vectors of one instruction in both models, read at one place."""

    source: BothSides
    """In the source, of the fit split."""
    own: BothSides
    """In the target, of the fit split."""
    held: BothSides
    """In the target, of the test split."""

    @classmethod
    def of(
        cls, source: ist.HookedLM, target: ist.HookedLM, pairs: ist.ContrastSet, read: str
    ) -> Moved:
        """Read both models.

        Args:
            source: where the vector comes from.
            target: where it goes.
            pairs: of the instruction, with their splits.
            read: where; see :class:`analyses.kit.operations.SteeringSpec`.
        """
        return cls(
            BothSides.of(source, pairs.fit, read),
            BothSides.of(target, pairs.fit, read),
            BothSides.of(target, pairs.test, read),
        )

    def ceiling(self, seed: int) -> dict[int, Interval]:
        """The AUROC of the target's own vector on held-out pairs, by layer."""
        own = self.own.vector
        return {layer: self.held.auroc(own, layer, RESAMPLES, seed) for layer in own.layers}

    def scores(
        self, made: ResidualMap, random: Sequence[ResidualMap], *, draws: int, seed: int
    ) -> Iterator[Score]:
        """Cosine with the target's own vector, and AUROC on held-out pairs, layer by layer.

        Args:
            made: a map to every layer of the target.
            random: controls, whose numbers are averaged.
            draws: bootstrap draws of the pairs, for the interval of the cosine.
            seed: of all draws.
        """
        own, there = self.own.resampled(draws, seed), self.source.resampled(draws, seed)
        pairs = self.own.counts.shape[1]
        vector, controls = (made(self.source.vector), [one(self.source.vector) for one in random])
        cosines, *by_chance = (one.cosine(self.own.vector).tolist() for one in (vector, *controls))
        for row, (here, layer) in enumerate(made.layers):
            moved = einsum(there[:, here], made.weights[row].double(), "draw s, s t -> draw t")
            turned = torch.cosine_similarity(moved, own[:, layer], dim=-1)
            yield (
                "mapped",
                "cosine",
                layer,
                normal_interval(cosines[row], turned, pairs, (-1.0, 1.0)),
            )
            yield "mapped", "auroc", layer, self.held.auroc(vector, layer, RESAMPLES, seed)
            if controls:
                aurocs = [self.held.auroc(one, layer, 1, seed).value for one in controls]
                chance = [each[row] for each in by_chance]
                yield "random map", "cosine", layer, bootstrap(chance, seed=seed)
                yield "random map", "auroc", layer, bootstrap(aurocs, seed=seed)
