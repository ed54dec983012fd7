"""Does steering make a model follow instructions? Four settings, controls (Stolfo et al. 2025).

On the test split, whose queries and phrasings were neither fitted nor chosen on, each prompt is
answered without the instruction (none), steered (steered), with the text instruction (instruction),
and with both (both). The layer of each instruction, and the operation where several are tried, are
those chosen on the select split. Accuracy is strict IFEval accuracy with its interval; settings are
compared by McNemar's exact test.

Three controls act in place of the vector, with its length and its displacement: random directions
(random); a vector fitted with the two sides of half of the pairs exchanged (shuffled); and the mean
of the other instructions' vectors (others), which holds what is not particular to an instruction
but says that there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from math import exp
from operator import add
from typing import Any, Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions import layer_sweep
from analyses.instructions.layer_sweep import Chosen, Picked
from analyses.kit.answer_options import asking
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Control, Steerer, read_at
from figures.published import reported
from interp_steer.errors import RunError
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import compare as compare_settings
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import with_divergence, with_fluency

CONTROLS = ("random", "shuffled", "others")
"""What acts in place of the vector."""


@dataclass(frozen=True)
class Config(layer_sweep.Config):
    """What is compared."""

    rule: Literal["paper", "interval"] = "interval"
    """The rule that chooses each instruction's layer on the select split."""
    n_test: int = 32
    """Prompts that are reported."""
    draws: int = 3
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ("shuffled", "others")
    """Other vectors that each is compared with."""

    def __post_init__(self) -> None:
        if self.rule == "paper" and self.search != "whole":
            raise RunError(
                f"the paper's rule needs whole answers, and the search is {self.search!r}; give "
                "--rule interval, or --search whole"
            )


def main(config: Config, run: ist.Run) -> None:
    """Choose a layer for each instruction on the select split, then report on the test split."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())

    steerers = layer_sweep.fitted(model, sets, run, config.operations)
    with asking(config, model, run) as options:
        searched = layer_sweep.search(model, reference, sets, steerers, config, options)
        choices = layer_sweep.choose(searched)
        records = compare(model, reference, sets, steerers, choices, config, run, options)
    leave(run, records, steerers, choices, config.rule)
    published = reported(config.model, "format", "loose")
    if published:
        marks = {setting: value for (setting, at), value in published.items() if not at}
        bars = figures.settings_bars(records, outcome="loose", reported=marks)
        run.draw("loose_accuracy_by_setting", bars)


def compare(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    steerers: Mapping[str, Steerer],
    choices: Chosen,
    config: Config,
    run: ist.Run,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answer the test split in all settings, each vector at the layer that was chosen for it.

    Where the rule chose no layer, the steered model is the unsteered one, as in the paper.
    """
    frames = []
    for name, pairs in tqdm(sets.items(), desc="settings", unit="instruction", disable=None):
        steerer = steerers[name]
        without, with_text = (choices[name, text, config.rule] for text in (False, True))
        grid = [
            ist.Cell("none"),
            ist.Cell("steered", **chosen_cell(steerer, without)),
            *(
                ist.Cell(setting, **chosen_cell(steerer, without, control), draw=draw)
                for setting, draw, control in controls(model, name, sets, steerers, config, run)
            ),
            ist.Cell("instruction", instructed=True),
            ist.Cell("both", **chosen_cell(steerer, with_text), instructed=True),
        ]
        answers = ist.sweep(model, grid, pairs.test, **options)
        found = with_divergence(answers, model, grid, pairs.test)
        frames.append(found.with_columns(pl.lit(name).alias("instruction")))
    return with_fluency(pl.concat(frames), reference, config.threshold)


def chosen_cell(steerer: Steerer, picked: Picked, control: Control | None = None) -> dict[str, Any]:
    """How a cell steers under what was chosen, by the vector or a control in its place."""
    if picked.layer is None:
        return {}
    return {
        "steering": steerer.steering(picked.layer, picked.operation, control),
        "layer": picked.layer,
        "operation": picked.operation,
    }


def controls(
    model: ist.HookedLM,
    name: str,
    sets: Mapping[str, ist.ContrastSet],
    steerers: Mapping[str, Steerer],
    config: Config,
    run: ist.Run,
) -> Iterator[tuple[str, int, Control]]:
    """What acts in place of an instruction's vector: the setting, which draw it is, and how."""
    for draw in range(config.draws):
        yield "random", draw, partial(ist.SteeringVector.like_random, seed=run.seed + draw)
    read = steerers[name].vectors
    if "shuffled" in config.controls:
        pairs = sets[name].fit.shuffle_sides(run.seed)
        exchanged = read_at(
            read, model, pairs, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        yield "shuffled", 0, partial(_in_its_place, exchanged)
    others = [steerer.vectors for other, steerer in steerers.items() if other != name]
    if "others" in config.controls and others:
        # Their sum is their mean at another length, and a control takes the vector's length.
        sums = {position: reduce(add, [each[position] for each in others]) for position in read}
        yield "others", 0, partial(_in_its_place, sums)


def _in_its_place(
    controls: Mapping[str, ist.SteeringVector], vector: ist.SteeringVector
) -> ist.SteeringVector:
    return vector.matched(controls[vector.card.position])


def leave(
    run: ist.Run,
    records: pl.DataFrame,
    steerers: Mapping[str, Steerer],
    choices: Chosen,
    rule: str,
) -> None:
    """Records, vectors, numbers and figures; a layer of None says that no layer was chosen."""
    run.write_records(records)
    leave_choices(run, steerers, choices, rule)
    run.leave(summary=accuracies(records) | damages(records) | {"instructions": len(steerers)})
    run.draw("accuracy_by_setting", figures.settings_bars(records))
    run.draw("accuracy_by_instruction", figures.instruction_bars(records))
    if len(steerers) > 2:
        run.draw("radar", figures.settings_radar(records))


def leave_choices(
    run: ist.Run, steerers: Mapping[str, Steerer], choices: Chosen, rule: str
) -> None:
    """Vectors, and the layer that was chosen for each; None where none was."""
    for name, steerer in steerers.items():
        steerer.leave(run, name)
        for instructed, text in ((False, "without_text"), (True, "with_text")):
            run.leave(summary={f"layer.{name}.{text}": choices[name, instructed, rule].layer})


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Mean strict accuracy over instructions by setting, and paired tests.

    In the bundled world every instruction has the same number of prompts, so that the mean over
    instructions is the mean over prompts; of IFEval's prompts it is the latter, as in the paper. A
    query that several instructions share is resampled whole.
    """
    rows = {setting: records.filter(pl.col("setting") == setting) for setting in of(records)}
    numbers: dict[str, object] = {}
    for setting, frame in rows.items():
        numbers[f"accuracy.{setting}"] = share_of(frame, "strict")
        numbers[f"loose_accuracy.{setting}"] = share_of(frame, "loose")
    for setting in ("instruction", "both"):
        for (kind,), frame in rows[setting].group_by("phrasing", maintain_order=True):
            numbers[f"accuracy.{setting}.{kind}_phrasing"] = share_of(frame, "strict")
    for baseline in CONTROLS:
        if gained := compare_settings(records, baseline, "steered", "strict"):
            numbers[f"gain.steered_over_{baseline}"] = gained.difference
    for one, other in (("steered", "none"), ("both", "instruction")):
        test = mcnemar(rows[one]["strict"].to_list(), rows[other]["strict"].to_list())
        numbers[f"mcnemar_p.{one}_over_{other}"] = test.p_value
        numbers[f"made_worse.{one}_over_{other}"] = test.only_b / test.n
    return numbers


def damages(records: pl.DataFrame) -> dict[str, object]:
    """What each setting breaks: degenerate, garbled and truncated answers; predictions that move.

    ``kl`` is in nats a token along the answers that the unsteered model gives to the same prompts,
    ``perplexity_ratio`` how many times less it expects these (a geometric mean).
    """
    numbers: dict[str, object] = {}
    for setting in of(records):
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


def of(records: pl.DataFrame) -> list[str]:
    """The settings of records, in the order in which they were asked."""
    return records["setting"].unique(maintain_order=True).to_list()
