"""Records to figures: each function takes frames and returns a `Drawing` with its caption."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from figures.answer_steps import answer_steps
from figures.bars import instruction_bars, settings_bars
from figures.benchmarks import benchmark_table
from figures.completions import completions_table
from figures.contributions import head_values, interval_curves, share_bars
from figures.cosines import language_cosines
from figures.costs import adaptation_shares, benefit_against_cost
from figures.counts import sentence_curves
from figures.curves import layer_curve
from figures.damage import damage_scatter
from figures.dose_map import dose_map
from figures.doses import dose_boxes, dose_curve, dose_density
from figures.drawing import Drawing, FigureError
from figures.embedding import embedding_map
from figures.examples import examples_curve
from figures.heads import head_map
from figures.interference import interference_map
from figures.layer_tokens import layer_tokens
from figures.pareto import pareto
from figures.projection_text import projection_text
from figures.projections import layer_cosines, projection_violins
from figures.propagation import layer_quantity, lens_tokens
from figures.quality import quality_deltas, quality_histogram
from figures.radar import settings_radar
from figures.retention import retention_bars
from figures.schedules import schedule_curves
from figures.selection import selection_map
from figures.similarity import similarity_by_layer, similarity_map
from figures.steps import step_curves
from figures.strength_text import strength_text
from figures.switching import switch_curves
from figures.table import accuracy_table
from figures.tokens import token_table
from figures.vector_norms import vector_norms
from figures.weights import weight_curves

if TYPE_CHECKING:
    from figures.gallery import write_gallery as write_gallery
    from figures.report import write_report as write_report

__all__ = [
    "Drawing",
    "FigureError",
    "accuracy_table",
    "adaptation_shares",
    "answer_steps",
    "benchmark_table",
    "benefit_against_cost",
    "completions_table",
    "damage_scatter",
    "dose_boxes",
    "dose_curve",
    "dose_density",
    "dose_map",
    "embedding_map",
    "examples_curve",
    "head_map",
    "head_values",
    "instruction_bars",
    "interference_map",
    "interval_curves",
    "language_cosines",
    "layer_cosines",
    "layer_curve",
    "layer_quantity",
    "layer_tokens",
    "lens_tokens",
    "pareto",
    "projection_text",
    "projection_violins",
    "quality_deltas",
    "quality_histogram",
    "retention_bars",
    "schedule_curves",
    "selection_map",
    "sentence_curves",
    "settings_bars",
    "settings_radar",
    "share_bars",
    "similarity_by_layer",
    "similarity_map",
    "step_curves",
    "strength_text",
    "switch_curves",
    "token_table",
    "vector_norms",
    "weight_curves",
    "write_gallery",
    "write_report",
]

# Modules that are commands too are imported when they are used, so that running one runs it alone.
_HOMES = {"write_gallery": "figures.gallery", "write_report": "figures.report"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
