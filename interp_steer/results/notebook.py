"""Show a results folder in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp_steer.notebook import ROWS, compose_card, fold_details, render_table
from interp_steer.results.summary import interval_text, number_text, rows


def render_run(
    analysis: str,
    state: str,
    facts: Mapping[str, Any],
    summary: Mapping[str, float | None],
    captions: Mapping[str, str],
) -> str:
    """Return the HTML of a results folder: its numbers with intervals, and its captions.

    Args:
        analysis: the name of the analysis.
        state: the state of the run, such as ``"finished"``.
        facts: the origin of the results, by name.
        summary: flat numbers, estimates with their ``.low`` and ``.high``.
        captions: the captions of the figures by name.
    """
    lines = [(row.name, number_text(row.value), interval_text(row)) for row in rows(summary)]
    header = ("number", "value", "interval")
    rest = lines[ROWS:]
    return compose_card(
        analysis,
        state,
        facts,
        render_table(header, lines[:ROWS], numeric=(1, 2)) if lines else "",
        fold_details(f"{len(rest)} more numbers", render_table(header, rest, numeric=(1, 2)))
        if rest
        else "",
        fold_details(
            f"{len(captions)} {'figure' if len(captions) == 1 else 'figures'}",
            render_table(("figure", "what it shows"), list(captions.items()), wrap=True),
        )
        if captions
        else "",
    )
