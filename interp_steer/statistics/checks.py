"""Check the values that intervals and tests are made from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from interp_steer.errors import StatisticsError

Values = Collection[Any]
"""Numbers or booleans, as the function says: a list, an array, or a column of a table."""


def check_finite(values: Values, name: str) -> np.ndarray:
    """Return values as a flat array of finite numbers.

    Raises:
        StatisticsError: for an empty list, or a value that is not a finite number.
    """
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
            f"{bad[0]}; leave them out and say how many, or fix their source"
        )
    return data


def check_booleans(values: Values, name: str) -> np.ndarray:
    """Return values as an array of booleans.

    Raises:
        StatisticsError: for an empty list, or a value other than true and false.
    """
    data = check_finite(values, name)
    if not np.isin(data, (0.0, 1.0)).all():
        raise StatisticsError(f"{name} must be true or false, got {sorted(set(data.tolist()))[:5]}")
    return data.astype(bool)


def check_paired(a: Values, b: Values) -> tuple[np.ndarray, np.ndarray]:
    """Return the outcomes of two settings on the same prompts as arrays of booleans.

    Raises:
        StatisticsError: for lists of different lengths, or outcomes other than true and false.
    """
    check_same_length(a, b, "outcomes in a", "in b")
    return check_booleans(a, "a"), check_booleans(b, "b")


def check_same_length(a: Any, b: Any, name_a: str, name_b: str) -> None:
    """Refuse lists of different lengths.

    Raises:
        StatisticsError: with both lengths.
    """
    if len(a) != len(b):
        raise StatisticsError(
            f"{len(a)} {name_a} but {len(b)} {name_b}; pass one of each per prompt, in one order"
        )


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1).

    Raises:
        StatisticsError: with the level.
    """
    if not 0 < level < 1:
        raise StatisticsError(f"confidence level {level} is not between 0 and 1; 0.95 is usual")


def format_percent(level: float) -> str:
    """Write a confidence level as a percentage."""
    return f"{100 * level:g}%"
