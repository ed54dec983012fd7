"""Compare last-token activations of prompts that share an instruction (Stolfo et al. 2025).

At each layer, cosine similarities of the residual stream at the last prompt token are measured
between (a) prompts with the same instruction and different queries, (b) one query with and without
the instruction, and (c) different queries without any instruction. Where (a) exceeds (c), the
instruction leaves a trace that does not depend on the query, and a difference in means can find it.
The map compares the steering vectors of all instructions at one layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

import figures
import interp_steer as ist
from analyses.kit.instruction_sets import FORMATS, contrast_sets
from interp_steer.geometry import cosines
from interp_steer.statistics import bootstrap
from interp_steer.vectors import difference_in_means


@dataclass(frozen=True)
class Config:
    """Options of the comparison."""

    model: str = "burattino-instruct"
    """Model to read: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions to compare."""
    n: int = 50
    """Queries per instruction."""
    layer: int | None = None
    """Layer of the map between instructions. Default: the middle of the model."""


def main(config: Config, run: ist.Run) -> None:
    """Capture both sides of every contrast set, compare rows layer by layer, and draw the map."""
    model = ist.load(config.model)
    run.used(model)
    frames, vectors = [], []
    for instruction in config.instruction:
        pairs = contrast_sets([instruction], run.seed, fit=config.n)[instruction].fit
        run.used(pairs)
        present = ist.capture.capture_moments(model, pairs.present, keep_rows=True)
        absent = ist.capture.capture_moments(model, pairs.absent, keep_rows=True)
        vectors.append(
            difference_in_means(present, absent, name=pairs.name, data_hash=pairs.hash, model=model)
        )
        frames.append(_similarities(instruction, present, absent))
    frame = pl.concat(frames)
    run.write_records(frame)

    layer = model.n_layers // 2 if config.layer is None else config.layer
    matrix = cosines.cosine_map(vectors, layer)
    at_layer = frame.filter(pl.col("layer") == layer)
    run.leave(
        summary={
            f"cosine.{kind}": bootstrap(rows["cosine"].to_list(), seed=run.seed)
            for (kind,), rows in at_layer.group_by("comparison", maintain_order=True)
        }
        | {"layer": layer, "instructions": len(vectors)}
    )
    run.draw("similarity_by_layer", figures.similarity_by_layer(frame))
    run.draw(
        "similarity_map", figures.similarity_map(matrix.numpy(), list(config.instruction), layer)
    )


def _similarities(instruction: str, present: ist.Moments, absent: ist.Moments) -> pl.DataFrame:
    """Return the mean cosine of each comparison at each layer, with a bootstrap interval."""
    assert present.rows is not None and absent.rows is not None
    records = []
    for site in present.sites:
        h, without = present.rows.values[site], absent.rows.values[site]
        comparisons = {
            "same instruction": cosines.cosine_to_others(h),
            "same query": cosines.cosine_of_pairs(h, without),
            "different queries": cosines.cosine_to_others(without),
        }
        for comparison, values in comparisons.items():
            mean = bootstrap(values.tolist(), n_resamples=500)
            records.append(
                {
                    "instruction": instruction,
                    "layer": site.layer,
                    "comparison": comparison,
                    "cosine": mean.value,
                    "low": mean.low,
                    "high": mean.high,
                }
            )
    return pl.DataFrame(records)
