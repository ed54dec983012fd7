"""Records to figures: each function takes frames and returns a `Drawing` with its caption."""

from figures.bars import instruction_bars, settings_bars
from figures.completions import completions_table
from figures.counts import sentence_curves
from figures.curves import layer_curve
from figures.damage import damage_scatter
from figures.doses import dose_boxes, dose_curve
from figures.drawing import Drawing, FigureError
from figures.interference import interference_map
from figures.report import write_report
from figures.selection import selection_map
from figures.similarity import similarity_by_layer, similarity_map
from figures.tokens import token_table

__all__ = [
    "Drawing",
    "FigureError",
    "completions_table",
    "damage_scatter",
    "dose_boxes",
    "dose_curve",
    "instruction_bars",
    "interference_map",
    "layer_curve",
    "selection_map",
    "sentence_curves",
    "settings_bars",
    "similarity_by_layer",
    "similarity_map",
    "token_table",
    "write_report",
]
