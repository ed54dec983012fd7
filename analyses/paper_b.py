"""Paper B in full: every experiment of Scalena et al. (2024) on one model, and one report.

The schedules and strengths of language steering, the Italian benchmarks, what is retained of
English, several properties and several languages at once, other ways to adapt a model on the same
examples, and prompts outside of benchmarks. Each experiment is an analysis of its own and leaves
its own results folder. The report, one page that opens with no network, is
``<results>/paper_b/report.html``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import interp_steer as ist
from analyses.kit.parts import perform
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
"""In the order of the report."""

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
"""What of each experiment's summary stands in the summary of the whole."""


@dataclass(frozen=True)
class Config:
    """What is steered; the sizes are each analysis' own."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    data: str | None = None
    """A folder of parallel answers; the bundled world when not given."""
    positive: str = "it-it"
    """Languages of the questions and answers that are steered to."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate and garbled answers."""
    ray: str | None = None
    """The ray cluster that answers; see layer_sweep."""


def main(config: Config, run: ist.Run) -> None:
    """Run the experiments one after the other, and gather them into one page."""
    own: dict[Any, dict[str, Any]] = {analysis: {} for analysis in EXPERIMENTS}
    perform(run, config, own, HEADLINES, f"Language steering of {config.model}")
