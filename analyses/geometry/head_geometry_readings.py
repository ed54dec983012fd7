"""Measure the heads of a property: directions, separation, and shares of the residual direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
import torch
from torch import Tensor

import interp_steer as ist
from interp_steer.contrast import ContrastSet
from interp_steer.geometry import Shares, head_projections, head_rows, share_sites, write_shares
from interp_steer.statistics import Separation, measure_separation, normal_interval, resampled_means


@dataclass(frozen=True, eq=False)
class PropertyHeads:
    """The measurements of all heads for one property."""

    vector: ist.SteppedVector
    """A direction for each head, fitted on the fit split."""
    absent: Tensor
    """``[layer, head]``: mean projection of the fit split's prompts without the property."""
    differences: Tensor
    """``[pair, layer, head, d_head]``: differences of the pairs of the fit split."""
    select: Separation
    """Separation of the two sides of the select split by each head."""
    test: Separation
    """Separation of the two sides of the test split by each head."""
    by_chance: Separation
    """Separation of the two sides of the test split along a random direction in each head."""
    shares: Shares
    """Shares of heads, MLPs and the embedding in the residual direction."""

    def heads(self, name: str) -> pl.DataFrame:
        """Return a table with a row for each head."""
        shares = self.shares.sum_by(lambda writer: (writer.layer, writer.head))
        last, norms = self.shares.layers[-1], self.vector.head_norms[0]
        rows = []
        for layer, head in np.ndindex(*norms.shape):
            share = shares.get((last, (layer, head)))
            rows.append(
                {
                    "instruction": name,
                    "layer": layer,
                    "head": head,
                    "norm": float(norms[layer, head]),
                    "auroc": float(self.test.auroc[layer, head]),
                    "low": float(self.test.low[layer, head]),
                    "high": float(self.test.high[layer, head]),
                    "auroc_select": float(self.select.auroc[layer, head]),
                    "auroc_random": float(self.by_chance.auroc[layer, head]),
                    "share": None if share is None else share.value,
                    "share_low": None if share is None else share.low,
                    "share_high": None if share is None else share.high,
                }
            )
        return pl.DataFrame(rows, infer_schema_length=None).cast(
            {"share": pl.Float64, "share_low": pl.Float64, "share_high": pl.Float64}
        )

    def rankings(self) -> dict[str, list[tuple[int, int]]]:
        """Rank the heads by AUROC, norm and share on the fit and select splits, best first."""
        norms = self.vector.head_norms[0].double()
        # Many heads may have an AUROC of 1; among them the longest direction is ranked first.
        scores = {"auroc": self.select.auroc + 1e-6 * norms / norms.max(), "norm": norms}
        if not self.shares.note:
            last = len(self.shares.layers) - 1
            written = torch.zeros_like(norms)
            for column, writer in enumerate(self.shares.writers):
                if writer.kind == "head":
                    written[writer.layer, writer.head] = self.shares.values[last, column]
            scores["share"] = written
        return {
            name: [
                divmod(int(at), score.shape[1]) for at in score.flatten().argsort(descending=True)
            ]
            for name, score in scores.items()
        }


def read_heads(model: ist.HookedLM, pairs: ContrastSet, draws: int, seed: int) -> PropertyHeads:
    """Fit directions on the fit split, and measure every head on the other splits.

    Args:
        model: the model whose heads are read.
        pairs: the pairs of all three splits.
        draws: bootstrap draws of the pairs, for the shares of the residual direction.
        seed: seed of the bootstrap and of the random directions.
    """
    vector = ist.fit_steps(model, pairs, n_steps=1)  # step 0 is the last token of the prompt
    present, absent = (
        ist.capture.capture_moments(model, side, share_sites(model), keep_rows=True)
        for side in (pairs.fit.present, pairs.fit.absent)
    )
    own, random = vector.directions[0], vector.like_random(seed).directions[0]
    rows = {
        split: [
            head_rows(ist.capture.capture_moments(model, side, model.sites("z"), keep_rows=True))
            for side in (getattr(pairs, split).present, getattr(pairs, split).absent)
        ]
        for split in ("select", "test")
    }

    def separate(split: str, directions: Tensor) -> Separation:
        return measure_separation(*(head_projections(side, directions) for side in rows[split]))

    return PropertyHeads(
        vector=vector,
        absent=head_projections(head_rows(absent), own).mean(dim=0),
        differences=head_rows(present) - head_rows(absent),
        select=separate("select", own),
        test=separate("test", own),
        by_chance=separate("test", random),
        shares=write_shares(model, present, absent, draws=draws, seed=seed),
    )


def compare_directions(
    properties: Mapping[str, PropertyHeads], draws: int, seed: int
) -> pl.DataFrame:
    """Return the cosine between the directions of every two properties, head by head."""
    rows = []
    for first, second in combinations(properties, 2):
        sides = [properties[name].differences for name in (first, second)]
        value = torch.cosine_similarity(*(side.mean(dim=0) for side in sides), dim=-1)
        drawn = torch.cosine_similarity(
            *(resampled_means(side, draws, seed) for side in sides), dim=-1
        )
        for layer, head in np.ndindex(*value.shape):
            cosine = normal_interval(
                float(value[layer, head]), drawn[:, layer, head], len(sides[0]), (-1.0, 1.0)
            )
            rows.append((first, second, layer, head, cosine.value, cosine.low, cosine.high))
    columns = ["instruction_a", "instruction_b", "layer", "head", "cosine", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def tabulate_shares(name: str, shares: Shares) -> pl.DataFrame:
    """Return a table with a row for each layer of the direction and each component."""
    rows = [
        (name, layer, writer.kind, writer.layer, writer.head, each.value, each.low, each.high)
        for (layer, writer), each in shares.sum_by(lambda writer: writer).items()
    ] + [
        (name, layer, f"all {part}", None, None, each.value, each.low, each.high)
        for (layer, part), each in shares.sum_by(lambda writer: writer.part).items()
    ]
    schema = {"instruction": pl.String, "layer": pl.Int64, "writer": pl.String}
    schema |= {"source": pl.Int64, "head": pl.Int64}
    schema |= dict.fromkeys(("share", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")
