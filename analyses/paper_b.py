"""Run every experiment of paper B, Scalena et al. (2024), on one model, and write one report.

The experiments are: schedules and strengths of language steering, Italian benchmarks, retained
English abilities, several properties and several languages at once, other ways to adapt a model to
the same examples, and prompts outside of benchmarks. Each experiment is an analysis that leaves its
own results folder. The report is ``<results>/paper_b/report.html``, a page that opens without a
network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import interp_steer as ist
from analyses.kit.parts import run_experiments
from analyses.languages import (
    adaptation_baselines,
    creative_tasks,
    dynamic_composition,
    language_benchmarks,
    language_steering,
    language_switching,
    retention,
)

EXPERIMENTS = (
    language_steering,
    language_benchmarks,
    retention,
    dynamic_composition,
    language_switching,
    adaptation_baselines,
    creative_tasks,
)
"""The experiments, in the order of the report."""

HEADLINES: dict[str, tuple[str, ...]] = {
    "language_steering": (
        "in_language.",
        "kept.",
        "garbled.",
        "best_in_language.",
        "examples_needed.",
    ),
    "language_benchmarks": ("accuracy.", "in_language."),
    "retention": ("accuracy.",),
    "adaptation_baselines": ("in_language.",),
    "language_switching": ("in_language.",),
}
"""For each experiment, the beginnings of the names of the summary values that the summary of the
whole repeats."""


@dataclass(frozen=True)
class Config:
    """Options that all experiments share. The sizes are the defaults of each analysis."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    data: str | None = None
    """Folder of parallel answers. Default: the bundled world."""
    positive: str = "it-it"
    """Languages of the questions and answers to steer towards."""
    reference: str = "burattino-base"
    """Model whose perplexity shows which answers are degenerate or garbled."""
    ray: str | None = None
    """Ray cluster that generates the answers; see layer_sweep."""


def main(config: Config, run: ist.Run) -> None:
    """Run the experiments one after the other, and gather them into one page."""
    own: dict[Any, dict[str, Any]] = {analysis: {} for analysis in EXPERIMENTS}
    run_experiments(run, config, own, HEADLINES, f"Language steering of {config.model}")
