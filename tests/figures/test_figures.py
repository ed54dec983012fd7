"""Figures draw what the records say, with their intervals, and pages load nothing from outside."""
# plotly declares no types for what its figures hold.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import plotly.io
import polars as pl
import pytest

from figures import (
    Drawing,
    FigureError,
    completions_table,
    dose_boxes,
    dose_curve,
    instruction_bars,
    layer_curve,
    selection_map,
    sentence_curves,
    settings_bars,
    similarity_by_layer,
    similarity_map,
    token_table,
    write_report,
)
from figures.pages import report
from figures.printing import export
from figures.steering.completions import FINISH
from figures.style.drawing import interval_text, percent, short_names
from figures.style.theme import QUALITATIVE, SETTINGS, order_settings
from interp_steer.errors import RunError
from interp_steer.results.run import Run, open_run
from interp_steer.statistics.intervals import wilson
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import compare, share_of
from interp_steer.sweeps.selection import RULES, select_layer
from tests.support.html_checks import assert_opens_offline
from tests.support.synthetic import INSTRUCTIONS, settings_records, sweep_records

LOWER = INSTRUCTIONS[0]
PAPERS = ("none", "random", "steered", "instruction", "both")
"""The settings of the records, in the order in which they are drawn."""


def similarity_frame() -> pl.DataFrame:
    rows = [
        {
            "layer": layer,
            "comparison": kind,
            "cosine": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }
        for layer in range(4)
        for kind, value in (("same instruction", 0.2 * layer), ("different queries", 0.1))
    ]
    return pl.DataFrame(rows)


def dose_frame() -> pl.DataFrame:
    rows = [
        {
            "instruction": kind,
            "setting": "none" if not weight else setting,
            "strength": weight,
            "query": f"q{n}",
            "words": 40 + n + (sign * 10 * weight if setting == "steered" else 0),
        }
        for kind, sign in (("conciseness", -1), ("verbosity", 1))
        for weight, setting in (
            (0.0, "none"),
            *((w, s) for w in (1.0, 2.0) for s in ("steered", "random")),
        )
        for n in range(6)
    ]
    return pl.DataFrame(rows)


def sentence_frame() -> pl.DataFrame:
    rows = [
        {
            "instruction": "sentences",
            "relation": relation,
            "setting": setting,
            "k": k,
            "key": f"{k}/{n}",
            "query": f"q{k}/{n}",
            "strict": n < (5 if setting == "both" else 3),
        }
        for relation in ("at most", "exactly")
        for setting in ("instruction", "both")
        for k in (1, 2, 3)
        for n in range(6)
    ]
    return pl.DataFrame(rows)


def token_frame() -> pl.DataFrame:
    rows = [
        {
            "instruction": name,
            "layer": 3,
            "side": "raised",
            "rank": rank,
            "token": " a\n",
            "score": 5.0 - rank,
        }
        for name in INSTRUCTIONS[:2]
        for rank in (1, 2, 3)
    ]
    return pl.DataFrame(rows)


MATRIX = np.array([[1.0, 0.5, -0.2], [0.5, 1.0, 0.1], [-0.2, 0.1, 1.0]])

DRAWINGS = {
    "layer_curve": lambda: layer_curve(sweep_records(1), {LOWER: {"paper": 3, "interval": None}}),
    "layer_grid": lambda: layer_curve(sweep_records(5)),
    "settings": lambda: settings_bars(settings_records()),
    "instructions": lambda: instruction_bars(settings_records()),
    "similarity": lambda: similarity_by_layer(similarity_frame()),
    "map": lambda: similarity_map(MATRIX, INSTRUCTIONS[:3], layer=2),
    "reported": lambda: settings_bars(settings_records(), reported={"steered": 0.5, "none": 0.1}),
    "doses": lambda: dose_curve(dose_frame(), "words"),
    "boxes": lambda: dose_boxes(dose_frame(), "words"),
    "sentences": lambda: sentence_curves(sentence_frame(), {("exactly", "both", 2): 0.8}),
    "chosen_again": lambda: selection_map({LOWER: 4}, {LOWER: {None: 0.25, 2: 0.0, 4: 0.75}}),
    "tokens": lambda: token_table(token_frame()),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_writes_a_page_that_opens_offline(name: str, tmp_path: Path) -> None:
    drawing = DRAWINGS[name]()
    assert drawing.caption.endswith(".") and "nan" not in drawing.caption.lower()
    assert re.search(r"\d", drawing.caption)
    page, data = drawing.write(tmp_path, name)
    text = page.read_text("utf-8")
    assert_opens_offline(text)
    assert text.count("plotly.js v") == 1  # the library is inside, once
    again = plotly.io.from_json(data.read_text("utf-8"))
    assert again.layout.template.layout.plot_bgcolor == "white"
    assert again.layout.width <= 670
    assert len(again.data) == len(drawing.figure.data)


def test_layer_curve_draws_shares_with_wilson_bands() -> None:
    records = sweep_records(1)
    figure = layer_curve(records, 3).figure
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert set(lines) == {
        "unsteered",
        "random direction",
        "degenerate outputs",
        "accuracy, steered",
        "chosen (paper's rule)",
    }
    steered = records.filter(pl.col("setting") == "steered")
    for layer, y, (low, high) in zip(
        lines["accuracy, steered"].x,
        lines["accuracy, steered"].y,
        lines["accuracy, steered"].customdata,
        strict=True,
    ):
        rows = steered.filter(pl.col("layer") == layer)
        expected = wilson(int(rows["strict"].sum()), len(rows))
        assert (y, low, high) == pytest.approx((expected.value, expected.low, expected.high))
    assert lines["chosen (paper's rule)"].x[0] == 3
    shades = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(shades) == 4


def test_layer_curve_takes_choices_in_every_form() -> None:
    records = sweep_records(1).filter(pl.col("setting") != "random")
    choices = [select_layer(records, rule) for rule in RULES]
    layers = {choice.rule: choice.layer for choice in choices}
    forms = (choices, {LOWER: layers}, {LOWER: choices})
    drawn = [layer_curve(records, form).caption for form in forms]
    assert len(set(drawn)) == 1
    assert f"layer {choices[0].layer} (" in drawn[0]
    none = layer_curve(records, {LOWER: {"paper": None}}).caption
    assert "no steering" in none
    assert "no layer was chosen" in layer_curve(records).caption
    both = records.with_columns(
        pl.col("setting").replace({"steered": "both", "none": "instruction"})
    )
    assert "instruction alone" in layer_curve(both, 3).caption


def test_layer_grid_shares_axes_and_counts_panels() -> None:
    figure = layer_curve(sweep_records(5), {name: {"paper": 3} for name in INSTRUCTIONS}).figure
    ranges = {tuple(axis.range) for axis in figure.select_yaxes() if axis.visible is not False}
    assert len(ranges) == 1
    assert [a.text for a in figure.layout.annotations] == list(short_names(INSTRUCTIONS).values())
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert len(named) == len(set(named))  # one legend entry for all panels


def test_settings_bars_states_the_paired_tests() -> None:
    records = settings_records(instructions=1)
    drawing = settings_bars(records)
    outcomes = {
        setting: records.filter(pl.col("setting") == setting)["strict"].to_list()
        for setting in PAPERS
    }
    test = mcnemar(outcomes["none"], outcomes["steered"])
    assert test.p_value < 0.001 and "p < 0.001" in drawing.caption
    for setting, values in outcomes.items():
        interval = wilson(sum(values), len(values))
        assert f"{SETTINGS[setting].label} {interval_text(interval)}" in drawing.caption
    bars = [trace for trace in drawing.figure.data if trace.type == "bar"]
    assert len(bars) == 2 * len(PAPERS)
    assert all(bar.error_x.array is not None for bar in bars)


def test_queries_that_repeat_widen_the_interval() -> None:
    once = settings_records(instructions=1, prompts=12).filter(pl.col("setting") == "steered")
    copies = pl.concat([once] * 5)  # the same twelve queries, five times over
    single, repeated = share_of(once, "strict"), share_of(copies, "strict")
    assert repeated.value == single.value and repeated.n == single.n == 12
    naive = wilson(int(copies["strict"].sum()), len(copies))
    assert repeated.high - repeated.low > 1.5 * (naive.high - naive.low)
    sure = copies.with_columns(pl.lit(False).alias("strict"))
    assert share_of(sure, "strict") == wilson(0, 12)  # never a zero-width interval


def test_compare_pairs_prompts_and_takes_several_draws() -> None:
    records = settings_records(instructions=2)
    found = compare(records, "none", "steered", "strict")
    assert found is not None and found.test is not None and found.test.n == 48
    more = pl.concat([records, records.filter(pl.col("setting") == "random")])
    drawn = compare(more, "random", "steered", "strict")
    assert drawn is not None and drawn.test is None
    assert drawn.difference.low < drawn.difference.value < drawn.difference.high
    assert compare(records, "none", "missing", "strict") is None


def test_captions_name_what_gains_most() -> None:
    rates = {"none": 0.0, "steered": 1.0}
    caption = instruction_bars(settings_records(2, rates=rates)).caption
    assert "on 2 of 2" in caption and "0% to 100%" in caption
    assert "(0.50)" in similarity_map(MATRIX, ["a", "b", "c"]).caption
    assert "At layer 3" in similarity_by_layer(similarity_frame()).caption


def test_bad_records_are_refused_by_name() -> None:
    records = settings_records()
    with pytest.raises(FigureError, match="degenerate"):
        settings_bars(records.drop("degenerate"))
    with pytest.raises(FigureError, match="no records"):
        instruction_bars(records.clear())
    with pytest.raises(FigureError, match="6 layers of setting 'random'"):
        settings_bars(sweep_records())
    with pytest.raises(FigureError, match="no steered rows"):
        layer_curve(records.filter(pl.col("setting") == "none"))
    with pytest.raises(FigureError, match=r"\(3, 3\) for 2 names"):
        similarity_map(MATRIX, ["a", "b"])
    with pytest.raises(FigureError, match=r"\[-1, 1\]"):
        similarity_map(MATRIX * 3, ["a", "b", "c"])
    with pytest.raises(FigureError, match="undefined"):
        similarity_by_layer(similarity_frame().with_columns(pl.lit(float("nan")).alias("low")))


def test_words() -> None:
    assert [percent(x) for x in (0, 0.003, 0.5, 0.998, 1)] == ["0%", "0.3%", "50%", "99.8%", "100%"]
    assert list(short_names(["a:x_y", "b:x_y", "c:z"]).values()) == ["a:x_y", "b:x_y", "z"]
    assert list(short_names(["a:x_y?z=it", "b:w"]).values()) == ["x y (it)", "w"]
    assert order_settings(["mine", "both", "none"]) == ["none", "both", "mine"]
    assert len(set(QUALITATIVE)) == 8


HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> & </b>"


def hostile_run(root: Path, model: str = "burattino-instruct") -> Run:
    records = settings_records(2).with_columns(
        pl.lit(HOSTILE).alias("answer"), pl.lit(HOSTILE).alias("query")
    )
    with open_run("settings", {"model": model}, root=root, about=f"Why {HOSTILE}?") as run:
        run.write_records(records)
        run.leave(summary={f"accuracy.{HOSTILE}": wilson(3, 4), "n": 7})
        drawing = settings_bars(records)
        run.draw("bars", Drawing(drawing.figure.update_layout(title=HOSTILE), HOSTILE))
    return run


def test_a_report_escapes_what_a_model_said(tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    path = write_report(Run.read(run.path), tmp_path / "demo" / "report.html", HOSTILE)
    page = path.read_text("utf-8")
    body = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "<script>alert" not in page and "<img" not in body and "& </b>" not in page
    assert "&lt;script&gt;alert" in body
    assert_opens_offline(page)
    assert page.count("plotly.js v") == 1
    assert "is a bundled toy model that proves the pipeline" in body
    assert "nothing here is evidence about large models" in body
    assert "no answer" not in body


def test_a_report_of_another_model_makes_no_such_remark(tmp_path: Path) -> None:
    run = hostile_run(tmp_path, model="google/gemma-2-2b-it")
    path = write_report(Run.read(run.path), tmp_path / "r.html", "t", notes=["mind"])
    page = path.read_text("utf-8")
    assert "toy model" not in page and "mind" in page


def test_a_report_gathers_a_root_and_leaves_out_the_spoilt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="no finished results"):
        report.main(report.Config(tmp_path))
    whole = hostile_run(tmp_path)
    spoilt = hostile_run(tmp_path, model="other")
    (spoilt.path / "summary.json").write_text("{}")
    path = report.main(report.Config(tmp_path, title="Gathered"))
    assert path == tmp_path / "report.html"
    page = path.read_text("utf-8")
    assert "Gathered" in page and whole.path.as_posix() in page
    assert "summary.json" in capsys.readouterr().err
    with pytest.raises(FigureError, match="no finished run"):
        write_report([], tmp_path / "x.html", "x")


def test_completions_stand_side_by_side() -> None:
    table = completions_table(settings_records(2), per_instruction=2)
    assert table.count("<article") == 4
    card = table.split("<article")[1]
    places = [card.index(f"<h5>{SETTINGS[name].label}") for name in PAPERS]
    assert places == sorted(places)
    assert "&lt;b&gt;looks" in card and FINISH["length"] in card
    assert "project(change_case:english_lowercase@resid_post.4)" in card
    swept = completions_table(sweep_records(1))
    assert swept.count("<article") == 1 and swept.count("<h5>steered, layer") == 1


def test_without_a_browser_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    DRAWINGS["map"]().write(tmp_path, "map")
    export._LINES_PRINTED.clear()
    assert export.print_figures(tmp_path) == [] and export.print_figures(tmp_path) == []
    assert capsys.readouterr().err.count("HTML only") == 1


def test_a_browser_that_fails_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "chrome"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(broken))
    DRAWINGS["map"]().write(tmp_path, "map")
    export._LINES_PRINTED.clear()
    assert export.print_figures(tmp_path) == []
    assert "could not print" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(export.browser() is None, reason="no Chrome or Chromium to print with")
def test_figures_print_to_paper(tmp_path: Path) -> None:
    for name in ("map", "settings"):
        DRAWINGS[name]().write(tmp_path, name)
    written = export.print_figures(tmp_path)
    assert {path.suffix for path in written} == {".pdf", ".svg", ".png"} and len(written) == 6
    heads = {".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<svg"}
    assert all(path.read_bytes().startswith(heads[path.suffix]) for path in written)


@pytest.mark.slow
@pytest.mark.skipif(export.browser() is None, reason="no Chrome or Chromium to open the page with")
def test_a_browser_draws_the_report_without_a_network(tmp_path: Path) -> None:
    page = write_report(Run.read(hostile_run(tmp_path).path), tmp_path / "report.html", "t")
    done = subprocess.run(
        [
            str(export.browser()),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=20000",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.count("main-svg") >= 1, done.stderr[-2000:]
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
