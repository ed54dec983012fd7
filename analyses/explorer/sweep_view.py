"""A sweep over layers and strengths, drawn while it runs, for a map that can be clicked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.explorer.form import Steer
from analyses.explorer.jobs import ExplorerError, Job
from analyses.explorer.workspace import SAVED, Workspace, label
from figures.style.drawing import Drawing
from interp_steer.contrast.pair import Pair, Prompt
from interp_steer.interventions.operations import Operation
from interp_steer.statistics.intervals import bootstrap_mean, wilson
from interp_steer.sweeps.grid import follows_instruction

Measure = Literal["follow", "kl"]
MEASURES = {"follow": "follow the instruction", "kl": "KL (nats a token)"}


@dataclass(frozen=True)
class Swept:
    """A sweep, as far as it has come."""

    steer: Steer
    unit: str
    records: pl.DataFrame
    """Columns ``measure``, ``layer``, ``strength``, ``value``, ``low``, ``high`` and ``n``."""
    plain: float | None
    """The share of unsteered answers that follow the instruction; None for a saved vector."""

    @property
    def measures(self) -> list[str]:
        """What was measured."""
        return self.records["measure"].unique(maintain_order=True).to_list()

    def drawing(self, measure: Measure, chosen: tuple[int, float] | None = None) -> Drawing | None:
        """The map of one measure; None while there is nothing of it.

        Args:
            measure: which.
            chosen: the layer and strength to ring.
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
        what = f"{DOING[self.steer.operation]} {label(self.steer.source.name)}."
        return Drawing(drawn.figure, f"{what} {drawn.caption}")


DOING = {
    Operation.PROJECT: "Projection on",
    Operation.ADD: "Addition of",
    Operation.TURN: "Turn towards",
    Operation.ABLATE: "Ablation of",
}


def sweeping(
    shelf: Workspace,
    steer: Steer,
    strengths: Sequence[ist.Strength],
    n_prompts: int,
    max_new_tokens: int,
    most_cells: int,
    job: Job,
) -> Iterator[None]:
    """Answer prompts under every layer and strength, a layer at a time, and measure what comes.

    The share of answers that follow the instruction, on prompts without it, and how far the
    predictions along the unsteered answers are moved. The job's result is a :class:`Swept`.

    Raises:
        ExplorerError: for too many cells.
    """
    vector = shelf.vector(steer.source, job)
    yield
    if steer.operation.parameter is None:
        strengths = (ist.Strength(1.0),)  # there is but one way to take all of it away
    cells = len(vector.layers) * len(strengths)
    if cells > most_cells:
        raise ExplorerError(
            f"{len(vector.layers)} layers and {len(strengths)} strengths are {cells} cells; "
            f"{most_cells} are allowed. Give fewer strengths."
        )
    asked = _asked(shelf, steer, n_prompts)
    prompts = [prompt for prompt, _ in asked]
    job.tell("Answering without steering")
    options = ist.GenerationOptions(on_token=lambda *_: job.tell())
    plain = ist.generate(shelf.model, prompts, max_new_tokens=max_new_tokens, options=options)
    followed = _followed(asked, plain)
    share = sum(followed) / len(followed) if followed else None
    found: list[tuple[str, int, float, float, float, float, int]] = []
    for at, layer in enumerate(vector.layers):
        said = f"Layer {layer}, {at + 1} of {len(vector.layers)}"
        job.tell(said)
        each = [shelf.edit(steer.at(layer, strength), layer, job) for strength in strengths]
        answers = ist.generate(
            shelf.model,
            prompts * len(each),
            [edit for edit in each for _ in prompts],
            max_new_tokens=max_new_tokens,
            options=options,
        )
        for k, (edit, strength) in enumerate(zip(each, strengths, strict=True)):
            cell = (layer, strength.amount)
            strict = _followed(asked, answers[k * len(prompts) : (k + 1) * len(prompts)])
            if strict:
                hit = wilson(sum(strict), len(strict))
                found.append(("follow", *cell, hit.value, hit.low, hit.high, hit.n))
            moved = ist.divergence(shelf.model, prompts, [c.tokens for c in plain], edit)
            mean = bootstrap_mean([one.kl for one in moved], list(range(len(moved))), seed=0)
            found.append(("kl", *cell, mean.value, mean.low, mean.high, len(moved)))
            job.tell()
        job.tell(found=Swept(steer, strengths[0].unit, _frame(found), share))
        yield
    job.tell("")


def _asked(shelf: Workspace, steer: Steer, n_prompts: int) -> Sequence[tuple[Prompt, Pair | None]]:
    """Prompts that do not ask for the property, with the pairs that say what following is."""
    if steer.source.name.startswith(SAVED):
        return [(prompt, None) for prompt in shelf.prompts(steer.source)][:n_prompts]
    pairs = list(shelf.pairs(steer.source).select)[:n_prompts]
    return [(pair.absent, pair) for pair in pairs]


def _followed(
    asked: Sequence[tuple[Prompt, Pair | None]], said: Sequence[ist.Completion]
) -> list[bool]:
    """Which answers follow the instruction; none where there is no instruction."""
    return [
        bool(follows_instruction(pair, completion)["strict"])
        for (_, pair), completion in zip(asked, said, strict=True)
        if pair is not None
    ]


def _frame(found: Sequence[tuple[str, int, float, float, float, float, int]]) -> pl.DataFrame:
    columns = ["measure", "layer", "strength", "value", "low", "high", "n"]
    return pl.DataFrame(found, columns, orient="row")
