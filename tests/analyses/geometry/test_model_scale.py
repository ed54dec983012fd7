"""Models side by side: relative depths, strengths in a model's own units, notes on the absent."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from analyses.geometry import model_scale
from analyses.geometry.model_scale_study import Steering, Study, spread_layers
from analyses.kit.cli import command_line
from figures.geometry.model_curves import model_curves
from interp_steer.errors import FigureError, OptionError

LOWERCASE = "change_case:english_lowercase"


@given(st.integers(1, 80), st.integers(2, 12))
@settings(deadline=None)
def test_layers_are_spread_from_the_first_to_the_last(n, most):
    layers = spread_layers(n, most)
    assert layers[0] == 0 and layers[-1] == n - 1 and len(layers) == min(n, most)
    gaps = [after - before for before, after in pairwise(layers)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.fixture(scope="module")
def study(burattino_instruct, tmp_path_factory):
    """Lowercase in the bundled chat model, on few prompts and two layers."""
    pairs = ist.world.instruction(LOWERCASE, fit=8, select=3, test=3)
    config = Steering(
        strength=(0.5,), most_layers=2, max_new_tokens=40, graded_tokens=8, n_random=1
    )
    folder = tmp_path_factory.mktemp("study")
    ledger = ist.Ledger(folder / "answers.jsonl")
    return Study.of(burattino_instruct, pairs, config, ledger)


def test_depth_is_of_the_layers(study):
    assert study.layers == [0, 7]
    assert [study.depth(layer) for layer in study.layers] == [0.0, 1.0]


def test_what_is_added_is_a_share_of_the_residual_stream(study):
    """In units of its length, measured on the prompts that strengths are measured on."""
    acts = study.list_edits(study.test, study.layers, study.strengths[:1], [None, 0])
    rows = ist.capture.capture_moments(
        study.calibrator.model, study.calibrator.prompts, keep_rows=True
    ).rows
    for act in acts:
        (edit,) = act.steering[0].edits
        length = (rows.values[ist.Site("resid_post", act.layer)].double() ** 2).sum(1).mean().sqrt()
        assert edit.value == pytest.approx(0.5 * float(length), rel=1e-5)
    own, random = (
        next(act for act in acts if act.draw == draw).steering[0].edits[0].direction
        for draw in (None, 0)
    )
    assert abs(float(own.unit @ random.unit)) < 0.5
    assert float(own.vector.norm()) == pytest.approx(float(random.vector.norm()), rel=1e-5)


def test_the_best_depth_is_where_the_obedient_answer_is_likeliest(study):
    layer, depth = study.best_depth(seed=0)
    acts = study.list_edits(study.select, study.layers, study.strengths[-1:], [None])
    means = [
        sum(score for score in scores if score is not None)
        for scores in study.select.score_answers(acts)
    ]
    assert layer == study.layers[means.index(max(means))]
    assert depth.value == study.depth(layer) and 0 <= depth.low <= depth.value <= depth.high <= 1


def test_equal_kl_is_equal(study):
    """What is added moves predictions by the budget, on the prompts that it was found on."""
    for layer in study.layers:
        steering = study.vector.at(layer).add(
            study.calibrator.coefficient(layer, study.strengths[-1])
        )
        assert study.calibrator.damage(steering).kl == pytest.approx(0.3, rel=0.06)


def test_a_model_that_does_not_obey_is_refused(tiny, tmp_path):
    pairs = ist.world.instruction("detectable_format:title", fit=3, select=2, test=2)
    config = Steering(max_new_tokens=6)
    with pytest.raises(OptionError, match="in none of 2 prompts of the select split"):
        Study.of(tiny("llama3"), pairs, config, ist.Ledger(tmp_path / "answers.jsonl"))


def curves() -> pl.DataFrame:
    rows = [
        (model, LOWERCASE, setting, depth, value, value - 0.1, value + 0.1)
        for model, top in (("small", 0.5), ("large", 0.9))
        for setting, factor in (("vector", 1.0), ("random", 0.1))
        for depth in (0.0, 0.5, 1.0)
        for value in [factor * (top - 0.4 * abs(depth - 0.5))]
    ]
    columns = ["model", "instruction", "setting", "depth", "value", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_a_curve_for_each_model_and_its_peak_in_the_caption():
    drawing = model_curves(curves(), "depth", "relative depth", "success", about="Drawn.")
    named = [trace.name for trace in drawing.figure.data if trace.name]
    assert named == ["small", "large", "random directions"]
    assert "0.50 for small (at 0.50) and 0.90 for large (at 0.50)" in drawing.caption
    with pytest.raises(FigureError, match="undefined"):
        undefined = curves().with_columns(pl.lit(float("inf")).alias("high"))
        model_curves(undefined, "depth", "relative depth", "success", about="")


def test_rows_of_the_best_layer_are_those_of_each_model():
    rows = [
        ("one", LOWERCASE, "best_depth", 3, 1.0), ("one", LOWERCASE, "success", 3, 0.9),
        ("one", LOWERCASE, "success", 1, 0.2), ("one", LOWERCASE, "success", None, 1.0),
        ("two", LOWERCASE, "best_depth", 1, 0.3), ("two", LOWERCASE, "success", 3, 0.4),
    ]  # fmt: skip
    frame = pl.DataFrame(
        rows, schema=["model", "instruction", "quantity", "layer", "value"], orient="row"
    )
    kept = model_scale.select_best_layers(frame)
    assert kept.select("model", "layer").rows() == [
        ("one", 3),
        ("one", 3),
        ("one", None),
        ("two", 1),
    ]


def test_models_that_cannot_be_asked_are_notes(run, checkpoint, tmp_path):
    absent, random = str(tmp_path / "absent"), str(checkpoint("gemma2"))
    given = ["--models", absent, random, "burattino-tiny", "--most-layers", "2"]
    given += ["--strength", "0.5", "--n-fit", "8", "--n-select", "2", "--n-test", "3"]
    results = run("model_scale", *given, "--max-new-tokens", "40", "--graded-tokens", "8")
    found = results["model_scale"]
    notes = pl.read_parquet(found.path / "notes.parquet")
    assert notes["model"].to_list() == [absent, random]
    assert "none of 2 prompts" in notes["note"][1]
    records = found.records()
    assert records["model"].unique().to_list() == ["burattino-tiny"]
    steered = records.filter((pl.col("quantity") == "success") & pl.col("layer").is_not_null())
    # Two layers, one strength and an equal KL, along the vector and a random direction.
    assert steered.height == 2 * 2 * 2
    assert (records["low"] <= records["value"]).all() and (
        records["value"] <= records["high"]
    ).all()
    assert found.summary["models"] == 1
    assert {"auroc_by_depth", "success_by_depth_0.3kl", "best_layers"} <= set(found.captions)


def test_when_no_model_can_be_asked_it_is_said(tmp_path, capsys):
    given = ["--models", str(tmp_path / "absent"), "--results", str(tmp_path)]
    assert command_line(["model_scale", *given]) == 2
    assert str(tmp_path / "absent") in capsys.readouterr().err
