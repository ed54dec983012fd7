"""Run all analyses of geometry and gather their figures in one report.

The analyses cover layers, heads, propagation through later layers, several properties together,
stability, linearity, causality, models of several sizes, and transfer between architectures. Each
analysis writes its own results folder. The report is one page that opens without a network:
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
"""The analyses, in the order of the report."""

HEADLINES = {
    "head_geometry": ("auroc.best.", "share."),
    "stability": ("cosine.", "phrasing.", "rejected."),
    "linearity": ("obeys.kl.difference_in_means", "gain."),
    "causality": ("necessity.strict.component.layer.", "sufficiency.strict.steer.layer."),
    "cross_architecture": ("sound.",),
}
"""Prefixes of the numbers that are copied from each analysis' summary."""


@dataclass(frozen=True)
class Config:
    """The models; properties and sample sizes are the defaults of each analysis."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    target: str = "burattino-gemma"
    """Model that the vectors are transferred to."""
    reference: str = "burattino-base"
    """Model whose perplexity detects degenerate answers."""


def main(config: Config, run: ist.Run) -> None:
    """Run the analyses one after another and write the report."""
    run_experiments(run, config, set_own_fields(config), HEADLINES, f"Geometry of {config.model}")


def set_own_fields(config: Config) -> dict[Any, dict[str, Any]]:
    """Return the fields set for single analyses: in the transfer, the model is the source."""
    own: dict[Any, dict[str, Any]] = {analysis: {} for analysis in ANALYSES}
    own[cross_architecture] = {"model": config.target, "source": config.model}
    return own
