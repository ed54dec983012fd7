"""Sweep a grid: answer every pair of a contrast set in every cell, in shared batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import polars as pl

from interp_steer.contrast.contrast_set import ContrastSet, check_set
from interp_steer.contrast.pair import Pair
from interp_steer.errors import GenerationError
from interp_steer.generation.completions import Completion, GenerationOptions, generate
from interp_steer.generation.ledger import Ledger
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.scoring import early, ifeval

Score = Callable[[Pair, Completion], dict[str, Any]]
"""Scores an answer: returns plain values by the names of their columns."""

RECORD = {
    "instruction": pl.String,
    "setting": pl.String,
    "instructed": pl.Boolean,
    "operation": pl.String,
    "layer": pl.Int64,
    "strength": pl.Float64,
    "draw": pl.Int64,
    "applied": pl.String,
    "key": pl.String,
    "phrasing": pl.String,
    "query": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "finish_reason": pl.String,
    "n_tokens": pl.Int64,
}
"""The first columns of every record; the score and the fluency add further columns."""


@dataclass(frozen=True)
class Cell:
    """One setting of a sweep: the side of the prompts that is asked, and the intervention."""

    setting: str
    """The name of the setting in figures: none, steered, random, instruction or both."""
    steering: Intervention = unsteered
    """The intervention on the model while it answers."""
    layer: int | None = None
    """The layer that the sweep varies; None without steering."""
    instructed: bool = False
    """Whether the text instruction stands in the prompt."""
    draw: int | None = None
    """The number of the random direction that steers; None for a direction that is not random."""
    strength: float | None = None
    """The strength that the sweep varies, in the unit of the analysis; None without a strength."""
    operation: str | None = None
    """The name of the operation, in a sweep that tries several; None otherwise."""


def follows_instruction(pair: Pair, completion: Completion) -> dict[str, Any]:
    """Score an answer by IFEval's checkers: ``strict``, ``loose`` and the sentence ``splitter``.

    ``loose`` is None for an answer that was cut as soon as it had failed strictly.
    """
    verdict = ifeval.verify(
        completion.text, pair.instruction_ids, pair.kwargs, prompt=str(pair.query)
    )
    loose = None if completion.finish_reason == "settled" else verdict.loose
    return {"strict": verdict.strict, "loose": loose, "splitter": verdict.splitter}


def breaks_instruction(pair: Pair, answer: str) -> bool:
    """Check whether an answer, from its beginning, can no longer be ``strict``.

    See :func:`follows_instruction`.
    """
    return early.has_failed(answer, pair.instruction_ids, pair.kwargs)


def sweep(
    model: HookedLM,
    grid: Sequence[Cell],
    pairs: ContrastSet,
    *,
    score: Score = follows_instruction,
    settled: Callable[[Pair, str], bool] | None = None,
    max_new_tokens: int = 128,
    batch_size: int = 64,
    ledger: Ledger | None = None,
    **keywords: Any,
) -> pl.DataFrame:
    """Answer every pair in every cell and score the answers.

    All cells share batches: each row carries its own intervention, so that a sweep over layers
    costs no more than as many unsteered answers.

    Args:
        model: the model that answers.
        grid: the cells.
        pairs: the prompts; instructed cells ask ``present``, the others ``absent``.
        score: computes the scores that are recorded of an answer.
        settled: an early verdict such as :func:`breaks_instruction`: takes a pair and the answer so
            far, and returns whether the score can no longer change. Such an answer of a cell with a
            layer is cut there, with the ``finish_reason`` ``"settled"``. Answers of cells without a
            layer are never cut, because others are compared with them. None cuts no answer.
        max_new_tokens: the most tokens of an answer.
        batch_size: rows decoded together.
        ledger: a file in which answers are looked up before they are computed, and stored as they
            end: a sweep that was stopped continues, and an extended sweep computes only the new
            answers.
        keywords: further keywords of :func:`interp_steer.generation.completions.generate`:
            ``sampling``, and ``options`` for a cluster or another way to decode.

    Returns:
        A frame with a row per cell and pair, in that order, with the columns of :data:`RECORD` and
        those of ``score``.

    Raises:
        GenerationError: when the grid is empty, or holds anything but a :class:`Cell`.
        ContrastError: for pairs that are not a contrast set.

    Example:
        >>> grid = [Cell("none"), *(Cell("steered", vector.at(k).project(), k) for k in (4, 5))]
        >>> sweep(model, grid, pairs.select, max_new_tokens=8).height  # 3 cells, 4 pairs
        12
    """
    check_grid(grid, pairs)
    rows = [(cell, pair) for cell in grid for pair in pairs]
    return answer_cells(
        model,
        rows,
        pairs.name,
        score=score,
        settled=settled,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        ledger=ledger,
        **keywords,
    )


def check_grid(grid: Sequence[Cell], pairs: ContrastSet) -> None:
    """Refuse a grid or pairs that cannot be swept.

    Raises:
        GenerationError: when the grid is empty, or holds anything but a :class:`Cell`.
        ContrastError: for pairs that are not a contrast set.
    """
    if not grid:
        raise GenerationError("the grid is empty; give at least one Cell")
    for cell in grid:
        if not isinstance(cell, Cell):
            raise GenerationError(
                f"the grid has {cell!s:.120}, a {type(cell).__name__}; put it in a cell, such as "
                "ist.Cell('steered', vector.at(5).project(), layer=5)"
            )
    check_set(pairs)


def answer_cells(
    model: HookedLM,
    rows: Sequence[tuple[Cell, Pair]],
    name: str,
    *,
    score: Score = follows_instruction,
    settled: Callable[[Pair, str], bool] | None = None,
    options: GenerationOptions | None = None,
    **keywords: Any,
) -> pl.DataFrame:
    """Answer any rows of a grid: the records of :func:`sweep`, in the order of the rows.

    Args:
        model: the model that answers.
        rows: cells, each with a pair.
        name: of the pairs, for those that have no instruction ids.
        score: see :func:`sweep`.
        settled: see :func:`sweep`.
        options: for :func:`interp_steer.generation.completions.generate`; its early stop and its
            ``on_answer`` are replaced.
        keywords: further keywords of ``generate``.
    """
    left = Counter(id(cell) for cell, _ in rows)

    def on_answer(row: int) -> str:
        left[id(rows[row][0])] -= 1
        return f"{sum(n == 0 for n in left.values())}/{len(left)} cells"

    completions = generate(
        model,
        [pair.present if cell.instructed else pair.absent for cell, pair in rows],
        [cell.steering for cell, _ in rows],
        options=replace(
            options or GenerationOptions(),
            early_stop=settled and partial(_is_settled, settled, rows),
            on_answer=on_answer,
        ),
        **keywords,
    )
    records = [
        {
            "instruction": " + ".join(pair.instruction_ids) or name,
            "setting": cell.setting,
            "instructed": cell.instructed,
            "operation": cell.operation,
            "layer": cell.layer,
            "strength": cell.strength,
            "draw": cell.draw,
            "applied": completion.applied,
            "key": pair.key,
            "phrasing": pair.phrasing_kind,
            "query": pair.query,
            "prompt": completion.prompt,
            "answer": completion.text,
            "finish_reason": completion.finish_reason,
            "n_tokens": len(completion.tokens),
            **score(pair, completion),
        }
        for (cell, pair), completion in zip(rows, completions, strict=True)
    ]
    # A score may be unknown for the first hundred rows, which polars would take as its type.
    return pl.DataFrame(records, schema_overrides=RECORD, infer_schema_length=None)


def _is_settled(
    settled: Callable[[Pair, str], bool], rows: Sequence[tuple[Cell, Pair]], row: int, answer: str
) -> bool:
    cell, pair = rows[row]
    return cell.layer is not None and settled(pair, answer)
