"""Read steering vectors through the unembedding: the logit lens (Stolfo et al. 2025).

The unit direction of each instruction at each layer is multiplied by the unembedding, as if it were
the residual stream that the model's head reads. The tokens that the direction raises and lowers
most are listed, in standard deviations over the whole vocabulary. A random direction of the same
norm shows how large the largest of so many values are by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.instruction_sets import FORMATS, contrast_sets
from interp_steer.geometry import cosines


@dataclass(frozen=True)
class Config:
    """Options of the logit lens."""

    model: str = "burattino-instruct"
    """Model to read: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions whose vectors are read."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    top: int = 10
    """Number of tokens listed on either side."""
    layer: int | None = None
    """Layer of the figure. Default: three quarters up the model."""


def main(config: Config, run: ist.Run) -> None:
    """Fit each vector, multiply it by the unembedding, and list the tokens."""
    model = ist.load(config.model)
    run.used(model)
    frames = []
    for name in tqdm(config.instruction, desc="vocabulary", unit="instruction", disable=None):
        pairs = contrast_sets([name], run.seed, fit=config.n_fit)[name].fit
        vector = ist.fit(model, pairs, options=ist.capture.CaptureOptions(checkpoint=run.partial))
        run.used(pairs)
        run.leave(vector, name=name)
        for setting, direction in (("vector", vector), ("random", vector.like_random(run.seed))):
            scores = cosines.vocabulary(model, direction, config.top)
            frames.append(
                scores.with_columns(
                    pl.lit(name).alias("instruction"), pl.lit(setting).alias("setting")
                )
            )
    records = pl.concat(frames)
    run.write_records(records)
    layer = 3 * model.n_layers // 4 if config.layer is None else config.layer
    largest = records.filter((pl.col("layer") == layer) & (pl.col("rank") == 1))
    for (setting,), rows in largest.group_by("setting", maintain_order=True):
        run.leave(summary={f"largest_score.{setting}": float(rows["score"].abs().mean())})  # type: ignore[arg-type]
    run.leave(summary={"layer": layer, "instructions": len(config.instruction)})
    shown = records.filter((pl.col("layer") == layer) & (pl.col("setting") == "vector"))
    run.draw("tokens", figures.token_table(shown))
