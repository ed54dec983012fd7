"""Draw every figure that the tests of figures need, once, in the form of plotly's JSON."""

from __future__ import annotations

import copy
import json
from functools import cache

import numpy as np
import plotly.io
import polars as pl

from analyses.instructions.instruction_table import frame, lines_of
from figures.geometry.contributions import head_values, share_bars
from figures.geometry.embedding_map import embedding_map
from figures.geometry.model_curves import model_curves
from figures.geometry.pair_shifts import pair_shifts
from figures.geometry.projection_text import projection_text
from figures.geometry.projections import layer_cosines, projection_violins
from figures.geometry.propagation import layer_quantity, lens_tokens
from figures.geometry.reliability import cosines_by_number
from figures.geometry.similarity import similarity_map
from figures.geometry.token_table import layer_tokens
from figures.geometry.vector_norms import vector_norms
from figures.languages.answer_steps import answer_steps
from figures.steering.accuracy_table import accuracy_table
from figures.steering.bars import instruction_bars
from figures.steering.damage_scatter import damage_scatter
from figures.steering.dose_map import dose_map
from figures.steering.dose_response import dose_density
from figures.steering.interference_map import interference_map
from figures.steering.pareto import pareto
from figures.steering.radar import settings_radar
from figures.steering.weight_curves import weight_curves
from figures.style.drawing import Drawing
from figures.style.interval_dots import interval_dots
from figures.style.plotly_layout import Figure
from tests.analyses.geometry import test_cross_architecture, test_model_scale
from tests.analyses.instructions import test_response_quality
from tests.figures import test_figures
from tests.figures.languages import test_language_figures
from tests.geometry import test_exchange
from tests.support.synthetic import radar_frame, settings_frame, settings_records, weights_frame


def labelled_map(labels: int) -> Drawing:
    """Draw a map of points with a given number of labels."""
    rng = np.random.default_rng(0)
    rows = [
        {"x": float(x), "y": float(y), "label": f"detectable_format_{at}"}
        for at in range(labels)
        for x, y in rng.normal(at, 1, (8, 2))
    ]
    return embedding_map(pl.DataFrame(rows))


def schedules_in_bars() -> Drawing:
    """Draw bars of schedules and of settings."""
    renamed = {"steered": "fixed", "random": "dynamic(0.5)", "both": "diminishing(30)"}
    records = settings_records(2).with_columns(pl.col("setting").replace(renamed))
    return instruction_bars(records)


def search_scatter() -> Drawing:
    """Draw accuracy against damage, for a search over layers and weights of two tasks."""
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


def layer_frame(panels: int = 3) -> pl.DataFrame:
    """Return a number against the layer, of vectors and of random directions, by strength."""
    rows = [
        {
            "instruction": f"change_case:instruction_{panel}",
            "layer": layer,
            "setting": setting,
            "strength": strength,
            "value": strength * (layer if setting == "vector" else 0.3) / 6,
            "low": strength * layer / 6 - 0.3,
            "high": strength * layer / 6 + 0.3,
        }
        for panel in range(panels)
        for setting in ("vector", "random")
        for strength in (0.5, 1.0, 2.0)
        for layer in range(6)
    ]
    return pl.DataFrame(rows)


def head_frame(panels: int = 2, name: str = "instruction") -> pl.DataFrame:
    """Return a number of every head, with its interval."""
    rng = np.random.default_rng(1)
    rows = [
        {"panel": f"{name} {panel}", "layer": layer, "head": head, "auroc": value,
         "low": value - 0.1, "high": value + 0.1}
        for panel in range(panels) for layer in range(8) for head in range(8)
        for value in [float(rng.uniform(0.2, 1))]
    ]  # fmt: skip
    return pl.DataFrame(rows)


def writer_frame() -> pl.DataFrame:
    """Return the shares of a direction that embedding, attention and MLPs write."""
    rows = [
        {"panel": panel, "layer": layer, "writer": writer, "share": share, "low": share - 0.05,
         "high": share + 0.05}
        for panel in ("english lowercase", "json format") for layer in range(6)
        for writer, share in (("embedding", 0.2), ("attention", 0.5), ("mlp", 0.3))
    ]  # fmt: skip
    return pl.DataFrame(rows)


def violins_of_sides() -> Drawing:
    """Draw both sides of two sets on their directions."""
    rng = np.random.default_rng(2)
    rows = [
        {"instruction": name, "layer": layer, "side": side, "scaled": float(value)}
        for name in ("change_case:english_lowercase", "punctuation:no_comma")
        for layer in range(8)
        for side, middle in (("absent", 0.0), ("present", 1.0))
        for value in rng.normal(middle, 0.3, 20)
    ]
    frame = pl.DataFrame(rows)
    overlaps = frame.select("instruction", "layer").unique(maintain_order=True)
    return projection_violins(frame, overlaps.with_columns(pl.lit(0.1).alias("value")))


def cosines_between_layers() -> Drawing:
    """Draw the cosine of every two layers."""
    rows = [
        {"instruction": "x", "layer_a": a, "layer_b": b, "cosine": 1 - 0.1 * abs(a - b)}
        for a in range(8)
        for b in range(8)
    ]
    return layer_cosines(pl.DataFrame(rows))


def interference() -> Drawing:
    """Draw the effect of each vector and every two vectors on three properties."""
    names = ["change_case:english_capital", "detectable_format:json_format", "startend:quotation"]
    vectors = ["none", *names, f"{names[0]} + {names[1]}", f"{names[1]} + {names[2]}"]
    rows = [
        {"vectors": vector, "property": name, "share": 0.9 if name in vector else 0.05}
        for vector in vectors
        for name in (*names, "degenerate")
    ]
    return interference_map(pl.DataFrame(rows), names)


def many_names() -> Drawing:
    """Draw a map of as many vectors as the suite has instructions."""
    names = [f"detectable_format:a_rather_long_name_{at}" for at in range(17)]
    return similarity_map(np.eye(17), names, layer=4)


def lens_frame() -> pl.DataFrame:
    """Return the tokens that rise under the logit lens at each layer."""
    rows = [
        {"layer": layer, "side": "raised", "rank": rank, "token": token, "score": 9.0 - rank}
        for layer in range(8)
        for rank, token in enumerate((" the", "<|assistant|>", " chocolate", "\n"), start=1)
    ]
    return pl.DataFrame(rows)


def sweep_map(
    layers: int = 8, strengths: tuple[float, ...] = (-1.0, 0.5, 1.0, 2.0, 4.0)
) -> Drawing:
    """Draw a share at each layer and strength, with one cell that is not measured yet."""
    rows = [
        {"layer": layer, "strength": strength, "value": n / 12, "n": 12,
         "low": max(0.0, n / 12 - 0.2), "high": min(1.0, n / 12 + 0.2)}
        for layer in range(layers) for strength in strengths
        for n in [(layer * 3 + round(strength * 2)) % 13]
    ]  # fmt: skip
    return dose_map(
        pl.DataFrame(rows[:-1]), "follow the instruction", unit="norm", chosen=(2, 1.0), plain=0.1
    )


def answer_tokens(markup: str = "<b>") -> pl.DataFrame:
    """Return the tokens of two answers with projections; one token contains markup."""
    words = ["Once", " upon", " a", " time", ",", markup, " 城", "\n", " ", " there", " was"] * 4
    rows = [
        {"answer_id": name, "step": step, "token": token, "projection": sign * np.sin(step / 4)}
        for name, sign in (("unsteered", 1.0), ("steered", -2.0))
        for step, token in enumerate(words)
    ]
    return pl.DataFrame(rows)


def steps_of_an_answer(properties: int = 2) -> Drawing:
    """Draw one answer under several properties."""
    rows = [
        {"step": step, "token": f" token{step}", "property": f"english_lowercase_{at}",
         "strength": 2.0 * (at + 1) * max(0.0, 1 - step / 20), "kl": 2.0 / (step + 1)}
        for at in range(properties) for step in range(40)
    ]  # fmt: skip
    return answer_steps(pl.DataFrame(rows))


def dots_of_settings(panels: int, settings: tuple[str, ...]) -> Drawing:
    """Draw estimates of seven labels under each setting, in a given number of panels."""
    rows = [
        (f"way {at} of steering", f"property {panel}", setting, 0.1 * at, 0.1 * at - 0.1, 1.0)
        for panel in range(panels) for setting in settings for at in range(7)
    ]  # fmt: skip
    columns = ["label", "panel", "setting", "value", "low", "high"]
    return interval_dots(pl.DataFrame(rows, schema=columns, orient="row"), "share of answers")


def shifts_of_pairs(panels: int) -> Drawing:
    """Draw pairs that share a shift, and spread along another axis."""
    rows = [
        (f"property {panel}", 1 + 0.2 * np.sin(at), 0.6 * np.cos(3 * at))
        for panel in range(panels) for at in range(40)
    ]  # fmt: skip
    return pair_shifts(pl.DataFrame(rows, schema=["panel", "shift", "spread"], orient="row"))


def cosines_by_pairs() -> Drawing:
    """Draw cosines against the number of pairs, for three instructions."""
    rows = [
        (n, 1 - 0.4 / n, 1 - 0.8 / n, 1.0, series, f"detectable_format:{name}")
        for series in ("with the vector of all such pairs", "foretold by 64 pairs")
        for n in (1, 2, 4, 8, 16, 32, 64)
        for name in ("title", "json_format", "multiple_sections")
    ]
    columns = ["pairs", "value", "low", "high", "series", "instruction"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return cosines_by_number(frame, "pairs", "pairs", about="Of 200 draws.")


def main_table() -> Drawing:
    """Draw the main table of two models."""
    records = settings_records(3)
    models = ("burattino-instruct", "microsoft/Phi-3-mini-4k-instruct")
    return accuracy_table(pl.concat([frame(lines_of(records, model), model) for model in models]))


DRAWINGS = {
    **test_figures.DRAWINGS,
    **test_language_figures.DRAWINGS,
    **test_response_quality.DRAWINGS,
    "embedding": lambda: labelled_map(12),
    "schedules_in_bars": schedules_in_bars,
    "damage": search_scatter,
    "quantity": lambda: layer_quantity(layer_frame(), "share kept", about="Of 12 prompts."),
    "quantity_alone": lambda: layer_quantity(layer_frame(1), "share kept", about="Of 12 prompts."),
    "heads_auroc": lambda: head_values(head_frame(), "auroc", "AUROC", middle=0.5, reach=0.5),
    "heads_ragged": lambda: head_values(
        head_frame(3, "long names of instructions, and another"), "auroc", "AUROC", middle=0.5
    ),
    "writers": lambda: share_bars(writer_frame()),
    "violins": violins_of_sides,
    "between_layers": cosines_between_layers,
    "interference": interference,
    "many_names": many_names,
    "lens": lambda: lens_tokens(lens_frame()),
    "read_by_layer": lambda: layer_tokens(lens_frame(), "english_lowercase"),
    "dose_map": sweep_map,
    "vector_norms": lambda: vector_norms(
        range(8), [1.5**k for k in range(8)], [0.4 * k for k in range(8)], n=64, name="lowercase"
    ),
    "projection_text": lambda: projection_text(
        answer_tokens(), middle=0.5, target=2.0, along="lowercase at layer 5"
    ),
    "answer_steps": steps_of_an_answer,
    "answer_steps_alone": lambda: steps_of_an_answer(1),
    "dots": lambda: dots_of_settings(2, ("moved as far", "at equal divergence")),
    "dots_alone": lambda: dots_of_settings(1, ("vector",)),
    "shifts": lambda: shifts_of_pairs(2),
    "shifts_alone": lambda: shifts_of_pairs(1),
    "main_table": main_table,
    "radar": lambda: settings_radar(radar_frame()),
    "density": lambda: dose_density(test_figures.dose_frame(), "words"),
    "pareto": lambda: pareto(settings_frame()),
    "weights": lambda: weight_curves(weights_frame()),
    "dots_cut": lambda: interval_dots(
        test_exchange.effects_frame(), "share of the text's effect", group="group", span=(0.0, 0.7)
    ),
    "models": lambda: model_curves(
        test_model_scale.curves(), "depth", "relative depth", "success", about="Of 24 prompts."
    ),
    "by_number": cosines_by_pairs,
    "moved": test_cross_architecture.drawn,
}


@cache
def _draw_once(name: str) -> tuple[str, str]:
    drawing = DRAWINGS[name]()
    return str(plotly.io.to_json(drawing.figure, engine="json")), drawing.caption


def read_drawing(name: str) -> tuple[Figure, str]:
    """Return a copy of a drawing's figure, and its caption."""
    text, caption = _draw_once(name)
    return copy.deepcopy(json.loads(text)), caption
