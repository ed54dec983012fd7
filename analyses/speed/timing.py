"""Contenders that take turns, and the ratio of their speeds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from interp_steer.statistics.intervals import Interval


@dataclass(frozen=True)
class Lap:
    """Some work and how long it took."""

    units: float
    """Completions, prompts or tokens."""
    seconds: float

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work."""

    name: str
    lap: Callable[[int], Lap]
    """Does the work of one lap, given its number; lap -1 warms up and does not count."""


def clocked(work: Callable[[], float]) -> Lap:
    """Time some work that returns how much it was."""
    start = time.perf_counter()
    units = work()
    return Lap(units, time.perf_counter() - start)


def alternate(contenders: Sequence[Contender], laps: int) -> dict[str, list[float]]:
    """Let contenders take turns, so that what else the machine does strikes them alike.

    Args:
        contenders: who takes part.
        laps: how many laps count; one before them warms up.

    Returns:
        The rate of each contender in each lap.
    """
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    turns = [(lap, contender) for lap in range(-1, laps) for contender in contenders]
    bar = tqdm(turns, unit="turn", disable=None)
    for lap, contender in bar:
        bar.set_description(contender.name)
        rate = contender.lap(lap).rate
        if lap >= 0:
            rates[contender.name].append(rate)
    return rates


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Median over laps of the ratio of two rates, with the least and the greatest."""
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Interval(
        statistics.median(each), min(each), max(each), len(each), "median, least, greatest"
    )
