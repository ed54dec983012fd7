"""Accuracy and degenerate outputs against the steering layer (Stolfo et al. 2025).

For each instruction a difference-in-means vector is fitted on the fit split at the last prompt
token of every layer. On the select split each layer is then steered in turn by projection: at
every position the activation's component along the unit direction is set to its mean over prompts
that carry the instruction. Other operations may be tried beside: addition with a weight, either at
some positions only, along vectors that were read elsewhere, or as strongly as moves predictions by
so much. All is done with and without the text instruction in the prompt. Two rules choose a layer:
the paper's (first maximum of the accuracy, layers with degenerate answers counting as zero) and one
that knows its uncertainty; both choices are recorded. Beside its accuracy each layer has its
damage: how far it moves predictions on prompts that do not ask for the property.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.answer_options import AnswerOptions, asking
from analyses.kit.instruction_sets import FORMATS, contrast_sets
from analyses.kit.operations import Steerer
from interp_steer.errors import InterventionError, RunError
from interp_steer.sweeps.damage import with_divergence, with_fluency
from interp_steer.sweeps.grid import breaks_instruction
from interp_steer.sweeps.selection import RULES, Choice, is_improvable


@dataclass(frozen=True)
class Config(AnswerOptions):
    """What is swept."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions to steer towards, with ?ARGUMENT=VALUE behind one that is to
    have it: a language has a vector of its own."""
    data: str | None = None
    """IFEval's prompts to report on: google/IFEval, its JSONL file, or a folder of the paper's
    files; the world of the bundled models when not given."""
    layers: tuple[int, ...] | None = None
    """Layers to steer at; every layer when not given."""
    operations: tuple[str, ...] = ("project",)
    """Ways to steer, of which the best is chosen: [READ/]HOW[:STRENGTH][@POSITIONS]. HOW is project
    or add; STRENGTH a number with its unit: norm (the vector's own, also where none is written),
    residual, sd, kl (nats a token), ppl (times the unsteered perplexity) or raw; READ where the
    vector is read: last, all or generated. Such as project, add:2, add:0.3kl@generated,
    add:1.5ppl, generated/add:2."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 16
    """Prompts that each layer is tried on."""
    threshold: float | None = None
    """Perplexity below which an answer is degenerate; 2.5 in the paper, under GPT-2. When not
    given it is set just below the least perplexity of the plain answers."""
    search: Literal["whole", "early", "race"] = "whole"
    """Which answers the sweep asks for: whole ones; or, early, cut once they have failed for good,
    and none beside a text that fails too seldom for a layer to be told from it; or, in a race,
    those of layers that can still win, cut as well. The paper's rule needs whole ones."""


@dataclass(frozen=True)
class Picked:
    """A layer that a rule chose, under the operation that does best there."""

    operation: str
    choice: Choice

    @property
    def layer(self) -> int | None:
        """None when the rule prefers the unsteered model."""
        return self.choice.layer

    @property
    def cell(self) -> tuple[int, str]:
        """Where and how it steers.

        Raises:
            RunError: when the rule prefers the unsteered model.
        """
        if self.layer is None:
            raise RunError(f"no layer was chosen for {self.operation}; steer nothing there")
        return self.layer, self.operation

    @property
    def steered(self) -> int:
        """How many answers succeed and are neither degenerate nor garbled."""
        return next(sum(c.sound) for c in self.choice.candidates if c.layer == self.layer)


Chosen = Mapping[tuple[str, bool, str], Picked]
"""What is chosen by (instruction, whether the text instruction stands in the prompt, rule)."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, sweep every layer with and without the text, choose by both rules."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())

    steerers = fitted(model, sets, run, config.operations)
    with asking(config, model, run) as options:
        records = search(model, reference, sets, steerers, config, options)
    leave(run, records, steerers, choose(records))


def fitted(
    model: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    run: ist.Run,
    operations: Sequence[str],
    steered: ist.HookedLM | None = None,
) -> dict[str, Steerer]:
    """The vectors of each instruction that operations need, fitted on the fit split."""
    return {
        name: Steerer.fit(
            model,
            pairs,
            operations,
            steered=steered,
            options=ist.capture.CaptureOptions(checkpoint=run.partial),
        )
        for name, pairs in tqdm(sets.items(), desc="fit", unit="instruction", disable=None)
    }


def search(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    steerers: Mapping[str, Steerer],
    config: Config,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Steer at every layer in turn, with and without the text instruction, on the select split.

    Raises:
        RunError: when no operation can be tried on an instruction.
    """
    settled = None if config.search == "whole" else breaks_instruction
    frames = []
    for name, pairs in tqdm(sets.items(), desc="layer sweep", unit="instruction", disable=None):
        steerer = steerers[name]
        steered = [
            cell
            for operation in config.operations
            for layer in (config.layers or steerer.layers)
            if (cell := _cell(steerer, layer, operation, name)) is not None
        ]
        if not steered:
            raise RunError(
                f"no operation of {', '.join(config.operations)} can be tried on {name} at any "
                "layer; ask for strengths that can be reached"
            )
        grid = [
            ist.Cell("none"),
            *(ist.Cell("steered", **cell) for cell in steered),
            ist.Cell("instruction", instructed=True),
        ]
        asked = model, pairs.select, reference, config.threshold
        if config.search == "whole" or not follows(*asked, options):
            grid += [ist.Cell("both", instructed=True, **cell) for cell in steered]
        if config.search == "race":
            raced = ist.race(
                model,
                grid,
                pairs.select,
                reference,
                threshold=config.threshold,
                settled=settled,
                **options,
            )
            found = raced.records
        else:
            answers = ist.sweep(model, grid, pairs.select, settled=settled, **options)
            found = with_divergence(answers, model, grid, pairs.select)
        frames.append(found.with_columns(pl.lit(name).alias("instruction")))
    if config.search == "race":
        return pl.concat(frames)
    return with_fluency(pl.concat(frames), reference, config.threshold)


def _cell(steerer: Steerer, layer: int, operation: str, name: str) -> dict[str, Any] | None:
    """How a cell steers; None, with a warning, where no coefficient has the strength asked for."""
    try:
        steering = steerer.steering(layer, operation)
    except InterventionError as error:
        warnings.warn(f"{name}: {operation} is not tried at layer {layer}: {error}", stacklevel=2)
        return None
    return {"steering": steering, "layer": layer, "operation": operation}


def follows(
    model: ist.HookedLM,
    pairs: ist.ContrastSet,
    reference: ist.HookedLM,
    threshold: float | None,
    options: Mapping[str, Any],
) -> bool:
    """Whether the text alone is followed so often that no layer could be told from it."""
    grid = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    answers = with_fluency(ist.sweep(model, grid, pairs, **options), reference, threshold)
    return not is_improvable(answers.filter("instructed"))


def choose(records: pl.DataFrame) -> Chosen:
    """The choice of each rule for each instruction, with and without the text.

    Each rule chooses a layer for every operation; of these the one with most answers that succeed
    and are not degenerate is picked, the first of equals. The paper's rule chooses where every
    answer is whole, and of a race those choose who stand.
    """
    whole = not records["degenerate"].has_nulls()
    if "standing" in records.columns:
        records, whole = records.filter("standing"), False
    return {
        (name, instructed, rule): max(
            (
                Picked(operation, ist.select_layer(of_operation(rows, operation), rule))
                for operation in tried(records)
            ),
            key=lambda picked: picked.steered,
        )
        for (name, instructed), rows in records.group_by(
            "instruction", "instructed", maintain_order=True
        )
        for rule in (RULES if whole else ("interval",))
    }


def tried(records: pl.DataFrame) -> list[str]:
    """The operations that were tried."""
    return records["operation"].drop_nulls().unique(maintain_order=True).to_list()


def of_operation(records: pl.DataFrame, operation: str) -> pl.DataFrame:
    """The rows that were steered so, and the unsteered ones."""
    return records.filter(pl.col("operation").is_null() | (pl.col("operation") == operation))


def leave(
    run: ist.Run,
    records: pl.DataFrame,
    steerers: Mapping[str, Steerer],
    choices: Chosen,
) -> None:
    """Records, vectors, choices and figures; a layer of None says that none was chosen."""
    run.write_records(records)
    for name, steerer in steerers.items():
        steerer.leave(run, name)
    for (name, instructed, rule), picked in choices.items():
        key = f"{name}.{'with' if instructed else 'without'}_text.{rule}"
        run.leave(summary={f"layer.{key}": picked.layer, f"accuracy.{key}": picked.choice.accuracy})
    operations = tried(records)
    for operation in operations:
        under = "" if len(operations) == 1 else f".{operation.translate(_IN_A_NAME)}"
        swept = of_operation(records, operation)
        for instructed, suffix in ((False, ""), (True, "_with_text")):
            chosen = {
                name: [
                    picked.choice
                    for key, picked in choices.items()
                    if key[:2] == (name, instructed) and picked.operation == operation
                ]
                for name in steerers
            }
            rows = swept.filter(pl.col("instructed") == instructed)
            # Where the text left nothing to gain no layer was tried, and there is no curve to draw.
            steered = rows.filter(pl.col("layer").is_not_null())["instruction"].unique().to_list()
            if steered:
                shown = rows.filter(pl.col("instruction").is_in(steered))
                run.draw(f"accuracy_by_layer{suffix}{under}", figures.layer_curve(shown, chosen))
    if "kl" in records.columns:  # a race asks too few prompts for it
        run.draw(
            "accuracy_against_damage",
            figures.pareto(records.filter(~pl.col("instructed"))),
        )


_IN_A_NAME = str.maketrans({":": "_", "@": "_at_", "(": "_", ")": None, "/": "_"})
"""What stands for the signs of an operation in the name of a file."""
