"""The analysis of several vectors together."""

from __future__ import annotations


def test_the_analysis_on_a_tiny_grid(run):
    instructions = ["change_case:english_lowercase", "change_case:english_capital"]
    instructions += ["detectable_format:title"]
    results = run("subspaces", "--instruction", *instructions, "--n", "8", "--draws", "12")[
        "subspaces"
    ]
    cosines = results.records()
    assert cosines is not None and cosines.height == 8 * 3  # layers, couples
    assert ((cosines["low"] <= cosines["cosine"]) & (cosines["cosine"] <= cosines["high"])).all()
    assert set(results.captions) == {
        "cosines",
        "cosines_by_layer",
        "shared_by_layer",
        "rank_by_layer",
        "angles_by_layer",
        "map",
    }
    assert 1 <= results.summary["effective_rank"] <= 3
    assert 0 <= results.summary["angle"] <= 90
    assert results.summary["effective_rank.low"] <= results.summary["effective_rank"]
