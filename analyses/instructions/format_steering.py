"""Compare steering with text instructions: do models follow instructions (Stolfo et al. 2025)?

Each prompt of the test split is answered in four settings: without the instruction (none), steered
(steered), with the text instruction (instruction), and with both (both). The queries and phrasings
of the test split were used neither to fit a vector nor to choose a layer. The layer of each
instruction is chosen on the select split, and so is the operation where several are tried. Accuracy
is strict IFEval accuracy with its interval. Settings are compared by McNemar's exact test.

Three controls act in place of the vector. Each control has the length of the vector and moves
activations as far. The controls are: random directions (random); a vector fitted after the two
sides of half of the pairs were exchanged (shuffled); and the mean of the other instructions'
vectors (others), a control for whatever merely signals that some instruction is present.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from math import exp
from operator import add
from typing import Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions.layer_search import (
    LayerSearchConfig,
    PickedLayers,
    SteeringSetup,
    cell_arguments,
    choose_layers,
    fit_for_instructions,
    search_layers,
)
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Control, Steerer, fit_vectors
from figures.published import reported
from interp_steer.errors import OptionError
from interp_steer.statistics import compare, mcnemar, mean_of, share_of
from interp_steer.sweeps import with_divergence, with_fluency

CONTROLS = ("random", "shuffled", "others")
"""The controls that act in place of the vector."""


@dataclass(frozen=True)
class Config(LayerSearchConfig):
    """Options of the comparison."""

    rule: Literal["paper", "interval"] = "interval"
    """Rule that chooses each instruction's layer on the select split: that of the paper, or one
    that takes the uncertainty of the accuracy into account (interval)."""
    n_test: int = 32
    """Prompts in the test split, on which results are reported."""
    draws: int = 3
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ("shuffled", "others")
    """Further controls that each vector is compared with: a vector of shuffled pairs, and the mean
    vector of the other instructions."""

    def __post_init__(self) -> None:
        if self.rule == "paper" and self.search != "whole":
            raise OptionError(
                f"the paper's rule needs whole answers, but the search is {self.search!r}; give "
                "--rule interval, or --search whole"
            )


def main(config: Config, run: ist.Run) -> None:
    """Choose a layer for each instruction on the select split, then report on the test split."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())

    steerers = fit_for_instructions(model, sets, run, config.operations)
    with open_sweep_options(config, model, run) as options:
        setup = SteeringSetup(model, reference, sets, steerers, options)
        choices = choose_layers(search_layers(setup, config))
        records = compare_settings(setup, choices, config, run)
    write_results(run, records, steerers, choices, config.rule)
    published = reported(config.model, "format", "loose")
    if published:
        marks = {setting: value for (setting, at), value in published.items() if not at}
        bars = figures.settings_bars(records, outcome="loose", reported=marks)
        run.draw("loose_accuracy_by_setting", bars)


def compare_settings(
    setup: SteeringSetup, choices: PickedLayers, config: Config, run: ist.Run
) -> pl.DataFrame:
    """Answer the test split in all settings, each vector at the layer that was chosen for it.

    Where the rule chose no layer, the steered model is the unsteered one, as in the paper.
    """
    model, frames = setup.model, []
    for name, pairs in tqdm(setup.sets.items(), desc="settings", unit="instruction", disable=None):
        steerer = setup.steerers[name]
        without, with_text = (choices[name, text, config.rule] for text in (False, True))
        grid = [
            ist.Cell("none"),
            ist.Cell("steered", **cell_arguments(steerer, without)),
            *(
                ist.Cell(setting, **cell_arguments(steerer, without, control), draw=draw)
                for setting, draw, control in make_controls(setup, name, config, run)
            ),
            ist.Cell("instruction", instructed=True),
            ist.Cell("both", **cell_arguments(steerer, with_text), instructed=True),
        ]
        answers = ist.sweep(model, grid, pairs.test, **setup.options)
        records = with_divergence(answers, model, grid, pairs.test)
        frames.append(records.with_columns(pl.lit(name).alias("instruction")))
    return with_fluency(pl.concat(frames), setup.reference, config.threshold)


def make_controls(
    setup: SteeringSetup, name: str, config: Config, run: ist.Run
) -> Iterator[tuple[str, int, Control]]:
    """Yield the controls of an instruction's vector: the setting, the number of the draw, and how.

    Args:
        setup: the vectors of all instructions.
        name: the instruction.
        config: says which controls are wanted.
        run: gives the seed, and keeps checkpoints.
    """
    for draw in range(config.draws):
        yield "random", draw, partial(ist.SteeringVector.like_random, seed=run.seed + draw)
    vectors = setup.steerers[name].vectors
    if "shuffled" in config.controls:
        pairs = setup.sets[name].fit.shuffle_sides(run.seed)
        shuffled = fit_vectors(
            vectors, setup.model, pairs, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        yield "shuffled", 0, partial(_matched_control, shuffled)
    others = [steerer.vectors for other, steerer in setup.steerers.items() if other != name]
    if "others" in config.controls and others:
        # Their sum is their mean at another length, and a control takes the vector's length.
        sums = {position: reduce(add, [each[position] for each in others]) for position in vectors}
        yield "others", 0, partial(_matched_control, sums)


def _matched_control(
    controls: Mapping[str, ist.SteeringVector], vector: ist.SteeringVector
) -> ist.SteeringVector:
    """Return the control that was read at the position of the vector, with its length."""
    return vector.matched(controls[vector.card.position])


def write_results(
    run: ist.Run,
    records: pl.DataFrame,
    steerers: Mapping[str, Steerer],
    choices: PickedLayers,
    rule: str,
) -> None:
    """Write records, vectors, numbers and figures. Layer None: no layer was chosen."""
    run.write_records(records)
    write_choices(run, steerers, choices, rule)
    run.leave(summary=accuracies(records) | damages(records) | {"instructions": len(steerers)})
    run.draw("accuracy_by_setting", figures.settings_bars(records))
    run.draw("accuracy_by_instruction", figures.instruction_bars(records))
    if len(steerers) > 2:
        run.draw("radar", figures.settings_radar(records))


def write_choices(
    run: ist.Run, steerers: Mapping[str, Steerer], choices: PickedLayers, rule: str
) -> None:
    """Write the vectors and the layer chosen for each, None where the rule chose no layer."""
    for name, steerer in steerers.items():
        steerer.leave(run, name)
        for instructed, text in ((False, "without_text"), (True, "with_text")):
            run.leave(summary={f"layer.{name}.{text}": choices[name, instructed, rule].layer})


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Return the mean strict accuracy over instructions by setting, and paired tests.

    In the bundled world every instruction has the same number of prompts, so the mean over
    instructions equals the mean over prompts. With IFEval's prompts, the mean is over prompts, as
    in the paper. A query that several instructions share is resampled as a whole.
    """
    rows = {
        setting: records.filter(pl.col("setting") == setting) for setting in settings_of(records)
    }
    numbers: dict[str, object] = {}
    for setting, frame in rows.items():
        numbers[f"accuracy.{setting}"] = share_of(frame, "strict")
        numbers[f"loose_accuracy.{setting}"] = share_of(frame, "loose")
    for setting in ("instruction", "both"):
        for (kind,), frame in rows[setting].group_by("phrasing", maintain_order=True):
            numbers[f"accuracy.{setting}.{kind}_phrasing"] = share_of(frame, "strict")
    for baseline in CONTROLS:
        if gained := compare(records, baseline, "steered", "strict"):
            numbers[f"gain.steered_over_{baseline}"] = gained.difference
    for first, second in (("steered", "none"), ("both", "instruction")):
        test = mcnemar(rows[first]["strict"].to_list(), rows[second]["strict"].to_list())
        numbers[f"mcnemar_p.{first}_over_{second}"] = test.p_value
        numbers[f"made_worse.{first}_over_{second}"] = test.only_b / test.n
    return numbers


def damages(records: pl.DataFrame) -> dict[str, object]:
    """Return the damage of each setting: broken answers, and how far predictions move.

    Broken answers are degenerate, garbled or truncated. ``kl`` is in nats per token along the
    answers that the unsteered model gives to the same prompts. ``perplexity_ratio`` is the factor
    by which the perplexity of these answers rises (a geometric mean).
    """
    numbers: dict[str, object] = {}
    for setting in settings_of(records):
        frame = records.filter(pl.col("setting") == setting)
        for broken in ("degenerate", "garbled"):
            if frame[broken].is_not_null().any():
                numbers[f"{broken}.{setting}"] = share_of(frame, broken)
        truncated = frame["finish_reason"].to_list().count("length")
        numbers[f"truncated.{setting}"] = truncated / len(frame)
        moved = mean_of(frame, "kl")
        if moved and setting != "none":
            numbers[f"kl.{setting}"] = moved
            ratio = frame["perplexity_ratio"].log().mean()
            numbers[f"perplexity_ratio.{setting}"] = exp(float(ratio))  # type: ignore[arg-type]
    return numbers


def settings_of(records: pl.DataFrame) -> list[str]:
    """List the settings of records, in the order in which they were asked."""
    return records["setting"].unique(maintain_order=True).to_list()
