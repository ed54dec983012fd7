"""Figures of language steering draw what the records say, and their captions name the winner."""
# plotly declares no types for what its figures hold.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import html
import math
import random
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import plotly.io
import polars as pl
import pytest

from figures.geometry.head_map import head_map
from figures.languages.benchmark_table import benchmark_table
from figures.languages.examples_curve import examples_curve
from figures.languages.language_cosines import language_cosines
from figures.languages.retention_bars import retention_bars
from figures.languages.schedule_curves import schedule_curves
from figures.languages.step_curves import step_curves
from figures.languages.strength_text import strength_text
from figures.languages.switch_curves import switch_curves
from figures.printing import export
from figures.style.drawing import interval_text
from figures.style.settings import schedule_looks, setting_looks
from interp_steer.errors import FigureError
from interp_steer.statistics.intervals import share, wilson

STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
SWEPT = ("start", "fixed", "diminishing(30)", "exponential(0.9)")
DYNAMIC = tuple(f"dynamic({p})" for p in (0.5, 0.6, 0.7, 0.95))
PEAKS = {"start": 0.15, "fixed": 0.85, "diminishing(30)": 0.75, "exponential(0.9)": 0.6}
"""Success of each schedule at its best strength, 1.5."""

CELLS = [
    ("none", None, None),
    ("instruction", None, None),
    *[(s, name, at) for s in ("steered", "random") for name in SWEPT for at in STRENGTHS],
    *[("steered", name, 2.0) for name in DYNAMIC],
    ("random", DYNAMIC[0], 2.0),
]
"""Setting, schedule and strength of every cell of a sweep."""


def _rate(setting: str, schedule: str | None, strength: float | None) -> float:
    if setting != "steered" or schedule is None or strength is None:
        return {"instruction": 0.5, "random": 0.03}.get(setting, 0.0)
    if schedule in DYNAMIC:
        return 0.25 if schedule == DYNAMIC[-1] else 0.7
    return PEAKS[schedule] * max(0.1, 1 - 0.2 * abs(strength - 1.5))


def sweep(languages: tuple[str, ...] = ("it",), queries: int = 24, seed: int = 0) -> pl.DataFrame:
    """A record for each answer: success is highest at strength 1.5, damage grows with it."""
    rng = random.Random(seed)
    rows = [
        {
            "model": "burattino-instruct",
            "language": language,
            "setting": setting,
            "schedule": schedule,
            "strength": strength,
            "draw": 0,
            "query": f"query {n}",
            "in_language": rng.random() < _rate(setting, schedule, strength),
            "kept": rng.random() < 0.9 - 0.1 * (strength or 0),
            "garbled": rng.random() < 0.05 * (strength or 0),
            "perplexity": math.exp(rng.gauss(1.0 + 0.8 * (strength or 0), 0.5)),
            "kl": None if strength is None else rng.uniform(0, 0.1) * strength,
        }
        for language in languages
        for setting, schedule, strength in CELLS
        for n in range(queries)
    ]
    return pl.DataFrame(rows)


def head_norms(layers: int = 8, heads: int = 8, steps: int = 30, seed: int = 0) -> pl.DataFrame:
    """Nearly all of the norm in two heads, at every step, and shrinking."""
    rng = np.random.default_rng(seed)
    rows = []
    for step in range(steps):
        values = rng.uniform(0, 0.2, (layers, heads))
        values[layers - 2, 3 % heads], values[layers - 1, 1 % heads] = 3.0, 2.5
        values *= math.exp(-step / 20)
        rows += [
            {"layer": at, "head": head, "step": step, "norm": float(values[at, head])}
            for at in range(layers)
            for head in range(heads)
        ]
    return pl.DataFrame(rows)


def steps_frame(properties: tuple[str, ...] = (), steps: int = 30, seed: int = 0) -> pl.DataFrame:
    """Strengths that fall with the step; a query more ends at every second step."""
    rng = random.Random(seed)
    rows = [
        {
            "step": step,
            "query": f"query {n}",
            "setting": "steered",
            "schedule": schedule,
            "property": name,
            "strength": top * math.exp(-step / 8) * rng.uniform(0.5, 1.5),
        }
        for schedule, top in (("dynamic(0.5)", 2.0), ("diminishing(30)", 1.5))
        for name in properties or (None,)
        for n in range(20)
        for step in range(min(steps, steps - 2 * (n - 10)))
    ]
    return pl.DataFrame(rows, schema_overrides={"property": pl.String})


def cosines_frame(codes: tuple[str, ...] = ("it", "fr", "es", "de")) -> pl.DataFrame:
    """The first two alike, the others less, the last pair not apart from zero."""
    pairs = [(a, b) for at, a in enumerate(codes) for b in codes[at + 1 :]]
    values = [0.9 - 0.85 * k / max(1, len(pairs) - 1) for k in range(len(pairs))]
    return pl.DataFrame(
        [
            {"language_a": a, "language_b": b, "cosine": v, "low": v - 0.06, "high": v + 0.05}
            for (a, b), v in zip(pairs, values, strict=True)
        ]
    )


def examples_frame(languages: tuple[str, ...] = ()) -> pl.DataFrame:
    """Cosines whose lower end passes 0.9 at 20 examples, having dipped back at 10."""
    lows = {2: 0.3, 5: 0.92, 10: 0.7, 20: 0.93, 40: 0.97, 80: 0.99}
    rows = []
    for at, code in enumerate(languages or ("it",)):
        for n, low in lows.items():
            success = wilson(min(29, 6 + n - at), 30)
            rows += [
                {"language": code, "n_examples": n, "quantity": "cosine", "value": low + 0.005,
                 "low": low, "high": min(1.0, low + 0.03)},
                {"language": code, "n_examples": n, "quantity": "in_language",
                 "value": success.value, "low": success.low, "high": success.high},
            ]  # fmt: skip
    frame = pl.DataFrame(rows)
    return frame if languages else frame.drop("language")


ANSWER = (
    "Il| cast|ello| si| trova| su| una| coll|ina| sopra| il| fi|ume|,| e| la| sua| tor|re| più|"
    " alta| guarda| verso| il| mare|.|\n|I| tetti| sono| ro|ssi| <b>e| le| mura| & i| giardini|</b>"
    "| sono| anti|chi|.| Ogni| anno| la| gente| della| valle| sale| a| vedere| le| stelle|."
)


def tokens_frame(answers: int = 4, switched: bool = False, seed: int = 0) -> pl.DataFrame:
    """Strengths that fall along each answer, the last ones zero."""
    rng = random.Random(seed)
    rows = [
        {
            "answer_id": f"castle {n}",
            "step": step,
            "token": token,
            "strength": 2.0 * math.exp(-step / 6) * rng.uniform(0.6, 1) if step < 40 else 0.0,
            "language": "it" if step < 20 else "fr",
        }
        for n in range(answers)
        for step, token in enumerate(ANSWER.split("|"))
    ]
    frame = pl.DataFrame(rows)
    return frame if switched else frame.drop("language")


VALUES = {"original": 0.45, "steered EN-IT": 0.5, "steered IT-IT": 0.55, "fine-tuned": 0.4}


def benchmarks_frame(models: int = 2) -> pl.DataFrame:
    """Steered IT-IT is the most accurate everywhere but on hellaswag, where fine-tuned is."""
    rows = []
    for model in ("meta-llama/Meta-Llama-3-8B-Instruct", "microsoft/Phi-3-mini-4k-instruct")[
        :models
    ]:
        for setting, accuracy in VALUES.items():
            for benchmark in ("m_mmlu_it", "hellaswag_it", "arc_it"):
                best = benchmark == "hellaswag_it" and setting == "fine-tuned"
                of = {"accuracy": 0.7 if best else accuracy, "in_language": accuracy + 0.4,
                      "parses": 0.98}  # fmt: skip
                for measure, value in of.items():
                    found = wilson(round(200 * value), 200)
                    known = setting == "original" and measure == "accuracy"
                    rows.append(
                        {"model": model, "setting": setting, "benchmark": benchmark,
                         "measure": measure, "value": found.value, "low": found.low,
                         "high": found.high, "published": 0.46 if known else None}
                    )  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"published": pl.Float64})


def retained_frame() -> pl.DataFrame:
    """What steering keeps of English benchmarks: all but much of arc."""
    rows = []
    for setting, drop in {"original": 0.0, "steered": 0.01, "random": 0.02, "LoRA": 0.3}.items():
        for benchmark, value in {"mmlu": 0.62, "hellaswag": 0.58, "arc_challenge": 0.5}.items():
            lost = drop if benchmark == "arc_challenge" or setting != "LoRA" else 0.02
            found = wilson(round(300 * (value - lost)), 300)
            rows.append({"setting": setting, "benchmark": benchmark, "value": found.value,
                         "low": found.low, "high": found.high})  # fmt: skip
    return pl.DataFrame(rows)


def switched_frame(switches: tuple[int | None, ...] = (10,)) -> pl.DataFrame:
    """Italian, then French from two steps after the switch."""
    rows = []
    for at in switches:
        for step in range(30):
            french = at is not None and step >= at + 2
            for code, rate in {"it": 0.1 if french else 0.9, "fr": 0.85 if french else 0.0,
                               "en": 0.05}.items():  # fmt: skip
                found = wilson(round(40 * rate), 40)
                rows.append({"step": step, "language": code, "share": found.value,
                             "low": found.low, "high": found.high, "switched_at": at})  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"switched_at": pl.Int64})


DRAWINGS = {
    "schedules": lambda: schedule_curves(sweep()),
    "schedules_languages": lambda: schedule_curves(sweep(("it", "fr", "de"))),
    "schedules_garbled": lambda: schedule_curves(sweep(), "garbled"),
    "schedules_perplexity": lambda: schedule_curves(sweep(("it", "fr")), "perplexity"),
    "schedules_kl": lambda: schedule_curves(sweep(), "kl"),
    "schedules_one_strength": lambda: schedule_curves(
        sweep().filter(pl.col("strength").is_null() | pl.col("strength").is_in([1.5]))
    ),
    "heads": lambda: head_map(head_norms()),
    "heads_large": lambda: head_map(head_norms(32, 32), steps=[0, 10, 29]),
    "heads_one_step": lambda: head_map(head_norms(4, 4, steps=1)),
    "steps": lambda: step_curves(steps_frame(), "strength"),
    "steps_properties": lambda: step_curves(steps_frame(("it", "fr", "formal")), "strength"),
    "cosines": lambda: language_cosines(cosines_frame()),
    "cosines_two": lambda: language_cosines(cosines_frame(("it", "fr"))),
    "examples": lambda: examples_curve(examples_frame()),
    "examples_languages": lambda: examples_curve(examples_frame(("it", "fr", "es", "de"))),
    "text": lambda: strength_text(tokens_frame()),
    "text_switched": lambda: strength_text(tokens_frame(2, switched=True)),
    "benchmarks": lambda: benchmark_table(benchmarks_frame()),
    "retention": lambda: retention_bars(retained_frame()),
    "switch": lambda: switch_curves(switched_frame()),
    "switches": lambda: switch_curves(switched_frame((None, 5, 15))),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_of_paper_size_and_written(name: str, tmp_path: Path) -> None:
    drawing = DRAWINGS[name]()
    assert drawing.caption.endswith(".") and "nan" not in drawing.caption.lower()
    assert re.search(r"\d", drawing.caption)
    assert drawing.figure.layout.width <= 670
    _, data = drawing.write(tmp_path, name)
    again = plotly.io.from_json(data.read_text("utf-8"))
    assert again.layout.template.layout.plot_bgcolor == "white"
    assert len(again.data) == len(drawing.figure.data)
    named = [trace.name for trace in again.data if trace.showlegend and trace.name]
    assert len(named) == len(set(named))  # one legend entry for all panels


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_interval_holds_its_estimate(name: str) -> None:
    drawn = 0
    for trace in DRAWINGS[name]().figure.data:
        if trace.type == "scatter" and trace.customdata is not None:
            for y, (low, high) in zip(trace.y, trace.customdata, strict=True):
                assert low <= y <= high
                drawn += 1
    alone = ("heads", "cosines", "text", "benchmarks", "retention")  # these write or bar them
    assert drawn or name.startswith(alone)


NEEDS = {
    "schedule_curves": (lambda f: schedule_curves(f), sweep, "schedule"),
    "head_map": (head_map, head_norms, "norm"),
    "step_curves": (lambda f: step_curves(f, "strength"), steps_frame, "strength"),
    "language_cosines": (language_cosines, cosines_frame, "low"),
    "examples_curve": (examples_curve, examples_frame, "high"),
    "strength_text": (strength_text, tokens_frame, "token"),
    "benchmark_table": (benchmark_table, benchmarks_frame, "published"),
    "retention_bars": (retention_bars, retained_frame, "setting"),
    "switch_curves": (switch_curves, switched_frame, "switched_at"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_missing_columns_and_rows_are_refused_by_name(name: str) -> None:
    draw, make, column = NEEDS[name]
    with pytest.raises(FigureError, match=f"{name} needs the columns {column}"):
        draw(make().drop(column))
    with pytest.raises(FigureError, match=f"{name} was given no records"):
        draw(make().clear())


def test_schedule_curves_draw_the_shares_of_the_records() -> None:
    records = sweep()
    traces = {trace.name: trace for trace in schedule_curves(records).figure.data if trace.name}
    fixed = records.filter((pl.col("setting") == "steered") & (pl.col("schedule") == "fixed"))
    for strength, y, (low, high) in zip(
        traces["fixed"].x, traces["fixed"].y, traces["fixed"].customdata, strict=True
    ):
        expected = share(fixed.filter(pl.col("strength") == strength)["in_language"].to_list())
        assert (y, low, high) == pytest.approx((expected.value, expected.low, expected.high))
    in_context = share(records.filter(pl.col("setting") == "instruction")["in_language"].to_list())
    assert set(traces["in-context"].y) == {in_context.value}  # a level across the panel
    assert min(traces["dynamic"].x) > max(STRENGTHS)


def test_schedule_curves_name_the_best_and_the_worst() -> None:
    records = sweep()
    steered = records.filter(pl.col("setting") == "steered")
    cells = steered.group_by("schedule", "strength").agg(
        pl.col("in_language").mean(), pl.col("perplexity").log().mean().exp()
    )
    best = cells.sort("in_language").row(-1, named=True)
    caption = schedule_curves(records).caption
    assert f"{best['schedule']} at strength {best['strength']:g}" in caption
    worst = cells.sort("perplexity").row(-1, named=True)
    caption = schedule_curves(records, "perplexity").caption
    assert f"{worst['schedule'].split('(')[0]} at strength 4" in caption
    assert f"{worst['perplexity']:.3g} [" in caption


def test_perplexities_are_averaged_by_their_logarithm() -> None:
    figure = schedule_curves(sweep(), "perplexity").figure
    assert figure.layout.yaxis.type == "log"
    fixed = next(trace for trace in figure.data if trace.name == "fixed")
    rows = sweep().filter(
        (pl.col("setting") == "steered")
        & (pl.col("schedule") == "fixed")
        & (pl.col("strength") == fixed.x[0])
    )
    assert fixed.y[0] == pytest.approx(math.exp(rows["perplexity"].log().mean()))  # type: ignore[arg-type]


def test_an_outcome_that_a_language_lacks_leaves_its_panel_out() -> None:
    records = sweep(("it", "fr")).with_columns(
        pl.when(pl.col("language") == "it").then(pl.col("kept")).alias("kept")
    )
    drawing = schedule_curves(records, "kept")
    assert "Italian" in drawing.caption and "French" not in drawing.caption
    assert not drawing.figure.layout.annotations
    with pytest.raises(FigureError, match="no steered record with a schedule and a value of 'kl'"):
        schedule_curves(records.with_columns(pl.lit(None, pl.Float64).alias("kl")), "kl")
    with pytest.raises(FigureError, match="burattino-instruct, other"):
        schedule_curves(pl.concat([records, records.with_columns(pl.lit("other").alias("model"))]))


def test_head_map_finds_the_heads_that_hold_half() -> None:
    norms = head_norms(32, 32)
    caption = head_map(norms).caption
    assert "2 of 1024 heads" in caption and "layer.head 30.3 and 31.1" in caption
    whole = np.linalg.norm(norms.filter(pl.col("step") == 0)["norm"].to_numpy())
    assert f"from {whole:.3g} at step 0" in caption
    maps = [trace.z for trace in head_map(norms, [3, 4]).figure.data if trace.type == "heatmap"]
    assert len(maps) == 3 and maps[1][31][1] == pytest.approx(2.5 * math.exp(-3 / 20))
    with pytest.raises(FigureError, match="give 2048"):
        head_map(head_norms(8, 8, 32)[1:])
    with pytest.raises(FigureError, match=r"asked for \[99\]"):
        head_map(norms, [99])
    with pytest.raises(FigureError, match="1 undefined"):
        head_map(
            norms.with_columns(
                pl.when(pl.int_range(pl.len()) == 5).then(math.nan).otherwise(pl.col("norm"))
                .alias("norm")
            )
        )  # fmt: skip


def test_step_curves_stop_where_too_few_answers_run() -> None:
    frame = steps_frame()
    figure = step_curves(frame, "strength").figure
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert set(lines) == {"dynamic", "diminishing"}
    rows = frame.filter((pl.col("schedule") == "dynamic(0.5)") & (pl.col("step") == 7))
    assert lines["dynamic"].y[7] == pytest.approx(rows["strength"].mean())
    short = frame.filter((pl.col("step") < 12) | pl.col("query").is_in(["query 0", "query 1"]))
    assert max(step_curves(short, "strength").figure.data[1].x) == 11
    with pytest.raises(FigureError, match="3 queries"):
        step_curves(frame.filter(pl.col("query") == "query 0"), "strength")


def test_step_curves_give_each_property_a_curve_and_each_schedule_a_panel() -> None:
    drawing = step_curves(steps_frame(("it", "formal")), "strength")
    assert [a.text for a in drawing.figure.layout.annotations] == ["dynamic", "diminishing"]
    named = {trace.name for trace in drawing.figure.data if trace.name}
    assert named == {"Italian", "formal"}


def test_language_cosines_take_pairs_in_either_order() -> None:
    frame = cosines_frame()
    turned = frame.rename({"language_a": "language_b", "language_b": "language_a"})
    drawing, other = language_cosines(frame), language_cosines(turned.select(frame.columns))
    assert "Italian and French (0.90" in drawing.caption
    assert "5 of 6 pairs" in drawing.caption
    z = drawing.figure.data[0].z
    assert all(z[i][j] == z[j][i] for i in range(4) for j in range(4))
    assert sorted(x for row in z for x in row if x is not None) == sorted(
        x for row in other.figure.data[0].z for x in row if x is not None
    )
    with pytest.raises(FigureError, match="missing: es and de"):
        language_cosines(frame.head(5))
    with pytest.raises(FigureError, match=r"is 1\.4"):
        language_cosines(frame.with_columns(pl.lit(1.4).alias("cosine")))


def test_examples_curve_says_from_where_on_the_vector_is_stable() -> None:
    frame = examples_frame()  # 5 examples are above 0.9 too, and 10 fall back
    assert "above 0.9 from 20 examples on" in examples_curve(frame).caption
    few = frame.filter(pl.col("n_examples") <= 10)
    assert "above 0.9 at no number up to 10" in examples_curve(few).caption
    success = examples_curve(frame.filter(pl.col("quantity") == "in_language"))
    assert "above 0.9" not in success.caption and len(list(success.figure.select_yaxes())) == 1
    with pytest.raises(FigureError, match="at 2 examples; take their mean"):
        examples_curve(pl.concat([frame, frame]))
    with pytest.raises(FigureError, match="the frame has norm"):
        examples_curve(frame.with_columns(pl.lit("norm").alias("quantity")))


def test_strength_text_draws_every_token_in_its_place_and_escapes_it() -> None:
    frame = tokens_frame(3)
    figure = strength_text(frame, answers=2).figure
    bars, words = figure.data[:2]
    tokens = ANSWER.split("|")
    assert len(bars.x) == len(words.text) == 2 * len(tokens)
    shown = [t.strip(" ").replace("\n", "\u21b5") for t in tokens]
    assert [html.unescape(text) for text in words.text] == shown * 2
    assert "&lt;b&gt;e" in words.text and not any("<" in text for text in words.text)
    placed = sorted(zip(bars.y, bars.base, bars.x, strict=True))
    for (line, start, width), (next_line, next_start, _) in pairwise(placed):
        assert line < next_line or start + width <= next_start  # none over another
    assert max(start + width for _, start, width in placed) <= 92
    steps = [step for step, _ in bars.customdata]
    first = frame.filter(pl.col("answer_id") == "castle 0").sort("step")
    assert list(bars.marker.color[: len(tokens)]) == first["strength"].to_list()
    assert steps[: len(tokens)] == first["step"].to_list()
    with pytest.raises(FigureError, match="several tokens at step 0"):
        strength_text(pl.concat([frame, frame]))
    with pytest.raises(FigureError, match="no token with a strength"):
        strength_text(frame.with_columns(pl.lit(None, pl.Float64).alias("strength")))


def test_benchmark_table_names_winners_and_marks_them() -> None:
    frame = benchmarks_frame(1)
    drawing = benchmark_table(frame)
    win = interval_text(wilson(110, 200))
    assert f"steered IT-IT on m_mmlu_it ({win} against 45%" in drawing.caption
    assert "fine-tuned on hellaswag_it" in drawing.caption
    assert "3 (100%)" in drawing.caption
    texts = [text for trace in drawing.figure.data for text in trace.text]
    bold = [text for text in texts if text.startswith("<b>")]
    assert sorted(bold) == sorted(
        ["<b>Meta-Llama-3-8B-Instruct</b>", *["<b>95%</b>"] * 3, *["<b>55%</b>"] * 2, "<b>70%</b>"]
    )
    assert len([text for text in texts if text.startswith("[")]) == len(frame)
    with pytest.raises(FigureError, match="several values of accuracy"):
        benchmark_table(pl.concat([frame, frame]))
    gaps = benchmark_table(frame.filter(pl.col("value") != 0.7)).caption
    assert "steered IT-IT on m_mmlu_it" in gaps and "fine-tuned" not in gaps


def test_retention_bars_say_what_is_kept_and_where_it_is_not() -> None:
    drawing = retention_bars(retained_frame())
    assert "LoRA keeps 80%" in drawing.caption
    lost = f"arc_challenge ({interval_text(wilson(60, 300))} against"
    assert drawing.caption.count(" against ") == 1 and lost in drawing.caption
    found = re.search(
        r"LoRA keeps .*? ([-+.\d]+) points \[([-+.\d]+), ([-+.\d]+)\]", drawing.caption
    )
    assert found
    value, low, high = (float(text) for text in found.groups())
    assert low < value < high < 0
    bars = {bar.name: bar for bar in drawing.figure.data}
    assert next(iter(bars)) == "original" and all(
        bar.error_x.array is not None for bar in bars.values()
    )
    with pytest.raises(FigureError, match="have LoRA"):
        retention_bars(retained_frame().filter(pl.col("setting") == "LoRA"))


def test_switch_curves_say_how_soon_the_new_language_leads() -> None:
    caption = switch_curves(switched_frame((10,))).caption
    assert "French" in caption and "0%" in caption and "76%" in caption
    assert "step 12 (2 later)" in caption
    never = switch_curves(switched_frame((None,)))
    assert "Italian has 90%" in never.caption and not never.figure.layout.shapes
    assert "outside the steps" in switch_curves(switched_frame((40,))).caption
    with pytest.raises(FigureError, match="several shares of 'it' at step 0"):
        switch_curves(pl.concat([switched_frame(), switched_frame()]))


def test_looks_keep_schedules_and_settings_apart() -> None:
    looks = schedule_looks(["dynamic(0.9)", "fixed", "dynamic(0.5)", "start"])
    assert list(looks) == ["start", "fixed", "dynamic(0.9)", "dynamic(0.5)"]
    assert [look.label for look in looks.values()][2:] == ["dynamic 0.9", "dynamic 0.5"]
    assert len({look.colour for look in looks.values()}) == 4
    settings = setting_looks(["LoRA", "steered", "original", "prefix"])
    assert list(settings) == ["original", "steered", "LoRA", "prefix"]
    assert len({(look.colour, look.symbol) for look in settings.values()}) == 4


@pytest.mark.slow
@pytest.mark.skipif(export.browser() is None, reason="no Chrome or Chromium to print with")
def test_text_and_table_print_to_paper(tmp_path: Path) -> None:
    for name in ("text_switched", "benchmarks"):
        DRAWINGS[name]().write(tmp_path, name)
    written = export.print_figures(tmp_path, ("pdf",))
    assert len(written) == 2 and all(path.read_bytes().startswith(b"%PDF") for path in written)
