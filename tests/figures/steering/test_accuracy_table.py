"""The table of all models: its rows, the published override, and how it is drawn."""
# plotly declares no types for what its figures hold.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import polars as pl

from figures.published import OVERRIDDEN, as_plotted
from tests.support.synthetic import filter_records, settings_records


def test_the_override_takes_the_answers_of_the_baseline() -> None:
    records = settings_records(3, prompts=12)
    plotted = as_plotted(records)
    assert plotted.height == records.height
    title = OVERRIDDEN[0]
    for steered, baseline in (("steered", "none"), ("both", "instruction")):
        now = filter_records(plotted, instruction=title, setting=steered)
        assert now["strict"].equals(
            filter_records(records, instruction=title, setting=baseline)["strict"]
        )
        others = filter_records(plotted, setting=steered).filter(pl.col("instruction") != title)
        before = filter_records(records, setting=steered).filter(pl.col("instruction") != title)
        assert others.equals(before)
    for setting in ("none", "random", "instruction"):
        assert filter_records(plotted, setting=setting).equals(
            filter_records(records, setting=setting)
        )
    told = records.with_columns(pl.col("instruction").str.replace("title", "title?language=de"))
    assert as_plotted(told)["strict"].equals(plotted["strict"])
