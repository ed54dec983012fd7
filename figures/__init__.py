"""Draw figures from records: each function takes frames and returns a `Drawing` with its caption.

May import from `interp_steer`, and not from `analyses`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from figures.geometry.contributions import head_values, interval_curves, share_bars
from figures.geometry.embedding_map import embedding_map
from figures.geometry.head_map import head_map
from figures.geometry.projection_text import projection_text
from figures.geometry.projections import layer_cosines, projection_violins
from figures.geometry.propagation import layer_quantity, lens_tokens
from figures.geometry.similarity import similarity_by_layer, similarity_map
from figures.geometry.token_table import layer_tokens, token_table
from figures.geometry.vector_norms import vector_norms
from figures.languages.adaptation_costs import adaptation_shares, benefit_against_cost
from figures.languages.answer_steps import answer_steps
from figures.languages.benchmark_table import benchmark_table
from figures.languages.examples_curve import examples_curve
from figures.languages.language_cosines import language_cosines
from figures.languages.retention_bars import retention_bars
from figures.languages.schedule_curves import schedule_curves
from figures.languages.step_curves import step_curves
from figures.languages.strength_text import strength_text
from figures.languages.switch_curves import switch_curves
from figures.steering.accuracy_table import accuracy_table
from figures.steering.bars import instruction_bars, settings_bars
from figures.steering.completions import completions_table
from figures.steering.damage_scatter import damage_scatter
from figures.steering.dose_map import dose_map
from figures.steering.dose_response import dose_boxes, dose_curve, dose_density
from figures.steering.interference_map import interference_map
from figures.steering.judged_quality import quality_deltas, quality_histogram
from figures.steering.layer_choice import selection_map
from figures.steering.layer_curve import layer_curve
from figures.steering.pareto import pareto
from figures.steering.radar import settings_radar
from figures.steering.sentence_curves import sentence_curves
from figures.steering.weight_curves import weight_curves
from figures.style.drawing import Drawing
from interp_steer.errors import FigureError

if TYPE_CHECKING:
    from figures.pages.gallery import write_gallery as write_gallery
    from figures.pages.report import write_report as write_report

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
_HOMES = {"write_gallery": "figures.pages.gallery", "write_report": "figures.pages.report"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
