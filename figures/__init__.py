"""Records to figures: each function takes frames and returns a `Drawing` with its caption."""

from figures.bars import instruction_bars, settings_bars
from figures.completions import completions_table
from figures.counts import sentence_curves
from figures.curves import layer_curve
from figures.damage import damage_scatter
from figures.doses import dose_boxes, dose_curve, dose_density
from figures.drawing import Drawing, FigureError
from figures.embedding import embedding_map
from figures.interference import interference_map
from figures.pareto import pareto
from figures.quality import quality_deltas, quality_histogram
from figures.radar import settings_radar
from figures.report import write_report
from figures.selection import selection_map
from figures.similarity import similarity_by_layer, similarity_map
from figures.table import accuracy_table
from figures.tokens import token_table
from figures.weights import weight_curves

__all__ = [
    "Drawing",
    "FigureError",
    "accuracy_table",
    "completions_table",
    "damage_scatter",
    "dose_boxes",
    "dose_curve",
    "dose_density",
    "embedding_map",
    "instruction_bars",
    "interference_map",
    "layer_curve",
    "pareto",
    "quality_deltas",
    "quality_histogram",
    "selection_map",
    "sentence_curves",
    "settings_bars",
    "settings_radar",
    "similarity_by_layer",
    "similarity_map",
    "token_table",
    "weight_curves",
    "write_report",
]
