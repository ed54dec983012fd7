"""The analysis of how an edit travels through the layers."""

from __future__ import annotations

import polars as pl
import pytest


@pytest.mark.parametrize("answer_tokens", ["0", pytest.param("6", marks=pytest.mark.slow)])
def test_the_analysis_leaves_what_it_says(run, answer_tokens):
    given = ["--instruction", "change_case:english_lowercase", "--n-fit", "8", "--n-test", "4"]
    given += ["--n-select", "4", "--layer", "5", "--strength", "0.1", "0.5", "--n-random", "2"]
    results = run("propagation", *given, "--answer-tokens", answer_tokens)["propagation"]
    records = results.records()
    # Two strengths, a vector and two random directions, three layers, four prompts.
    assert records.height == 2 * 3 * 3 * 4
    at = records.filter(pl.col("layer") == 5)
    assert at["survival"].to_list() == pytest.approx([1.0] * at.height, abs=1e-4)
    erased = pl.read_parquet(results.path / "erased.parquet")
    assert erased.height == 2 * 3 * 4 and erased["layer"].drop_nulls().is_in([6, 7]).all()
    drawn = {"survival", "rotation", "toward_fitted", "inflation", "lens_kl", "lens_tokens"}
    assert drawn == set(results.captions)
    name = "survival.vector.0.5"
    summary = results.summary
    assert summary[f"{name}.low"] <= summary[name] <= summary[f"{name}.high"]
