"""Paper A in full: every experiment of Stolfo et al. (2025) on one model, and one report.

Each experiment is an analysis of its own and leaves its own results folder; answers that several of
them need are made once. The report, one page that opens with no network, is
``<results>/paper_a/report.html``.
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
from analyses.kit.parts import perform

HEADLINES: dict[str, tuple[str, ...]] = {
    "format_steering": ("accuracy.", "kl.", "gain.", "mcnemar_p."),
    "length_steering": ("monotone_doses.",),
    "sentence_steering": ("sentences.", "mcnemar_p."),
    "word_steering": ("accuracy.", "mcnemar_p."),
    "composition": ("kept.at_least_0.8", "all_of_"),
    "cross_model": ("accuracy.", "mcnemar_p."),
    "response_quality": ("quality.",),
}
"""What of each experiment's summary stands in the summary of the whole."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """The size of the experiments; with the defaults they take 19 minutes on two cores."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    base: str = "burattino-base"
    """The base of the model, which its vectors are tried on."""
    models: tuple[str, ...] = ("burattino-instruct", "burattino-gemma")
    """The models of the table."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the format instructions."""
    data: str | None = None
    """IFEval's prompts to report on; see layer_sweep."""
    operations: tuple[str, ...] = (
        "project",
        "project@generated",
        "generated/add:2@generated",
    )
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    search: Literal["whole", "early", "race"] = "race"
    """Which answers are asked for where layers are chosen; see layer_sweep."""
    judge: str = "world"
    """Who judges the quality of answers; see response_quality."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 24
    """Prompts that each layer is tried on."""
    n_test: int = 24
    """Prompts that are reported."""
    max_new_tokens: int = 112
    """Where an answer is cut."""


def main(config: Config, run: ist.Run) -> None:
    """Run the experiments one after the other, and gather them into one page."""
    # As format_steering has them, so that its answers are those that are judged and tabled.
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
    perform(run, config, own, HEADLINES, f"Instruction steering of {config.model}")
