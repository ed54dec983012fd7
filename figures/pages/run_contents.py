"""Show what a results folder holds in addition to figures: the cards of vectors, and records."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from interp_steer.results import Results, number_text

FIRST = 5
"""Number of rows of a frame that are shown."""

LONGEST = 80
"""Number of letters of a value that are shown."""


def vector_cards(run: Results) -> list[dict[str, Any]]:
    """Return the vectors of a run: the name of each file, and its card as HTML.

    A file that holds no steering vector has its kind and an empty card.

    Raises:
        VectorError: when a file is damaged.
    """
    if not run.vectors:
        return []
    from safetensors import safe_open

    from interp_steer.vectors import SteeringVector, SteppedVector

    kinds = {"SteeringVector": SteeringVector, "SteppedVector": SteppedVector}
    cards = []
    for path in run.vectors:
        with safe_open(path, framework="numpy") as opened:
            kind = (opened.metadata() or {}).get("interp_steer", "tensors")
        card = ""
        if kind in kinds:
            card = Markup(kinds[kind].load(path)._repr_html_())  # which escapes all text
        cards.append({"file": path.name, "kind": kind, "card": card})
    return cards


def frames_of(run: Results) -> list[dict[str, Any]]:
    """Return the records of a run: the columns of each frame with their contents, and its first
    rows."""
    frames = []
    for name in run.frames:
        frame = run.records(name)
        if frame is None:
            continue
        frames.append(
            {
                "name": name,
                "size": f"{_count_text(frame.height, 'row')}, {_count_text(frame.width, 'column')}",
                "columns": [_column(frame[column]) for column in frame.columns],
                "names": frame.columns,
                "first": [[_short(value) for value in row] for row in frame.head(FIRST).rows()],
            }
        )
    return frames


def _count_text(n: int, what: str) -> str:
    return f"{n:,} {what if n == 1 else what + 's'}"


def _column(values: pl.Series) -> dict[str, str]:
    """Return a column's name, type and contents: the range of numbers, a few of other values."""
    known = values.drop_nulls()
    holds = ""
    if len(known) and values.dtype.is_numeric():
        low, high = known.min(), known.max()
        holds = f"{number_text(low)} to {number_text(high)}"  # type: ignore[arg-type]
    elif len(known) and values.dtype in (pl.String, pl.Boolean):
        distinct = known.unique(maintain_order=True)
        some = ", ".join(_short(value) for value in distinct[:4])
        holds = some if len(distinct) <= 4 else f"{some} and {len(distinct) - 4:,} more"
    return {
        "name": values.name,
        "kind": str(values.dtype),
        "missing": f"{values.null_count():,}" if values.null_count() else "",
        "holds": holds,
    }


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = number_text(value) if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"
