"""Every analysis on two instructions of the bundled model: it runs, and leaves what it says."""

from __future__ import annotations

import polars as pl
import pytest

from analyses.harness import command_line
from interp_steer.finished import find
from interp_steer.results import Run

SMALL = [
    "--instruction",
    "change_case:english_lowercase",
    "detectable_format:title",
    "--n-fit",
    "12",
    "--n-select",
    "4",
    "--max-new-tokens",
    "48",
    "--layers",
    "2",
    "5",
]


@pytest.fixture
def run(tmp_path, capsys, burattino_instruct, burattino_base):
    def run(*arguments: str) -> dict[str, Run]:
        assert command_line([*arguments, "--results", str(tmp_path)]) == 0
        last = capsys.readouterr().out.strip().splitlines()[-1]
        found = {results.analysis: results for results in map(Run.read, find(tmp_path))}
        assert last == str(found[arguments[0]].path)
        return found

    return run


def test_similarity(run):
    results = run("similarity", *SMALL[:3], "--n", "8")["similarity"]
    assert set(results.captions) == {"similarity_by_layer", "similarity_map"}
    frame = results.records()
    assert frame is not None
    assert frame.group_by("instruction", "comparison").len()["len"].to_list() == [8] * 6
    assert frame.filter(
        (pl.col("low") > pl.col("cosine")) | (pl.col("cosine") > pl.col("high"))
    ).is_empty()


def test_layer_sweep(run):
    results = run("layer_sweep", *SMALL)["layer_sweep"]
    records = results.records()
    assert records is not None
    # Two instructions, four prompts, without and with the text, unsteered and at two layers.
    assert records.height == 2 * 4 * 2 * 3
    assert {"accuracy_by_layer", "accuracy_by_layer_with_text"} == set(results.captions)
    for rule in ("paper", "interval"):
        chosen = results.summary[f"layer.change_case:english_lowercase.without_text.{rule}"]
        assert chosen in (-1, 2, 5)
    assert len(list(results.path.glob("vectors*.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("search", ["early", "race"])
def test_layer_sweep_with_fewer_tokens_chooses_the_same(run, search):
    whole = run("layer_sweep", *SMALL)["layer_sweep"]
    fewer = run("layer_sweep", *SMALL, "--search", search)["layer_sweep"]
    tokens = [results.records()["n_tokens"].sum() for results in (whole, fewer)]
    assert tokens[1] < tokens[0]
    chosen = [key for key in fewer.summary if key.startswith("layer.")]
    assert len(chosen) == 4 and all(key.endswith(".interval") for key in chosen)
    assert all(fewer.summary[key] == whole.summary[key] for key in chosen)


def test_the_papers_rule_is_refused_answers_that_are_cut(capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line(["format_steering", "--rule", "paper", "--search", "race"])
    said = " ".join(capsys.readouterr().err.split())
    assert "the paper's rule needs whole answers" in said and "--rule interval" in said


def test_length_steering(run):
    given = ["--n-fit", "16", "--n-select", "2", "--n-test", "4", "--max-new-tokens", "48"]
    found = run(
        "length_steering", *given, "--layer", "3", "--weights", "1", "2", "--sentences", "2"
    )
    results = found["length_steering"]
    records = results.records()
    assert records is not None
    # Two vectors, four prompts, unsteered and two weights of the vector and of a random one.
    assert records.height == 2 * 4 * (1 + 2 * 2)
    assert records["words"].to_list() == [len(text.split()) for text in records["answer"]]
    assert {"words_by_weight", "words_distribution", "sentences"} == set(results.captions)
    for kind in ("conciseness", "verbosity"):
        assert results.summary[f"words.{kind}.none.0"] > 0
        assert 1 <= results.summary[f"monotone_doses.{kind}"] <= 3
    assert 0 <= results.summary["sentences.both"] <= 1


def test_vocabulary(run):
    results = run("vocabulary", *SMALL[:5], "--top", "3")["vocabulary"]
    records = results.records()
    assert records is not None
    # Two instructions, a vector and a random one, eight layers, two sides, three tokens.
    assert records.height == 2 * 2 * 8 * 2 * 3
    raised = records.filter(pl.col("side") == "raised")
    for (_,), rows in raised.group_by("instruction"):
        scores = rows.filter((pl.col("layer") == 5) & (pl.col("setting") == "vector"))["score"]
        assert scores.to_list() == sorted(scores, reverse=True)
    assert set(results.captions) == {"tokens"}


@pytest.mark.slow
def test_demo_gathers_the_three(run, tmp_path):
    found = run("demo", *SMALL, "--n-test", "4")
    assert set(found) == {"demo", "similarity", "layer_sweep", "format_steering"}
    summary = found["demo"].summary
    for setting in ("none", "steered", "random", "instruction", "both"):
        assert 0 <= summary[f"accuracy.{setting}.low"] <= summary[f"accuracy.{setting}"] <= 1
    assert summary["instructions"] == 2 and summary["wall_seconds"] > 0
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "toy model" in page and "format_steering" in page
