"""The analysis of single heads."""

from __future__ import annotations

import pytest

from tests.support.sizes import SMALL


def test_the_analysis_on_a_tiny_grid(run):
    instructions = ["change_case:english_lowercase", "detectable_format:title"]
    results = run("head_geometry", "--instruction", *instructions, *SMALL)["head_geometry"]
    records = results.records()
    assert records is not None
    # Instructions, prompts and numbers of heads; three rankings and random heads steer and are
    # taken away, random directions only steer.
    assert records.height == 2 * 4 * 2 * (4 * 2 + 1)
    assert (records.filter(act="steer")["kl"] > 0).all()
    assert {"auroc", "head_shares", "head_cosines", "shares_by_layer"} < set(results.captions)
    for name in instructions:
        assert results.summary[f"shares.error.{name}"] < 1e-5
        parts = ("embedding", "attention", "mlp")
        assert sum(results.summary[f"share.{part}.{name}"] for part in parts) == pytest.approx(1)
        # The best heads were chosen on other prompts, and are better than random ones.
        assert results.summary[f"auroc.best.{name}"] > 0.8
        kept = results.summary[f"ablate.top_by_norm.6.{name}"]
        assert kept < results.summary[f"ablate.random_heads.6.{name}"]
