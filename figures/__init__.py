"""Records to figures: each function takes frames and returns a `Drawing` with its caption."""

from figures.bars import instruction_bars, settings_bars
from figures.completions import completions_table
from figures.curves import layer_curve
from figures.drawing import Drawing, FigureError
from figures.report import write_report
from figures.similarity import similarity_by_layer, similarity_map

__all__ = [
    "Drawing",
    "FigureError",
    "completions_table",
    "instruction_bars",
    "layer_curve",
    "settings_bars",
    "similarity_by_layer",
    "similarity_map",
    "write_report",
]
