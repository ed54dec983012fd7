"""What a vector writes to the vocabulary: the logit lens on steering vectors (Stolfo et al. 2025).

The unit direction of each instruction at each layer is multiplied by the unembedding, as if it were
the residual stream that the model's head reads. The tokens that it raises and lowers most are
listed, in standard deviations over the whole vocabulary; a random direction of the same norm shows
how large the largest of so many numbers are by chance.
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
    """What is read."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions whose vectors are read."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    top: int = 10
    """Tokens listed on either side."""
    layer: int | None = None
    """Layer of the figure; three quarters up the model when not given."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, multiply by the unembedding, list."""
    model = ist.load(config.model)
    run.used(model)
    frames = []
    for name in tqdm(config.instruction, desc="vocabulary", unit="instruction", disable=None):
        pairs = contrast_sets([name], run.seed, fit=config.n_fit)[name].fit
        vector = ist.fit(model, pairs, options=ist.capture.CaptureOptions(checkpoint=run.partial))
        run.used(pairs)
        run.leave(vector, name=name)
        for setting, one in (("vector", vector), ("random", vector.like_random(run.seed))):
            found = cosines.vocabulary(model, one, config.top)
            frames.append(
                found.with_columns(
                    pl.lit(name).alias("instruction"), pl.lit(setting).alias("setting")
                )
            )
    records = pl.concat(frames)
    run.write_records(records)
    layer = 3 * model.n_layers // 4 if config.layer is None else config.layer
    at = records.filter((pl.col("layer") == layer) & (pl.col("rank") == 1))
    for (setting,), rows in at.group_by("setting", maintain_order=True):
        run.leave(summary={f"largest_score.{setting}": float(rows["score"].abs().mean())})  # type: ignore[arg-type]
    run.leave(summary={"layer": layer, "instructions": len(config.instruction)})
    drawn = records.filter((pl.col("layer") == layer) & (pl.col("setting") == "vector"))
    run.draw("tokens", figures.token_table(drawn))
