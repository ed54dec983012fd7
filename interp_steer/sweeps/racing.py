"""Run a race of cells: drop a cell that can no longer win before all prompts are asked.

Cells are compared prompt by prompt. Of two cells that are equally good, each wins half of the
prompts on which they differ; how far a count of wins strays from that is weighed by a test
martingale, which may be looked at after every prompt (Ville 1939; Robbins 1970): the chance that it
ever reaches ``k`` for cells that are equal is at most ``1 / k``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool

from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ScoringError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.statistics.paired import sign_evidence
from interp_steer.sweeps.damage import BROKEN, fluency_threshold, greatest_perplexity, with_fluency
from interp_steer.sweeps.grid import Cell, answer_cells, check_grid


@dataclass(frozen=True)
class Race:
    """The records of a race, and its error."""

    records: pl.DataFrame
    """A row per answer, with the columns of a sweep and of ``with_fluency``, and ``standing``:
    whether the cell was never dropped and has answered every prompt."""
    error: float
    """The largest probability that the best cell was dropped."""
    n_answers: int
    """The number of answers of a whole sweep."""

    @property
    def standing(self) -> pl.DataFrame:
        """Take the records of the cells that were never dropped, to choose from."""
        return self.records.filter("standing")

    @property
    def saved(self) -> float:
        """Compute the share of the answers of a whole sweep that the race did not need."""
        return 1 - self.records.height / self.n_answers


def race(
    model: HookedLM,
    grid: Sequence[Cell],
    pairs: ContrastSet,
    reference: HookedLM,
    *,
    error: float = 0.05,
    threshold: float | None = None,
    settled: Callable[[Pair, str], bool] | None = None,
    seed: int = 0,
    **options: Any,
) -> Race:
    """Sweep the cells of a grid in rounds of prompts, dropping those that can no longer win.

    The first round has the fewest prompts after which a cell can be dropped; each further round
    has twice as many prompts as the round before, because a few rows take as many decoding steps as
    many rows.

    Cells with a layer race: instructed cells among themselves, and the other cells among
    themselves. An answer succeeds when it is ``strict`` and neither degenerate nor garbled, as
    under the ``"interval"`` rule of :func:`interp_steer.sweeps.selection.select_layer`. Cells
    without a layer answer all prompts.

    Args:
        model: the model that answers.
        grid: the cells, at least one of them without a layer.
        pairs: the prompts, which are asked in an order drawn from ``seed``.
        reference: the model whose perplexity identifies degenerate answers.
        error: the largest probability that the best cell is dropped.
        threshold: see :func:`interp_steer.sweeps.damage.with_fluency`; read from the answers of
            the cells without a layer when not given.
        settled: an early verdict, see :func:`interp_steer.sweeps.grid.sweep`.
        seed: of the order of the prompts.
        options: for :func:`interp_steer.generation.completions.generate`.

    Raises:
        ScoringError: for an error outside of (0, 1), or when the threshold must be read and every
            cell has a layer.
        GenerationError: when the grid is empty, or holds anything but a cell.
        ContrastError: for pairs that are not a contrast set.

    Example:
        >>> grid = [ist.Cell("none"), ist.Cell("steered", vector.at(5).project(), 5)]
        >>> outcome = ist.race(model, grid, pairs.select, reference=model, max_new_tokens=8)
        >>> outcome.n_answers  # 2 cells, 4 pairs
        8
    """
    if not 0 < error < 1:
        raise ScoringError(f"error {error} is not in (0, 1); 0.05 drops the best cell once in 20")
    check_grid(grid, pairs)
    drawn = Random(seed).sample(list(pairs), len(pairs))
    raced = [place for place, cell in enumerate(grid) if cell.layer is not None]
    ways = {grid[place].instructed for place in raced}
    lanes = [[place for place in raced if grid[place].instructed is way] for way in sorted(ways)]
    fixed, racing = [place for place in range(len(grid)) if place not in raced], list(raced)

    won: dict[int, list[bool]] = {cell: [] for cell in racing}
    most: dict[str, float] | None = None
    rows = [(cell, pair) for cell in fixed for pair in drawn]
    frames: list[pl.DataFrame] = []
    look = min(
        (fewest_decisive_prompts(len(lane) - 1, error) for lane in lanes), default=len(drawn)
    )
    seen = 0
    while seen < len(drawn):
        rows += [(cell, pair) for cell in racing for pair in drawn[seen : seen + look]]
        records = answer_cells(
            model,
            [(grid[cell], pair) for cell, pair in rows],
            pairs.name,
            settled=settled,
            **options,
        ).with_columns(cell=pl.Series([cell for cell, _ in rows], dtype=pl.Int64))
        frames.append(with_fluency(records, reference, threshold, most))
        if threshold is None:
            threshold = fluency_threshold(frames[0])
        if most is None:  # the unsteered answers are all among the first
            most = greatest_perplexity(frames[0])
        for (cell,), mine in frames[-1].group_by("cell", maintain_order=True):
            if cell in won:
                won[cell] += mine.select(pl.col("strict") & ~BROKEN).to_series().to_list()
        for lane in lanes:
            running = [cell for cell in lane if cell in racing]
            lost = find_beaten(np.array([won[cell] for cell in running]), len(lane) - 1, error)
            dropped = {cell for cell, gone in zip(running, lost, strict=True) if gone}
            racing = [cell for cell in racing if cell not in dropped]
        rows, seen, look = [], seen + look, 2 * look
    records = pl.concat(frames).sort("cell", maintain_order=True)
    standing = pl.col("cell").is_in([*fixed, *racing])
    return Race(records.with_columns(standing=standing).drop("cell"), error, len(grid) * len(pairs))


def fewest_decisive_prompts(rivals: int, error: float) -> int:
    """Count the prompts, at least, on which a cell must lose to another cell to be dropped."""
    return next(n for n in count(1) if sign_evidence(n, 0) * error >= max(rivals, 1))


def find_beaten(
    outcomes: Bool[np.ndarray, "cell prompt"], rivals: int, error: float
) -> Bool[np.ndarray, " cell"]:
    """Find the cells that are beaten by another cell.

    A cell that is at least as good as every other cell is ever beaten with a probability of at most
    ``error``, however often the outcomes are compared.

    Args:
        outcomes: whether each cell succeeded, on the same prompts.
        rivals: the number of other cells at the start, including cells that were dropped since.
        error: the largest probability that the best cell is beaten.
    """
    wins = outcomes.astype(int) @ (~outcomes).astype(int).T  # [cell, other]
    return (sign_evidence(wins, wins.T) * error >= max(rivals, 1)).any(axis=0)
