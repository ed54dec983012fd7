"""Search for the layer and operation at which steering towards an instruction works best.

For each instruction, vectors are fitted on the fit split. Every cell of layer and operation is then
tried on the select split, without and with the text instruction, and a rule picks one of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from tqdm import tqdm

import interp_steer as ist
from analyses.kit.answer_options import AnswerOptions
from analyses.kit.instruction_sets import FORMATS
from analyses.kit.operations import Control, Steerer
from interp_steer.errors import InterventionError, OptionError
from interp_steer.sweeps import (
    RULES,
    Choice,
    breaks_instruction,
    is_improvable,
    with_divergence,
    with_fluency,
)


@dataclass(frozen=True)
class LayerSearchConfig(AnswerOptions):
    """Options of an analysis that searches for the best layer of each instruction."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions to steer towards. Append ?ARGUMENT=VALUE to fix an argument:
    each language, for example, has its own vector."""
    data: str | None = None
    """Source of IFEval's prompts for the test split: google/IFEval, its JSONL file, or a folder of
    the paper's files. By default, all prompts come from the world of the bundled models."""
    layers: tuple[int, ...] | None = None
    """Layers to steer at. Default: every layer."""
    operations: tuple[str, ...] = ("project",)
    """Ways to steer; the best one is chosen. Each is written [READ/]HOW[:STRENGTH][@POSITIONS]. HOW
    is project or add. STRENGTH is a number and its unit: norm (the vector's own norm; the default),
    residual, sd, kl (nats per token), ppl (multiple of the unsteered perplexity) or raw. READ says
    where the vector is read: last, all or generated. Examples: project, add:2, add:0.3kl@generated,
    add:1.5ppl, generated/add:2."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    n_select: int = 16
    """Prompts on which each layer is tried."""
    threshold: float | None = None
    """Perplexity below which an answer counts as degenerate (the paper: 2.5, under GPT-2). Default:
    just below the lowest perplexity of the unsteered answers."""
    search: Literal["whole", "early", "race"] = "whole"
    """How the sweep saves work. whole: generate every answer in full. early: stop an answer once it
    can no longer pass, and skip the prompts with text where the model follows the text so often
    that no layer could show an effect. race: like early, and drop layers that can no longer win.
    The paper's rule needs whole answers."""


@dataclass(frozen=True)
class PickedLayer:
    """A layer that a rule chose, with the operation that does best there."""

    operation: str
    choice: Choice

    @property
    def layer(self) -> int | None:
        """Return the layer, or None when the rule prefers the unsteered model."""
        return self.choice.layer

    @property
    def cell(self) -> tuple[int, str]:
        """Return the layer and the operation.

        Raises:
            OptionError: when the rule prefers the unsteered model.
        """
        if self.layer is None:
            raise OptionError(f"no layer was chosen for {self.operation}; steer nothing there")
        return self.layer, self.operation

    @property
    def n_sound(self) -> int:
        """Count the steered answers that succeed and are neither degenerate nor garbled."""
        return next(sum(c.sound) for c in self.choice.candidates if c.layer == self.layer)


PickedLayers = Mapping[tuple[str, bool, str], PickedLayer]
"""The picked layer by (instruction, whether the prompt has the text instruction, rule)."""


@dataclass(frozen=True, eq=False)
class SteeringSetup:
    """The models, prompts and vectors of a sweep over instructions."""

    model: ist.HookedLM
    """The model that answers."""
    reference: ist.HookedLM
    """The model whose perplexity shows which answers are degenerate."""
    sets: Mapping[str, ist.ContrastSet]
    """The contrast set of each instruction."""
    steerers: Mapping[str, Steerer]
    """The vectors of each instruction."""
    options: Mapping[str, Any]
    """Options of :func:`interp_steer.sweep`."""


def fit_for_instructions(
    model: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    run: ist.Run,
    operations: Sequence[str],
    steered: ist.HookedLM | None = None,
) -> dict[str, Steerer]:
    """Fit the vectors that the operations need, for each instruction, on the fit split.

    Args:
        model: the model whose activations are read.
        sets: the contrast set of each instruction.
        run: the run that keeps checkpoints.
        operations: the operations that will be tried.
        steered: the model that the vectors act on. Default: ``model``.
    """
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


def search_layers(setup: SteeringSetup, config: LayerSearchConfig) -> pl.DataFrame:
    """Steer at every layer in turn, with and without the text instruction, on the select split.

    Raises:
        OptionError: when no operation can be tried on an instruction.
    """
    frames = [
        _search_instruction(setup, config, name).with_columns(pl.lit(name).alias("instruction"))
        for name in tqdm(setup.sets, desc="layer sweep", unit="instruction", disable=None)
    ]
    if config.search == "race":
        return pl.concat(frames)
    return with_fluency(pl.concat(frames), setup.reference, config.threshold)


def _search_instruction(setup: SteeringSetup, config: LayerSearchConfig, name: str) -> pl.DataFrame:
    """Return the records of the search for one instruction."""
    pairs, steerer = setup.sets[name].select, setup.steerers[name]
    cells = [
        cell
        for operation in config.operations
        for layer in (config.layers or steerer.layers)
        if (cell := _try_cell(steerer, layer, operation, name)) is not None
    ]
    if not cells:
        raise OptionError(
            f"no operation of {', '.join(config.operations)} can be tried on {name} at any "
            "layer; ask for strengths that can be reached"
        )
    grid = [
        ist.Cell("none"),
        *(ist.Cell("steered", **cell) for cell in cells),
        ist.Cell("instruction", instructed=True),
    ]
    if config.search == "whole" or not _text_leaves_no_room(setup, pairs, config.threshold):
        grid += [ist.Cell("both", instructed=True, **cell) for cell in cells]
    settled = None if config.search == "whole" else breaks_instruction
    if config.search == "race":
        return ist.race(
            setup.model,
            grid,
            pairs,
            setup.reference,
            threshold=config.threshold,
            settled=settled,
            **setup.options,
        ).records
    answers = ist.sweep(setup.model, grid, pairs, settled=settled, **setup.options)
    return with_divergence(answers, setup.model, grid, pairs)


def _try_cell(steerer: Steerer, layer: int, operation: str, name: str) -> dict[str, Any] | None:
    """Return the arguments of a steered cell; warn and return None for unreachable strengths."""
    try:
        steering = steerer.steering(layer, operation)
    except InterventionError as error:
        warnings.warn(f"{name}: {operation} is not tried at layer {layer}: {error}", stacklevel=2)
        return None
    return {"steering": steering, "layer": layer, "operation": operation}


def _text_leaves_no_room(
    setup: SteeringSetup, pairs: ist.ContrastSet, threshold: float | None
) -> bool:
    """Return whether the model follows the text so often that no layer could show an effect."""
    grid = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    answers = ist.sweep(setup.model, grid, pairs, **setup.options)
    return not is_improvable(with_fluency(answers, setup.reference, threshold).filter("instructed"))


def choose_layers(records: pl.DataFrame) -> PickedLayers:
    """Choose a layer and operation by each rule, for each instruction, without and with the text.

    Each rule chooses a layer for every operation. Of these layers, the one with the most answers
    that succeed and are neither degenerate nor garbled is picked; the first wins a tie. The paper's
    rule chooses only where every answer is whole. After a race, only the layers still standing are
    candidates.
    """
    whole = not records["degenerate"].has_nulls()
    if "standing" in records.columns:
        records, whole = records.filter("standing"), False
    return {
        (name, instructed, rule): max(
            (
                PickedLayer(operation, ist.select_layer(rows_of_operation(rows, operation), rule))
                for operation in operations_of(records)
            ),
            key=lambda picked: picked.n_sound,
        )
        for (name, instructed), rows in records.group_by(
            "instruction", "instructed", maintain_order=True
        )
        for rule in (RULES if whole else ("interval",))
    }


def operations_of(records: pl.DataFrame) -> list[str]:
    """List the operations that were tried."""
    return records["operation"].drop_nulls().unique(maintain_order=True).to_list()


def rows_of_operation(records: pl.DataFrame, operation: str) -> pl.DataFrame:
    """Return the rows that were steered by an operation, and the unsteered rows."""
    return records.filter(pl.col("operation").is_null() | (pl.col("operation") == operation))


def cell_arguments(
    steerer: Steerer, picked: PickedLayer, control: Control | None = None
) -> dict[str, Any]:
    """Return the arguments of a cell that steers as picked; nothing where no layer was chosen.

    Args:
        steerer: the vectors of the instruction.
        picked: the layer and the operation.
        control: makes the vector that acts in place of the fitted one.
    """
    if picked.layer is None:
        return {}
    return {
        "steering": steerer.steering(picked.layer, picked.operation, control),
        "layer": picked.layer,
        "operation": picked.operation,
    }
