"""Sweep over layers and strengths, and draw a clickable map while the sweep runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.explorer.form import SteeringChoice
from analyses.explorer.jobs import ExplorerError, Job
from analyses.explorer.workspace import SAVED, Workspace, make_label
from figures.style.drawing import Drawing
from interp_steer.contrast import Pair, Prompt
from interp_steer.interventions import Operation
from interp_steer.statistics import bootstrap_mean, wilson
from interp_steer.sweeps import follows_instruction

Measure = Literal["follow", "kl"]
MEASURES = {"follow": "follow the instruction", "kl": "KL (nats a token)"}


@dataclass(frozen=True)
class SweepResult:
    """The cells of a sweep that are done."""

    choice: SteeringChoice
    unit: str
    records: pl.DataFrame
    """Columns ``measure``, ``layer``, ``strength``, ``value``, ``low``, ``high`` and ``n``."""
    plain: float | None
    """The share of unsteered answers that follow the instruction; None for a saved vector."""

    @property
    def measures(self) -> list[str]:
        """Return the names of the measures."""
        return self.records["measure"].unique(maintain_order=True).to_list()

    def drawing(self, measure: Measure, chosen: tuple[int, float] | None = None) -> Drawing | None:
        """Return the map of one measure; None while the measure has no cells.

        Args:
            measure: the measure to draw.
            chosen: layer and strength of the cell to mark.
        """
        rows = self.records.filter(pl.col("measure") == measure)
        if rows.is_empty():
            return None
        share = measure == "follow"
        drawn = figures.dose_map(
            rows.drop("measure"),
            MEASURES[measure],
            unit=self.unit,
            chosen=chosen,
            share=share,
            plain=self.plain if share else None,
        )
        operation = OPERATION_TITLES[self.choice.operation]
        title = f"{operation} {make_label(self.choice.source.name)}."
        return Drawing(drawn.figure, f"{title} {drawn.caption}")


OPERATION_TITLES = {
    Operation.PROJECT: "Projection on",
    Operation.ADD: "Addition of",
    Operation.TURN: "Turn towards",
    Operation.ABLATE: "Ablation of",
}


def run_sweep(
    workspace: Workspace,
    choice: SteeringChoice,
    strengths: Sequence[ist.Strength],
    n_prompts: int,
    max_new_tokens: int,
    most_cells: int,
    job: Job,
) -> Iterator[None]:
    """Answer prompts at every layer and strength, layer by layer, and measure the answers.

    The measures are the share of answers that follow the instruction (the prompts do not contain
    the instruction), and the mean KL divergence of the predictions along the unsteered answers, in
    nats per token. The job's result is a :class:`SweepResult`.

    Raises:
        ExplorerError: if the sweep has too many cells.
    """
    vector = workspace.get_vector(choice.source, job)
    yield
    if choice.operation.parameter is None:
        strengths = (ist.Strength(1.0),)  # ablation has no strength
    cells = len(vector.layers) * len(strengths)
    if cells > most_cells:
        raise ExplorerError(
            f"{len(vector.layers)} layers and {len(strengths)} strengths are {cells} cells; "
            f"{most_cells} are allowed. Give fewer strengths."
        )
    asked = _list_prompts(workspace, choice, n_prompts)
    prompts = [prompt for prompt, _ in asked]
    job.report("Answering without steering")
    options = ist.GenerationOptions(on_token=lambda *_: job.report())
    options = ist.GenerationOptions(on_token=lambda *_: job.report())
    options = ist.GenerationOptions(on_token=lambda *_: job.report())
    plain = ist.generate(workspace.model, prompts, max_new_tokens=max_new_tokens, options=options)
    followed = _judge_answers(asked, plain)
    share = sum(followed) / len(followed) if followed else None
    cells_done: list[tuple[str, int, float, float, float, float, int]] = []
    for at, layer in enumerate(vector.layers):
        job.report(f"Layer {layer}, {at + 1} of {len(vector.layers)}")
        edits = [
            workspace.make_edit(choice.at(layer, strength), layer, job) for strength in strengths
        ]
        answers = ist.generate(
            workspace.model,
            prompts * len(edits),
            [edit for edit in edits for _ in prompts],
            max_new_tokens=max_new_tokens,
            options=options,
        )
        for k, (edit, strength) in enumerate(zip(edits, strengths, strict=True)):
            cell = (layer, strength.amount)
            strict = _judge_answers(asked, answers[k * len(prompts) : (k + 1) * len(prompts)])
            if strict:
                hit = wilson(sum(strict), len(strict))
                cells_done.append(("follow", *cell, hit.value, hit.low, hit.high, hit.n))
            divergences = ist.divergence(workspace.model, prompts, [c.tokens for c in plain], edit)
            mean = bootstrap_mean(
                [one.kl for one in divergences], list(range(len(divergences))), seed=0
            )
            cells_done.append(("kl", *cell, mean.value, mean.low, mean.high, len(divergences)))
            job.report()
        job.report(result=SweepResult(choice, strengths[0].unit, _make_frame(cells_done), share))
        yield
    job.report("")


def _list_prompts(
    workspace: Workspace, choice: SteeringChoice, n_prompts: int
) -> Sequence[tuple[Prompt, Pair | None]]:
    """Return prompts without the property, with the pairs that their answers are judged by."""
    if choice.source.name.startswith(SAVED):
        return [(prompt, None) for prompt in workspace.get_prompts(choice.source)][:n_prompts]
    pairs = list(workspace.get_pairs(choice.source).select)[:n_prompts]
    return [(pair.absent, pair) for pair in pairs]


def _judge_answers(
    asked: Sequence[tuple[Prompt, Pair | None]], answers: Sequence[ist.Completion]
) -> list[bool]:
    """Return whether each answer follows the instruction; empty for a saved vector."""
    return [
        bool(follows_instruction(pair, completion)["strict"])
        for (_, pair), completion in zip(asked, answers, strict=True)
        if pair is not None
    ]


def _make_frame(cells: Sequence[tuple[str, int, float, float, float, float, int]]) -> pl.DataFrame:
    columns = ["measure", "layer", "strength", "value", "low", "high", "n"]
    return pl.DataFrame(cells, columns, orient="row")
