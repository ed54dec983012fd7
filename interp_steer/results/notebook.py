"""Show a results folder in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp_steer.notebook import ROWS, _card, _folded, _table


def run_card(
    analysis: str,
    state: str,
    facts: Mapping[str, Any],
    summary: Mapping[str, float | None],
    captions: Mapping[str, str],
) -> str:
    """A results folder: its numbers with their intervals, and what its figures show.

    Args:
        analysis: that left it.
        state: whether it is finished.
        facts: where it is from.
        summary: flat numbers, estimates with ``.low`` and ``.high`` beside them.
        captions: of its figures, by name.
    """
    # Here, since prompts and answers have displays too and need none of what tables need.
    from interp_steer.results.summary import interval_text, number_text, rows

    lines = [(row.name, number_text(row.value), interval_text(row)) for row in rows(summary)]
    header = ("number", "value", "interval")
    rest = lines[ROWS:]
    return _card(
        analysis,
        state,
        facts,
        _table(header, lines[:ROWS], numeric=(1, 2)) if lines else "",
        _folded(f"{len(rest)} more numbers", _table(header, rest, numeric=(1, 2))) if rest else "",
        _folded(
            f"{len(captions)} {'figure' if len(captions) == 1 else 'figures'}",
            _table(("figure", "what it shows"), list(captions.items()), wrap=True),
        )
        if captions
        else "",
    )
