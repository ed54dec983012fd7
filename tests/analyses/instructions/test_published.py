"""Paper A's stored answers: read, scored and chosen from as the paper did."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from analyses.kit.cli import command_line
from figures.published import published, reported
from interp_steer.errors import RunError
from interp_steer.results.finished import find, read
from interp_steer.sweeps import published_answers
from interp_steer.sweeps.selection import select_layer, stability
from tests.support.shared import SHARED

OUTPUTS = SHARED / "data" / "llm-steer-instruct" / "outputs-phi-3"
PHI = "microsoft/Phi-3-mini-4k-instruct"
SETTINGS = ("none", "steered", "instruction", "both")

with_outputs = pytest.mark.skipif(
    not OUTPUTS.is_dir(), reason="../shared/data/llm-steer-instruct/outputs-phi-3 is missing"
)


# ----------------------------------------------------------------------- the real files
@with_outputs
def test_loose_scoring_gives_what_the_paper_reports() -> None:
    answers = published_answers.read_format(OUTPUTS)
    told = reported(PHI, "format", "loose")
    for setting in SETTINGS:
        rows = answers.filter(pl.col("setting") == setting)
        assert rows.height == 163
        assert rows["loose"].sum() == pytest.approx(163 * told[setting, ""], abs=1)


@with_outputs
def test_the_papers_rule_chooses_every_layer_that_was_run() -> None:
    answers = published_answers.read_format(OUTPUTS)
    searched = published_answers.read_layer_search(OUTPUTS)
    run = {
        (row["variant"], row["setting"] == "both"): row["layer"]
        for row in answers.iter_rows(named=True)
        if row["setting"] in ("steered", "both")
    }
    chosen = {
        asked: select_layer(rows, "paper", column="stored").layer
        for asked, rows in searched.group_by("instruction", "instructed")
    }
    both = run.keys() & chosen.keys()
    assert len(both) == 46
    assert {asked: chosen[asked] for asked in both} == {asked: run[asked] for asked in both}


@with_outputs
def test_the_table_holds_the_layers_that_were_run() -> None:
    answers = published_answers.read_format(OUTPUTS)
    steered = answers.filter(pl.col("layer").is_not_null())
    found = {
        (row["setting"], row["variant"]): row["layer"] for row in steered.iter_rows(named=True)
    }
    assert found == reported(PHI, "format", "layer")


@with_outputs
def test_numbers_of_sentences_are_the_papers_within_two_answers() -> None:
    counted = published_answers.read_length(OUTPUTS)
    for relation in ("at most", "exactly"):
        told = reported(PHI, f"{relation} k sentences", "strict")
        for (setting, k), value in told.items():
            rows = counted.filter(
                (pl.col("relation") == relation)
                & (pl.col("setting") == setting)
                & (pl.col("k") == int(k))
            )
            assert rows["strict"].sum() == pytest.approx(value * rows.height, abs=2)


# ----------------------------------------------------------------------- files of that layout
LAYERS = (-1, 4, 6)


def write_outputs(folder: Path) -> Path:
    """A folder of the published layout: two instructions, made-up answers."""
    asked = [("punctuation:no_comma", {}), ("change_case:english_lowercase", {})]
    good = {"punctuation:no_comma": "One two", "change_case:english_lowercase": "all is low"}
    bad = "Well, No"

    def row(n: int, instruction: str, kwargs: dict[str, object], response: str, **more: object):
        return {
            "uid": n,
            "key": n,
            "prompt": f"Question {n}. Obey.",
            "prompt_no_instr": f"Question {n}.",
            "prompt_without_instruction": f"Question {n}.",
            "instruction_id_list": [instruction],
            "kwargs": [{**kwargs, "unused": None}],
            "response": response,
            **more,
        }

    def write(name: str, rows: list[dict[str, object]]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")

    plain = [row(n, *asked[n % 2], bad) for n in range(8)]
    obeyed = [row(n, *asked[n % 2], good[asked[n % 2][0]], steering_layer=6) for n in range(6)]
    write("format/no_instr.jsonl", plain)
    write("format/standard.jsonl", plain)
    write("format/adjust_rs_-1_perplexity.jsonl", obeyed)
    write("format/instr_plus_adjust_rs_-1_perplexity.jsonl", obeyed)
    for name in ("out_instr", "out_no_instr"):
        write(
            f"layer_search/{name}.jsonl",
            [
                row(
                    n,
                    *asked[n % 2],
                    good[asked[n % 2][0]] if layer == 6 else bad,
                    layer=layer,
                    perplexity=20.0 if layer < 6 or n else 2.0,
                    single_instruction_id=asked[n % 2][0],
                    follow_all_instructions=layer == 6,
                )
                for layer in LAYERS
                for n in range(8)
            ],
        )
    for name in ("no_steering_at_most", "at_most_plus_12", "no_steering_exactly", "exactly_plus"):
        two = "First one here. And then another."
        write(
            f"length/{name}.jsonl",
            [row(n, *asked[0], two, length_constraint=n % 3) for n in range(6)],
        )
    return folder


def test_only_prompts_that_all_settings_have_are_compared(tmp_path: Path) -> None:
    answers = published_answers.read_format(write_outputs(tmp_path))
    assert answers.height == 4 * 6
    shares = {s: answers.filter(pl.col("setting") == s)["loose"].mean() for s in SETTINGS}
    assert shares == {"none": 0.0, "steered": 1.0, "instruction": 0.0, "both": 1.0}
    steered = answers.filter(pl.col("setting") == "steered")
    assert steered["layer"].unique().to_list() == [6]
    assert steered["prompt"][0] == "Question 0."  # what was asked, which the stored prompt is not


def test_a_layer_with_a_degenerate_answer_counts_as_zero(tmp_path: Path) -> None:
    searched = published_answers.read_layer_search(write_outputs(tmp_path))
    chosen = {
        (name, instructed): select_layer(rows, "paper", column="stored").layer
        for (name, instructed), rows in searched.group_by("instruction", "instructed")
    }
    assert chosen["punctuation:no_comma", False] is None  # prompt 0 is one of its
    assert chosen["change_case:english_lowercase", True] == 6


def test_sentences_are_counted_against_the_number_asked_for(tmp_path: Path) -> None:
    counted = published_answers.read_length(write_outputs(tmp_path))
    kept = {(row["relation"], row["k"]): row["strict"] for row in counted.iter_rows(named=True)}
    assert kept["at most", 1] is False and kept["at most", 2] and kept["at most", 3]
    assert kept["exactly", 2] and kept["exactly", 3] is False


def test_an_answer_that_cannot_be_scored_keeps_the_stored_verdict(tmp_path: Path) -> None:
    folder = write_outputs(tmp_path)
    path = folder / "layer_search" / "out_instr.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows[-1]["instruction_id_list"] = ["change_case:capital_word_frequency"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    searched = published_answers.read_layer_search(folder)
    last = searched.filter(pl.col("unscored").is_not_null())
    assert last.height == 1 and last["strict"][0] is None and last["verdict"][0] is True
    assert "capital_frequency" in last["unscored"][0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "format/standard.jsonl").unlink(), "one file standard.jsonl"),
        (lambda folder: (folder / "format/adjust_rs_2.jsonl").touch(), "and holds adjust_rs_-1"),
        (
            lambda folder: (folder / "format/standard.jsonl").write_text('{"key": 1}\n'),
            "line 1, has no response",
        ),
        (lambda folder: (folder / "format/standard.jsonl").write_text("{"), "line 1, .*JSON"),
    ],
)
def test_folders_of_another_form_are_refused(tmp_path: Path, spoil, said: str) -> None:
    folder = write_outputs(tmp_path)
    spoil(folder)
    with pytest.raises(RunError, match=said):
        published_answers.read_format(folder)


def test_the_analysis_runs_on_any_folder_of_the_layout(tmp_path: Path) -> None:
    folder, results = write_outputs(tmp_path / "outputs"), tmp_path / "results"
    given = ["published", "--outputs", str(folder), "--results", str(results)]
    assert command_line([*given, "--model", "some/model"]) == 0
    (found,) = map(read, find(results))
    assert found.summary["accuracy.steered"] == 1.0
    assert found.summary["layers.as_published"] == 2 and found.summary["layers.searched"] == 4
    assert {"sentences", "chosen_again", "accuracy_by_layer_with_text"} <= set(found.captions)


# ----------------------------------------------------------------------- how firm a choice is
def test_a_choice_that_every_prompt_supports_is_always_made_again() -> None:
    rows = [
        {"layer": layer, "key": str(n), "strict": layer == 4, "degenerate": False}
        for layer in (None, 2, 4)
        for n in range(8)
    ]
    assert stability(pl.DataFrame(rows)) == {None: 0.0, 2: 0.0, 4: 1.0}


def test_a_choice_by_one_prompt_is_made_again_when_that_prompt_is_drawn() -> None:
    rows = [
        {"layer": layer, "key": str(n), "strict": layer == 4 and n == 0, "degenerate": False}
        for layer in (None, 4)
        for n in range(8)
    ]
    found = stability(pl.DataFrame(rows), n_resamples=20_000)
    assert found[4] == pytest.approx(1 - (7 / 8) ** 8, abs=0.01)
    assert sum(found.values()) == pytest.approx(1.0)


# ----------------------------------------------------------------------- the table
def test_the_table_names_its_sources_and_has_no_row_twice() -> None:
    table = published()
    assert table["source"].null_count() == 0
    assert not table.select("model", "experiment", "setting", "at", "outcome").is_duplicated().any()
    shares = table.filter(pl.col("outcome").is_in(["strict", "loose", "quality"]))
    assert shares["value"].is_between(0, 1).all()
    assert reported("no/model", "format", "loose") == {}
