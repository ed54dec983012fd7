"""The analysis of single layers."""

from __future__ import annotations

import polars as pl


def test_the_analysis_leaves_what_it_says(run):
    names = ["change_case:english_lowercase", "detectable_format:title"]
    given = ["--instruction", *names, "--n-fit", "8", "--n-test", "6", "--n-random", "2"]
    results = run("layer_geometry", *given)["layer_geometry"]
    records = results.records()
    # At each layer four dimensions, three of two sides, two of the head; by chance three of these.
    assert records.group_by("instruction", "layer").len()["len"].unique().to_list() == [12]
    assert (records["low"] <= records["value"]).all() and (
        records["value"] <= records["high"]
    ).all()
    projections = pl.read_parquet(results.path / "projections.parquet")
    assert projections.height == 2 * 8 * 2 * 6
    cosines = pl.read_parquet(results.path / "cosines.parquet")
    assert cosines.height == 2 * 8 * 8
    drawn = {"layer_cosines", "projections", "effective_rank", "auroc", "relative_norm"}
    assert drawn | {"unembedding_share"} == set(results.captions)
    assert 0 <= results.summary["auroc.vector.low"] <= results.summary["auroc.vector"] <= 1
