"""Every drawing that the tests of figures make, drawn once, as plotly's JSON has it."""

from __future__ import annotations

import copy
import json
from functools import cache

import numpy as np
import plotly.io
import polars as pl

from figures.anatomy import Figure
from figures.bars import instruction_bars
from figures.damage import damage_scatter
from figures.drawing import Drawing
from figures.embedding import embedding_map
from tests import test_figures, test_language_figures, test_response_quality
from tests.synthetic import settings_records


def labelled_map(labels: int) -> Drawing:
    """A map of points with so many labels."""
    rng = np.random.default_rng(0)
    rows = [
        {"x": float(x), "y": float(y), "label": f"detectable_format_{at}"}
        for at in range(labels)
        for x, y in rng.normal(at, 1, (8, 2))
    ]
    return embedding_map(pl.DataFrame(rows))


def schedules_in_bars() -> Drawing:
    """Bars in which schedules stand beside settings."""
    renamed = {"steered": "fixed", "random": "dynamic(0.5)", "both": "diminishing(30)"}
    records = settings_records(2).with_columns(pl.col("setting").replace(renamed))
    return instruction_bars(records)


def searched() -> Drawing:
    """Accuracy against damage, of a search over layers and weights of two tasks."""
    rows = [
        {
            "instruction": task,
            "setting": "none" if operation is None else "steered",
            "operation": operation,
            "layer": None if operation is None else layer,
            "strength": None if operation is None else weight,
            "query": f"q{n}",
            "degenerate": n < layer * weight,
            "strict": n < 3 + 2 * weight,
        }
        for task in ("inclusion", "exclusion")
        for operation in (None, "add the vector", "subtract the vector")
        for layer, weight in (((0, 0.0),) if operation is None else ((1, 1.0), (2, 2.0)))
        for n in range(12)
    ]
    return damage_scatter(pl.DataFrame(rows, schema_overrides={"layer": pl.Int64}))


DRAWINGS = {
    **test_figures.DRAWINGS,
    **test_language_figures.DRAWINGS,
    **test_response_quality.DRAWINGS,
    "embedding": lambda: labelled_map(12),
    "schedules_in_bars": schedules_in_bars,
    "damage": searched,
}


@cache
def _drawn(name: str) -> tuple[str, str]:
    drawing = DRAWINGS[name]()
    return str(plotly.io.to_json(drawing.figure, engine="json")), drawing.caption


def drawn(name: str) -> tuple[Figure, str]:
    """A drawing's figure, which is the caller's own, and its caption."""
    text, caption = _drawn(name)
    return copy.deepcopy(json.loads(text)), caption
