"""Geometry in full: where a direction is, what becomes of it, whether to trust it, and one report.

Heads and layers, what becomes of a direction downstream, many properties together, how stable a
vector is, whether its property is linear, whether the model uses it, models of several sizes, and
vectors carried from one architecture to another. Each is an analysis of its own and leaves its own
results folder. The report, one page that opens with no network, is
``<results>/all_geometry/report.html``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import interp_steer as ist
from analyses.geometry import (
    causality,
    cross_architecture,
    head_geometry,
    layer_geometry,
    linearity,
    model_scale,
    propagation,
    stability,
    subspaces,
)
from analyses.kit.parts import run_experiments

ANALYSES = (
    layer_geometry,
    head_geometry,
    propagation,
    subspaces,
    stability,
    linearity,
    causality,
    model_scale,
    cross_architecture,
)
"""In the order of the report."""

HEADLINES = {
    "head_geometry": ("auroc.best.", "share."),
    "stability": ("cosine.", "phrasing.", "rejected."),
    "linearity": ("obeys.kl.difference_in_means", "gain."),
    "causality": ("necessity.strict.component.layer.", "sufficiency.strict.steer.layer."),
    "cross_architecture": ("sound.",),
}
"""What of each analysis' summary stands in the summary of the whole."""


@dataclass(frozen=True)
class Config:
    """What is looked at; properties and sizes are each analysis' own."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    target: str = "burattino-gemma"
    """The model that its vectors are carried to."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers."""


def main(config: Config, run: ist.Run) -> None:
    """Run the analyses one after the other, and gather them into one page."""
    run_experiments(run, config, own_fields(config), HEADLINES, f"Geometry of {config.model}")


def own_fields(config: Config) -> dict[Any, dict[str, Any]]:
    """What is said to each analysis alone: where vectors are carried, the model is the source."""
    own: dict[Any, dict[str, Any]] = {analysis: {} for analysis in ANALYSES}
    own[cross_architecture] = {"model": config.target, "source": config.model}
    return own
