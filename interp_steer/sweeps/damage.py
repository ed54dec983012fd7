"""Measure the damage of steering in addition to its effect: fluency, divergence, repetition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import ScoringError
from interp_steer.generation.answer_scores import Divergence, divergence
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.scoring.fluency import is_degenerate, perplexity, repetition
from interp_steer.sweeps.grid import Cell

BROKEN = pl.any_horizontal(pl.col("degenerate", "garbled").fill_null(False))
"""Whether an answer is degenerate or garbled; an unknown verdict (null) counts as neither."""


def with_fluency(
    records: pl.DataFrame,
    reference: HookedLM,
    threshold: float | None = None,
    most: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Add ``perplexity``, ``repetition``, ``degenerate`` and ``garbled`` to the records of a sweep.

    A degenerate answer is too easy to predict, or repeats itself, as in the paper. A garbled answer
    is harder to predict than every answer of the unsteered model to the same instruction, with its
    text or without: steering that is too strong ends in loops, or in text of no language. The new
    columns are null for answers that were cut by an early verdict; ``garbled`` is also null for an
    instruction that was never asked for in words.

    Args:
        records: of :func:`interp_steer.sweeps.grid.sweep`.
        reference: the unsteered model that computes the perplexity.
        threshold: perplexity below which an answer counts as degenerate, 2.5 under GPT-2 in the
            paper. When not given, :func:`fluency_threshold` reads it from the records, so that no
            answer without steering and instruction lies below the threshold.
        most: by instruction, the perplexity above which an answer counts as garbled; read from the
            records by :func:`greatest_perplexity` when not given.

    Raises:
        ScoringError: when the threshold must be read from the records, and every record is steered
            or instructed.
    """
    rows = records.with_row_index("row")
    whole = rows.filter(pl.col("finish_reason") != "settled")
    measured = whole.with_columns(
        pl.Series("perplexity", perplexity(reference, whole["answer"].to_list()), dtype=pl.Float64),
        pl.Series("repetition", map(repetition, whole["answer"]), dtype=pl.Float64),
    )
    if threshold is None:
        threshold = fluency_threshold(measured)
    judged = measured.select(
        "row",
        "perplexity",
        "repetition",
        pl.Series(
            "degenerate",
            [
                is_degenerate(surprise, repeated, threshold=threshold)
                for surprise, repeated in measured.select("perplexity", "repetition").iter_rows()
            ],
            dtype=pl.Boolean,
        ),
    )
    joined = rows.join(judged, on="row", how="left", maintain_order="left").drop("row")
    limits = greatest_perplexity(joined) if most is None else most
    limit = pl.col("instruction").replace_strict(
        dict(limits), default=None, return_dtype=pl.Float64
    )
    return joined.with_columns((pl.col("perplexity") > limit).alias("garbled"))


def greatest_perplexity(measured: pl.DataFrame) -> dict[str, float]:
    """Find the greatest perplexity of the unsteered answers of each instruction, asked for or not.

    Args:
        measured: records with their ``perplexity``.

    Returns:
        The perplexity by instruction, for instructions that were asked for in words. An answer that
        follows an instruction may be harder to predict than plain prose; only the answers to the
        instruction in words show by how much.
    """
    plain = measured.filter(pl.col("applied") == "unsteered")
    asked = plain.filter("instructed")["instruction"].unique().to_list()
    most = (
        plain.filter(pl.col("instruction").is_in(asked))
        .group_by("instruction")
        .agg(pl.col("perplexity").max())
        .drop_nulls()
    )
    return dict(most.iter_rows())


def with_divergence(
    records: pl.DataFrame, model: HookedLM, grid: Sequence[Cell], pairs: ContrastSet
) -> pl.DataFrame:
    """Add ``kl`` and ``perplexity_ratio``: how far each cell moves the model's predictions.

    Both are computed on the answers of the unsteered model to the same prompts, which do not ask
    for the property. ``kl`` is the divergence in nats a token; ``perplexity_ratio`` is the
    perplexity of the answer with steering over the perplexity without. They are 0 and 1 for cells
    without steering, and null for instructed cells and for empty unsteered answers.

    Args:
        records: of ``sweep(model, grid, pairs)``, in the same order, with an unsteered cell.
        model: the model.
        grid: the cells of that sweep.
        pairs: the pairs of that sweep.

    Raises:
        ScoringError: when the records are of another grid or other pairs, or when cells steer and
            an unsteered cell is missing.
    """
    rows = [(cell, pair) for cell in grid for pair in pairs]
    if [pair.key for _, pair in rows] != records["key"].to_list():
        raise ScoringError(
            f"{records.height} records are not those of {len(grid)} cells on {len(pairs)} pairs; "
            "give the records as sweep(model, grid, pairs) left them"
        )
    steering = [cell for cell in grid if cell.steering.edits and not cell.instructed]
    plain = {
        pair.key: answer
        for (cell, pair), answer in zip(rows, records["answer"], strict=True)
        if not (cell.steering.edits or cell.instructed)
    }
    if steering and not plain:
        raise ScoringError(
            f"{', '.join(dict.fromkeys(cell.setting for cell in steering))} steers, but the "
            "records have no unsteered answers; add Cell('none') to the grid"
        )
    # Pair by pair, so that one unsteered forward pass serves all cells of the pair.
    asked = [(cell, pair) for pair in pairs for cell in steering if plain[pair.key].strip()]
    divergences = (
        divergence(
            model,
            [pair.absent for _, pair in asked],
            [plain[pair.key] for _, pair in asked],
            [cell.steering for cell, _ in asked],
        )
        if asked
        else []
    )
    by_row = {
        (id(cell), pair.key): moved for (cell, pair), moved in zip(asked, divergences, strict=True)
    }
    measured = [
        (None, None)
        if cell.instructed
        else (0.0, 1.0)
        if not cell.steering.edits
        else _ratios(by_row.get((id(cell), pair.key)))
        for cell, pair in rows
    ]
    columns = {"kl": pl.Float64, "perplexity_ratio": pl.Float64}
    return records.hstack(pl.DataFrame(measured, schema=columns, orient="row"))


def _ratios(moved: Divergence | None) -> tuple[float | None, float | None]:
    if moved is None:
        return None, None
    return moved.kl, moved.perplexity / moved.plain_perplexity


def fluency_threshold(measured: pl.DataFrame) -> float:
    """Find the least perplexity of the answers that were neither steered nor instructed.

    Args:
        measured: records with their ``perplexity``.

    Raises:
        ScoringError: when every answer is steered or instructed.
    """
    plain = measured.filter((pl.col("applied") == "unsteered") & ~pl.col("instructed"))
    known = plain["perplexity"].drop_nulls().to_list()
    if not known:
        raise ScoringError(
            "no answer is unsteered and without instruction, so that no perplexity threshold can "
            "be read from them; give threshold=2.5 for GPT-2, or add Cell('none') to the grid"
        )
    return min(known)
