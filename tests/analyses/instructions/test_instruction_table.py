"""The table of accuracies of several models."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from analyses.instructions.instruction_table import SCHEMA, frame, lines_of, numbers
from figures import accuracy_table, write_report
from figures.printing import latex
from figures.printing.latex import accuracy_booktabs
from figures.published import OVERRIDDEN, OVERRIDE, reported
from figures.style.drawing import interval_text
from interp_steer.errors import FigureError
from interp_steer.results.run import Run, open_run
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import share_of
from tests.support.latex import check_grammar, finish_run
from tests.support.synthetic import filter_records, settings_records

PHI = "microsoft/Phi-3-mini-4k-instruct"


def test_a_model_has_a_line_for_each_setting_and_way_to_count() -> None:
    records = settings_records(3)
    table = frame(lines_of(records, PHI), PHI)
    assert table.schema == pl.Schema(SCHEMA)
    assert table.select("setting", "at").rows() == [
        ("none", ""),
        ("random", ""),
        ("steered", ""),
        ("steered", OVERRIDE),
        ("instruction", ""),
        ("both", ""),
        ("both", OVERRIDE),
    ]
    both = table.filter((pl.col("setting") == "both") & (pl.col("at") == "")).row(0, named=True)
    expected = share_of(filter_records(records, setting="both"), "loose")
    assert (both["loose"], both["loose_low"]) == (expected.value, expected.low)
    test = mcnemar(
        filter_records(records, setting="instruction")["loose"].to_list(),
        filter_records(records, setting="both")["loose"].to_list(),
    )
    assert both["p_value"] == pytest.approx(test.p_value) and both["n"] == 72
    published = reported(PHI, "format", "loose")
    found = {(row["setting"], row["at"]): row["published"] for row in table.iter_rows(named=True)}
    assert {key: value for key, value in found.items() if value is not None} == published
    summary = numbers(lines_of(records, PHI), PHI)
    assert summary[f"over_published.{PHI}.both"] == pytest.approx(both["loose"] - 0.773)
    assert f"loose_accuracy.{PHI}.steered.overridden" in summary


def test_without_an_overridden_instruction_there_is_one_way_to_count() -> None:
    records = settings_records(3).filter(~pl.col("instruction").is_in(OVERRIDDEN))
    assert [line.at for line in lines_of(records, "some/model")] == [""] * 5


def test_the_table_is_drawn_with_every_number_and_its_interval() -> None:
    records = settings_records(3)
    models = ("burattino-instruct", PHI)
    table = pl.concat([frame(lines_of(records, model), model) for model in models])
    drawing = accuracy_table(table)
    cells = drawing.figure.data[0].cells.values
    assert all(len(column) == 2 * (1 + 7) for column in cells)
    assert cells[0][0] == "burattino-instruct" and cells[0][8] == "Phi-3-mini-4k-instruct"
    steered = interval_text(share_of(filter_records(records, setting="steered"), "strict"))
    assert cells[1][3] == cells[1][11] == steered
    assert cells[3][3] == "" and cells[3][11] == "30.7%"
    assert drawing.figure.layout.width <= 670
    loose = interval_text(share_of(filter_records(records, setting="both"), "loose"))
    assert f"instruction + steered {loose}" in drawing.caption
    assert "Of 5 published values" in drawing.caption and OVERRIDE in drawing.caption
    with pytest.raises(FigureError, match="p_value"):
        accuracy_table(table.drop("p_value"))


def test_instruction_table(run):
    given = ["--models", "burattino-instruct", "burattino-base", "--n-fit", "12", "--n-select", "4"]
    small = ["--n-test", "4", "--max-new-tokens", "32", "--layers", "5"]
    asked = ["--instruction", "change_case:english_lowercase", "detectable_format:title"]
    found = run("instruction_table", *given, *small, *asked)
    results = found["instruction_table"]
    assert results.path.parent.name == "burattino-instruct+burattino-base"
    table = results.records()
    assert table is not None
    # Two models; five settings, two of them counted in two ways.
    assert table.height == 2 * 7
    assert table["model"].unique(maintain_order=True).to_list() == given[1:3]
    assert table["published"].null_count() == table.height
    # Each model's comparison is in a folder of its own, and its numbers are those of the table.
    comparison = found["format_steering"]
    for setting in ("none", "steered", "instruction", "both"):
        name = f"accuracy.{comparison.model}.{setting}"
        assert results.summary[name] == comparison.summary[f"accuracy.{setting}"]
    assert set(results.captions) == {"accuracy_of_models"}
    # The page says of every model in the table, and not of the reference, that it is a toy.
    page = write_report(results, results.path.parent / "report.html", "A table").read_text("utf-8")
    assert "burattino-base and burattino-instruct are bundled toy models that prove" in page
    assert "burattino-gemma" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def accuracy_frame() -> pl.DataFrame:
    records = settings_records(3)
    models = ("burattino-instruct", "microsoft/Phi-3-mini-4k-instruct")
    return pl.concat([frame(lines_of(records, model), model) for model in models])


def test_the_accuracy_table_in_latex(tmp_path: Path) -> None:
    with open_run("instruction_table", {"models": ["a", "b"]}, root=tmp_path) as run:
        run.write_records(accuracy_frame())
        run.leave(summary={"n": 3})
    read = Run.read(run.path)
    table = accuracy_booktabs(read)
    check_grammar(table)
    assert "\\multicolumn{7}{@{}l}{\\textbf{" in table
    written = latex.write_tables(read, tmp_path / "tables")
    assert [path.name for path in written] == ["summary.tex", "accuracy.tex"]
    assert written[1].read_text("utf-8") == table
    with pytest.raises(FigureError, match="accuracy table"):
        accuracy_booktabs(finish_run(tmp_path, {"n": 1}))
