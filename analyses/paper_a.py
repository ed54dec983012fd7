"""Run every experiment of paper A, Stolfo et al. (2025), on one model, and write one report.

Each experiment is an analysis that leaves its own results folder. Answers that several experiments
need are generated once. The report is ``<results>/paper_a/report.html``, a page that opens without
a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import interp_steer as ist
from analyses.instructions import (
    composition,
    cross_model,
    format_steering,
    instruction_table,
    layer_sweep,
    length_steering,
    response_quality,
    sentence_steering,
    similarity,
    vocabulary,
    word_steering,
)
from analyses.kit.answer_options import AnswerOptions
from analyses.kit.instruction_sets import FORMATS
from analyses.kit.parts import run_experiments

HEADLINES: dict[str, tuple[str, ...]] = {
    "format_steering": ("accuracy.", "kl.", "gain.", "mcnemar_p."),
    "length_steering": ("monotone_doses.",),
    "sentence_steering": ("sentences.", "mcnemar_p."),
    "word_steering": ("accuracy.", "mcnemar_p."),
    "composition": ("kept.at_least_0.8", "all_of_"),
    "cross_model": ("accuracy.", "mcnemar_p."),
    "response_quality": ("quality.",),
}
"""For each experiment, the beginnings of the names of the summary values that the summary of the
whole repeats."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """Size of the experiments; with the defaults they take 19 minutes on two cores."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    base: str = "burattino-base"
    """Base of the model, on which the vectors of the model are tried."""
    models: tuple[str, ...] = ("burattino-instruct", "burattino-gemma")
    """The models of the table."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the format instructions."""
    data: str | None = None
    """Source of IFEval's prompts for the test split; see layer_sweep."""
    operations: tuple[str, ...] = (
        "project",
        "project@generated",
        "generated/add:2@generated",
    )
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    search: Literal["whole", "early", "race"] = "race"
    """How the search for layers saves work; see layer_sweep."""
    judge: str = "world"
    """Judge of the quality of answers; see response_quality."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    n_select: int = 24
    """Prompts on which each layer is tried."""
    n_test: int = 24
    """Prompts in the test split, on which results are reported."""
    max_new_tokens: int = 112
    """Maximum number of new tokens per answer."""


def main(config: Config, run: ist.Run) -> None:
    """Run the experiments one after the other, and gather them into one page."""
    # The defaults of format_steering, so that its answers are the ones that are judged and tabled.
    controlled = {field: getattr(format_steering.Config, field) for field in ("draws", "controls")}
    own: dict[Any, dict[str, Any]] = {
        similarity: {},
        layer_sweep: {"operations": ("project",), "search": "whole", "n_select": 10},
        format_steering: {},
        length_steering: {"max_new_tokens": 224},
        sentence_steering: {"max_new_tokens": 224, "n_select": 12},
        word_steering: {"n_fit": 20, "n_select": 16, "n_test": 48},
        composition: {"instruction": composition.Config.instruction},
        cross_model: {
            "model": config.base,
            "sibling": config.model,
            "operations": cross_model.Config.operations,
            "n_select": cross_model.Config.n_select,
        },
        response_quality: controlled,
        vocabulary: {},
        instruction_table: controlled,
    }
    run_experiments(run, config, own, HEADLINES, f"Instruction steering of {config.model}")
