"""The analysis of how far directions can be trusted."""

from __future__ import annotations

import polars as pl
import pytest
import torch

import interp_steer as ist
from analyses.geometry import stability
from analyses.geometry.stability_drift import measure_drift, smooth
from analyses.geometry.stability_extractions import Extractions, cross_phrasings, sample_queries
from analyses.geometry.stability_rows import ALL_PAIRS
from analyses.kit.cli import command_line


# ------------------------------------------------------------------------------ the analysis
def test_the_analysis_leaves_what_it_says(tmp_path, burattino_instruct):
    config = stability.Config(
        base=None,
        instruction=("change_case:english_lowercase",),
        n_queries=16,
        n_fit=8,
        n_phrasings=4,
        n_pairs=(2, 4, 8),
        requests=(1, 2),
        draws=40,
        repeats=10,
        copies=20,
        n_drift=0,
    )
    with ist.open_run("stability", config, root=tmp_path) as run:
        stability.main(config, run)
        results = run.finish()
    records = results.records()
    assert (records["low"] <= records["value"]).all()
    assert (records["value"] <= records["high"]).all()
    by_layer = records.filter(pl.col("part").is_in(["cosine", "norm", "auroc", "seed", "phrasing"]))
    # Five cosines, two lengths, two areas, two of seeds, three of phrasings.
    assert by_layer.group_by("layer").len()["len"].to_list() == [14] * 8
    numbers = records.filter(pl.col("part") == "pairs")
    assert numbers.filter(pl.col("series") == ALL_PAIRS)["at"].to_list() == [2, 4, 8]
    queries = records.filter(pl.col("part") == "queries")
    assert sorted(queries["at"].unique()) == [2, 4, 8]
    drawn = {"cosine", "norm", "auroc", "seed", "phrasing", "requests", "pairs", "queries"}
    assert drawn | {"calibration"} == set(results.captions)
    name = "cosine.change_case:english_lowercase"
    summary = results.summary
    assert 0 <= summary[f"{name}.low"] <= summary[name] <= summary[f"{name}.high"] <= 1
    card = ist.SteeringVector.load(results.vectors[0]).card
    sure = card.reliability.at(4)
    assert (sure.value, sure.n) == (pytest.approx(summary[name]), 8)


@pytest.mark.slow
def test_the_analysis_compares_with_the_base_and_follows_long_answers(run):
    given = ["--instruction", "change_case:english_lowercase", "--n-queries", "16", "--n-fit", "8"]
    given += ["--n-phrasings", "4", "--n-pairs", "2", "4", "8", "--requests", "1", "2"]
    given += ["--draws", "40", "--repeats", "10", "--copies", "20", "--n-drift", "3"]
    results = run("stability", *given, "--max-new-tokens", "24")["stability"]
    assert {"base", "drift_change_case-english_lowercase"} <= set(results.captions)
    steps = results.records("steps")
    assert set(steps["setting"]) == {"none", "random", "steered", "instruction"}
    assert (steps.filter(pl.col("setting").is_in(["none", "instruction"]))["kl"] < 1e-6).all()
    assert steps.filter(pl.col("setting") == "steered")["kl"].mean() > 1e-3
    base = results.records().filter(pl.col("part") == "base")
    assert base.filter(pl.col("series") == "each with itself")["value"].min() > 0.5


def test_sizes_that_make_no_two_extractions_are_refused(capsys):
    assert command_line(["stability", "--n-fit", "70"]) == 2
    assert "--n-queries" in capsys.readouterr().err
    assert command_line(["stability", "--n-phrasings", "40", "--base", "None"]) == 2
    assert "2 or more" in capsys.readouterr().err


def test_any_choice_of_queries_has_the_vector_that_a_fit_on_it_gives(burattino_instruct):
    name, queries = "detectable_format:title", sample_queries("detectable_format:title", 10, 0)
    grid = cross_phrasings(name, queries, 3, 0)
    assert len(grid) == 30 and len(set(grid.queries)) == 10
    found = Extractions.read(burattino_instruct, grid, 4)
    chosen = torch.tensor([[7, 2], [0, 9]])
    for times, phrasing in ((1, [[0, 1]]), (2, [[0, 1], [2, 0]])):
        cells = [
            grid[int(query) * 3 + said]
            for at, query in enumerate(chosen[0])
            for said in (phrasing[0][at : at + 1] if times == 1 else phrasing[at])
        ]
        fitted = ist.fit(burattino_instruct, ist.ContrastSet("some", tuple(cells)))
        mine = found.fit_queries(4, chosen, times)[0].float()
        torch.testing.assert_close(mine, fitted.directions[4], atol=1e-4, rtol=1e-3)
    others = ist.ContrastSet(
        "others", tuple(p for p in grid if p.query not in (queries[0], queries[9]))
    )
    left = ist.fit(burattino_instruct, others)
    mine = found.fit_others(4, chosen)[1].float()
    torch.testing.assert_close(mine, left.directions[4], atol=1e-4, rtol=1e-3)
    assert found.pairs.queries == queries[:4]
    assert [pair.phrasing for pair in found.pairs] == [
        grid[query * 3 + query % 3].phrasing for query in range(4)
    ]


def test_a_drift_is_read_within_answers():
    """A long answer that stays high and a short one that falls: nothing of length, all of fall."""
    rows = [{"query": 0, "step": step, "scaled_projection": 1.0} for step in range(30)]
    rows += [{"query": 1, "step": step, "scaled_projection": -step / 6} for step in range(9)]
    steps = pl.DataFrame(rows).with_columns(
        pl.lit("steered").alias("setting"),
        pl.lit("x").alias("instruction"),
        pl.lit(0.0).alias("kl"),
    )
    assert measure_drift(steps, "steered", 0).value == pytest.approx((0 - 1) / 2)
    means = smooth(steps).filter(pl.col("query") == 1)
    assert means["step"].to_list() == [0, 8]
    assert means["scaled_projection"].to_list() == pytest.approx([0, -4.5 / 6])
