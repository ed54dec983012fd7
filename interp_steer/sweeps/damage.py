"""Measure the damage that steering does beside its effect: fluency, divergence, repetition."""

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
"""Whether an answer is no text; of one that was cut, or whose limit is unknown, it is not known."""


def with_fluency(
    records: pl.DataFrame,
    reference: HookedLM,
    threshold: float | None = None,
    most: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Add ``perplexity``, ``repetition``, ``degenerate`` and ``garbled`` to the records of a sweep.

    A degenerate answer is too easy to predict, or repeats itself, as in the paper. A garbled one is
    harder to predict than every answer that the model gives unsteered for the same instruction,
    with its text or without: steering too hard ends in loops, or in no language at all. They are
    not known (null) of answers that were cut by an early verdict, nor is ``garbled`` of an
    instruction that was never asked for in words.

    Args:
        records: of :func:`sweep`.
        reference: the model whose perplexity is taken; it is not steered.
        threshold: perplexity below which an answer counts as degenerate, 2.5 under GPT-2 in the
            paper. When not given it is read from the records: the least perplexity of the answers
            that were neither steered nor instructed, so that none of them lies below it.
        most: by instruction, the perplexity above which an answer counts as garbled; read from the
            records by :func:`greatest_perplexity` when not given.

    Raises:
        ScoringError: when the threshold must be read from the records and none of them is plain.
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
    found = rows.join(judged, on="row", how="left", maintain_order="left").drop("row")
    limits = greatest_perplexity(found) if most is None else most
    limit = pl.col("instruction").replace_strict(
        dict(limits), default=None, return_dtype=pl.Float64
    )
    return found.with_columns((pl.col("perplexity") > limit).alias("garbled"))


def greatest_perplexity(measured: pl.DataFrame) -> dict[str, float]:
    """The greatest perplexity of the unsteered answers of each instruction, asked for or not.

    Args:
        measured: records with their ``perplexity``.

    Returns:
        By instruction, of those that were asked for in words: what follows an instruction may be
        harder to predict than plain prose, and nothing else says by how much.
    """
    plain = measured.filter(pl.col("applied") == "unsteered")
    told = plain.filter("instructed")["instruction"].unique().to_list()
    most = (
        plain.filter(pl.col("instruction").is_in(told))
        .group_by("instruction")
        .agg(pl.col("perplexity").max())
        .drop_nulls()
    )
    return dict(most.iter_rows())


def with_divergence(
    records: pl.DataFrame, model: HookedLM, grid: Sequence[Cell], pairs: ContrastSet
) -> pl.DataFrame:
    """Add ``kl`` and ``perplexity_ratio``: how far each cell moves the model's predictions.

    Both are of the answers that the unsteered model gave to the same prompts, which do not ask for
    the property: the divergence in nats a token, and how many times less expected the answer is
    under steering. They are 0 and 1 where nothing steers, and not known (null) of instructed cells
    and where the unsteered answer was empty.

    Args:
        records: of ``sweep(model, grid, pairs)``, in its order, with its unsteered cell.
        model: the model.
        grid: the cells of that sweep.
        pairs: the pairs of that sweep.

    Raises:
        ScoringError: when the records are of another grid or other pairs, or cells steer and none
            is unsteered.
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
            f"{', '.join(dict.fromkeys(cell.setting for cell in steering))} steers, and nothing "
            "says what the model answers unsteered; add Cell('none') to the grid"
        )
    # Pair by pair: what a pass predicts unsteered serves all cells that are measured beside it.
    asked = [(cell, pair) for pair in pairs for cell in steering if plain[pair.key].strip()]
    found = (
        divergence(
            model,
            [pair.absent for _, pair in asked],
            [plain[pair.key] for _, pair in asked],
            [cell.steering for cell, _ in asked],
        )
        if asked
        else []
    )
    of = {(id(c), pair.key): one for (c, pair), one in zip(asked, found, strict=True)}
    measured = [
        (None, None)
        if cell.instructed
        else (0.0, 1.0)
        if not cell.steering.edits
        else _damage(of.get((id(cell), pair.key)))
        for cell, pair in rows
    ]
    columns = {"kl": pl.Float64, "perplexity_ratio": pl.Float64}
    return records.hstack(pl.DataFrame(measured, schema=columns, orient="row"))


def _damage(found: Divergence | None) -> tuple[float | None, float | None]:
    if found is None:
        return None, None
    return found.kl, found.perplexity / found.plain_perplexity


def fluency_threshold(measured: pl.DataFrame) -> float:
    """The least perplexity of the answers that were neither steered nor instructed.

    Args:
        measured: records with their ``perplexity``.

    Raises:
        ScoringError: when none of them is plain.
    """
    plain = measured.filter((pl.col("applied") == "unsteered") & ~pl.col("instructed"))
    known = plain["perplexity"].drop_nulls().to_list()
    if not known:
        raise ScoringError(
            "no answer is unsteered and without instruction, so no perplexity threshold can be "
            "read from them; give threshold=2.5 for GPT-2, or add Cell('none') to the grid"
        )
    return min(known)
