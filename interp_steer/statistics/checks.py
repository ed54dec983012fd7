"""Check the values that intervals and tests are made from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from interp_steer.errors import StatisticsError

Values = Collection[Any]
"""Numbers, or booleans where the text says so: a list, an array, or a column of a table."""


def _finite(values: Values, name: str) -> np.ndarray:
    try:
        data = np.asarray(list(values), dtype=np.float64)  # a None becomes NaN, refused below
    except (TypeError, ValueError) as error:
        raise StatisticsError(f"{name} are not all numbers ({error})") from error
    if data.ndim != 1 or len(data) == 0:
        raise StatisticsError(f"{name} of shape {data.shape}; pass a flat list of at least one")
    bad = np.flatnonzero(~np.isfinite(data))
    if len(bad):
        raise StatisticsError(
            f"{len(bad)} of {len(data)} {name} are not finite, the first ({data[bad[0]]}) at index "
            f"{bad[0]}; leave them out and say how many, or mend what made them"
        )
    return data


def _booleans(values: Values, name: str) -> np.ndarray:
    data = _finite(values, name)
    if not np.isin(data, (0.0, 1.0)).all():
        raise StatisticsError(f"{name} must be true or false, got {sorted(set(data.tolist()))[:5]}")
    return data.astype(bool)


def _pairs(a: Values, b: Values) -> tuple[np.ndarray, np.ndarray]:
    _same_length(a, b, "outcomes in a", "in b")
    return _booleans(a, "a"), _booleans(b, "b")


def _same_length(a: Any, b: Any, name_a: str, name_b: str) -> None:
    if len(a) != len(b):
        raise StatisticsError(
            f"{len(a)} {name_a} but {len(b)} {name_b}; pass one of each per prompt, in one order"
        )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise StatisticsError(f"confidence level {level} is not between 0 and 1; 0.95 is usual")


def _percent(level: float) -> str:
    return f"{100 * level:g}%"
