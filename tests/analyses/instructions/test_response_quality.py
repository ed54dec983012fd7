"""The quality of answers, as an analysis leaves it and as figures draw it."""
# plotly declares no types for what its figures hold.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from analyses.kit.cli import command_line
from analyses.kit.judges import judge_all
from figures import FigureError, quality_deltas, quality_histogram
from figures.style.theme import SETTINGS
from interp_steer.errors import ScoringError
from interp_steer.results.finished import Results, find
from interp_steer.results.run import Run
from interp_steer.statistics.intervals import bootstrap_mean
from interp_steer.statistics.records import mean_gain
from interp_steer.world.judge import WorldJudge
from tests.support.chat_server import served
from tests.support.html_checks import assert_opens_offline
from tests.support.shapes import shapes_unchecked
from tests.support.synthetic import INSTRUCTIONS, settings_records

LOWER, TITLE = "change_case:english_lowercase", "detectable_format:title"
SHORT = ["--n-fit", "12", "--max-new-tokens", "48"]
SMALL = [*SHORT, "--instruction", LOWER, TITLE, "--n-select", "4", "--n-test", "4", "--layers", "2"]
ONE = [*SHORT, "--instruction", LOWER, "--n-select", "2", "--n-test", "3", "--layers", "2"]


@pytest.fixture
def run(
    tmp_path, capsys, monkeypatch, burattino_instruct, burattino_base
) -> Callable[..., Results]:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))  # printing is tested elsewhere

    def run(*arguments: str) -> Results:
        given = ["response_quality", *arguments, "--results", str(tmp_path)]
        with shapes_unchecked():
            assert command_line(given) == 0, capsys.readouterr().err
        last = capsys.readouterr().out.strip().splitlines()[-1]
        found = {str(results.path): results for results in map(Run.read, find(tmp_path))}
        return found[last]

    return run


def test_response_quality(run):
    results = run(*SMALL)
    records, verdicts = results.records(), pl.read_parquet(results.path / "verdicts.parquet")
    assert records is not None
    # Two instructions, four prompts, five settings.
    assert records.height == 2 * 4 * 5
    assert set(records["setting"]) == {"none", "random", "steered", "instruction", "both"}
    assert records["quality"].is_between(0, 1).all() and not records["quality"].has_nulls()
    assert verdicts.height == 5 * records.height
    on = ["instruction", "setting", "key"]
    means = verdicts.group_by(on).agg(pl.col("verdict").mean().alias("mean"))
    joined = records.join(means, on=on)
    assert joined["mean"].to_list() == pytest.approx(joined["quality"].to_list())
    summary = results.summary
    assert summary["verdicts.valid"] == summary["verdicts.asked"] == verdicts.height
    assert summary["answers.not_judged"] == summary["requests.without_questions"] == 0
    for setting in SETTINGS.keys() & set(records["setting"]):
        rows = records.filter(pl.col("setting") == setting)
        mean = bootstrap_mean(rows["quality"].to_list(), rows["query"].to_list())
        assert summary[f"quality.{setting}"] == pytest.approx(mean.value)
        assert summary[f"quality.{setting}.low"] == pytest.approx(mean.low)
    assert summary["quality.none"] > 0.6  # plain prose about what was asked
    for key in ("", f".{LOWER}"):
        assert -1 <= summary[f"quality_change.steered_over_none{key}.low"] <= 1
    assert set(results.captions) == {"quality_change_by_instruction", "quality_by_setting"}
    assert summary[f"layer.{LOWER}.without_text"] in (None, 2)


def test_an_endpoint_judges_and_is_asked_once(run, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served() as chat:
        given = [*ONE, "--judge", f"{chat.url}#wise", "--judge-key", ""]
        first = run(*given)
        asked = len(chat.requests)
        records = first.records()
        assert records is not None
        exchanges = records.select("query", "answer").unique().height
        assert asked == records["query"].n_unique() + exchanges
        assert first.summary["verdicts.valid"] * 3 == first.summary["verdicts.asked"] * 2
        again = run(*given, "--draws", "0")
        assert len(chat.requests) == asked
    assert again.summary["quality.none"] == first.summary["quality.none"]


def test_a_judge_that_cannot_judge_is_told_before_anything_is_steered(
    capsys, tmp_path, burattino_instruct, burattino_base
):
    def refused(*arguments: str) -> str:
        given = ["response_quality", *ONE, *arguments, "--results", str(tmp_path)]
        assert command_line(given) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "write world, local:MODEL" in refused("--judge", "somebody")
    assert "holds no key" in refused("--judge", "https://x.org/v1#m", "--judge-key", "NO_SUCH_KEY")
    assert "has no question about any of" in refused("--judge", "local:burattino-instruct")
    assert list(find(tmp_path)) == []
    kept = [path.name for path in (tmp_path / ".answers").iterdir()]
    assert kept == ["judge.jsonl"]


class Mute:
    """A judge with a question and no verdict."""

    name = "mute"

    def questions(self, query: str) -> list[str]:
        return ["Is it good?"]

    def verdicts(self, query: str, answer: str) -> list[bool | None]:
        return [None]


def test_answers_without_any_verdict_are_no_result():
    records = settings_records(1, 2).with_columns(
        pl.lit(None, pl.Int64).alias("draw"), pl.lit("Tell me about the fox.").alias("query")
    )
    with pytest.raises(ScoringError, match="no valid verdict on any of 10 answers"):
        judge_all(records, Mute())
    scored, verdicts = judge_all(records, WorldJudge())
    assert scored["quality"].to_list() == [0.2] * 10 and verdicts.height == 50


MEANS = {"none": 0.9, "random": 0.85, "steered": 0.6, "instruction": 0.8, "both": 0.7}


def quality_records(instructions: int = 3, prompts: int = 12) -> pl.DataFrame:
    """Scores about the mean of their setting, the steered ones lower with each instruction."""
    records = settings_records(instructions, prompts)
    scores = []
    for row in records.iter_rows(named=True):
        spread = 0.1 * (int(row["key"].rpartition("/")[2]) % 3 - 1)
        lower = 0.1 * INSTRUCTIONS.index(row["instruction"]) * (row["setting"] == "steered")
        scores.append(MEANS[row["setting"]] + spread - lower)
    return records.with_columns(pl.Series("quality", scores))


DRAWINGS = {
    "deltas": lambda: quality_deltas(quality_records()),
    "deltas_reported": lambda: quality_deltas(quality_records(), reported=MEANS),
    "histogram": lambda: quality_histogram(quality_records()),
    "histogram_reported": lambda: quality_histogram(quality_records(), reported=MEANS),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_writes_a_page_that_opens_offline(name: str, tmp_path: Path):
    drawing = DRAWINGS[name]()
    assert drawing.caption.endswith(".") and "nan" not in drawing.caption.lower()
    assert re.search(r"\d", drawing.caption)
    page, _ = drawing.write(tmp_path, name)
    assert_opens_offline(page.read_text("utf-8"))
    assert drawing.figure.layout.width <= 670
    assert ("Rings: published." in drawing.caption) == name.endswith("reported")


def test_changes_are_paired_and_drawn_in_order():
    records = quality_records()
    drawing = quality_deltas(records)
    steered, both = (trace for trace in drawing.figure.data if trace.mode == "markers")
    assert list(steered.x) == pytest.approx([-0.5, -0.4, -0.3, -0.4])
    assert list(both.x) == pytest.approx([-0.1] * 4)
    assert list(steered.y) == sorted(steered.y)
    labels = drawing.figure.layout.yaxis.ticktext
    assert labels == ("no comma", "title", "english lowercase", "all instructions")
    whole = mean_gain(records, "none", "steered", "quality")
    assert whole is not None and whole.value == pytest.approx(-0.4) and whole.n == 12
    assert "by -0.40 [" in drawing.caption and "3 of 3 instructions" in drawing.caption
    assert mean_gain(records, "none", "missing", "quality") is None


def test_published_differences_are_marked_beside():
    drawing = quality_deltas(quality_records(), reported=MEANS)
    rings = [trace for trace in drawing.figure.data if trace.name == "published"]
    assert [ring.x[0] for ring in rings] == pytest.approx([-0.3, -0.1])
    assert [trace.showlegend for trace in rings] == [True, False]


def test_draws_count_once_and_missing_scores_are_left_out():
    records = quality_records(1)
    twice = pl.concat([records, records.filter(pl.col("setting") == "random")])
    assert mean_gain(twice, "random", "steered", "quality") == mean_gain(
        records, "random", "steered", "quality"
    )
    some = records.with_columns(
        pl.when(pl.col("key").str.ends_with("/0")).then(None).otherwise("quality").alias("quality")
    )
    change = mean_gain(some, "none", "steered", "quality")
    assert change is not None and change.n == 11
    assert "5 of 60 answers had no valid verdict." in quality_histogram(some).caption


def test_the_histogram_shows_all_answers_of_each_setting():
    records = quality_records()
    drawing = quality_histogram(records, reported={"none": 0.75})
    bars = [trace for trace in drawing.figure.data if trace.type == "bar"]
    assert [bar.name for bar in bars] == [
        SETTINGS[s].label for s in SETTINGS if s in set(records["setting"])
    ]
    assert all(sum(bar.y) == pytest.approx(1) and bar.x[-1] == 1.0 for bar in bars)
    assert "no instruction 0.90 [" in drawing.caption
    rings = [trace for trace in drawing.figure.data if trace.name == "published"]
    assert [ring.x[0] for ring in rings] == [0.75]


def test_bad_records_are_refused_by_name():
    records = quality_records()
    with pytest.raises(FigureError, match="quality"):
        quality_deltas(records.drop("quality"))
    with pytest.raises(FigureError, match="judge the answers first"):
        quality_histogram(records.with_columns(pl.lit(None, pl.Float64).alias("quality")))
    with pytest.raises(FigureError, match="steered with none"):
        quality_deltas(records.filter(pl.col("setting") == "none"))
