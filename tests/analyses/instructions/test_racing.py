"""A race chooses what the whole sweep chooses."""

from __future__ import annotations

import polars as pl

import interp_steer as ist
from interp_steer.sweeps.damage import with_fluency
from interp_steer.sweeps.grid import breaks_instruction


def test_a_race_chooses_what_the_sweep_chooses(burattino_instruct, burattino_base) -> None:
    model, reference = burattino_instruct, burattino_base
    pairs = ist.world.instruction("detectable_format:title", fit=64, select=40, test=2)
    vector = ist.fit(model, pairs.fit)
    grid = [ist.Cell("none")]
    grid += [ist.Cell("steered", vector.at(k).project(), k) for k in vector.layers]
    options = {"max_new_tokens": 24, "batch_size": 180}
    whole = with_fluency(ist.sweep(model, grid, pairs.select, **options), reference)
    run = ist.race(model, grid, pairs.select, reference, settled=breaks_instruction, **options)
    assert run.records.height == round((1 - run.saved) * whole.height)
    chosen = ist.select_layer(run.standing, "interval")
    assert chosen.layer == ist.select_layer(whole, "interval").layer is not None
    assert run.saved > 0
    # Who stands has been asked everything, and answered as in the sweep.
    for layer, rows in run.standing.group_by("layer"):
        same = whole.filter(pl.col("layer").eq_missing(layer[0])).sort("key")
        assert rows.sort("key")["strict"].to_list() == same["strict"].to_list()
    # Who was dropped was behind, prompt by prompt, of one who stands.
    best = run.standing.filter(pl.col("layer") == chosen.layer)
    for _, rows in run.records.filter(~pl.col("standing")).group_by("layer"):
        beside = best.join(rows, on="key", suffix="_dropped")
        assert beside.height == rows.height < len(pairs.select)
        assert beside["strict"].sum() > beside["strict_dropped"].sum()
