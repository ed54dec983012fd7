"""Does steering make a model follow instructions? Four settings, a control (Stolfo et al. 2025).

On the test split, whose queries and phrasings were neither fitted nor chosen on, each prompt is
answered without the instruction (none), steered (steered), steered by a random direction of the
same norm and the same displacement (random), with the text instruction (instruction), and with
both (both). The layer of each instruction is the one chosen on the select split. Accuracy is
strict IFEval accuracy with its interval; settings are compared by McNemar's exact test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.asking import asking
from analyses.instructions import layer_sweep
from analyses.instructions.layer_sweep import Chosen, Picked
from figures.shares import share_of
from interp_steer.errors import RunError
from interp_steer.grid import with_fluency
from interp_steer.statistics import mcnemar

SETTINGS = ("none", "steered", "random", "instruction", "both")


@dataclass(frozen=True)
class Config(layer_sweep.Config):
    """What is compared."""

    rule: Literal["paper", "interval"] = "interval"
    """The rule that chooses each instruction's layer on the select split."""
    n_test: int = 32
    """Prompts that are reported."""

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
    sets = layer_sweep.contrast_sets(config.instruction, run.seed, **sizes)
    run.used(model, *sets.values())

    vectors = layer_sweep.fitted(model, sets, run)
    with asking(config, model, run) as options:
        searched = layer_sweep.search(model, reference, sets, vectors, config, options)
        choices = layer_sweep.choose(searched)
        records = compare(model, reference, sets, vectors, choices, config, run.seed, options)
    leave(run, records, vectors, choices, config.rule)


def compare(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    vectors: Mapping[str, ist.SteeringVector],
    choices: Chosen,
    config: Config,
    seed: int,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answer the test split in all settings, each vector at the layer that was chosen for it.

    Where the rule chose no layer, the steered model is the unsteered one, as in the paper.
    """
    frames = []
    for name, pairs in tqdm(sets.items(), desc="settings", unit="instruction", disable=None):
        vector, random = vectors[name], vectors[name].like_random(seed)
        without, with_text = (choices[name, text, config.rule] for text in (False, True))
        grid = [
            ist.Cell("none"),
            ist.Cell("steered", **chosen_cell(vector, without)),
            ist.Cell("random", **chosen_cell(random, without), draw=0),
            ist.Cell("instruction", instructed=True),
            ist.Cell("both", **chosen_cell(vector, with_text), instructed=True),
        ]
        frames.append(ist.sweep(model, grid, pairs.test, **options))
    return with_fluency(pl.concat(frames), reference, config.threshold)


def chosen_cell(vector: ist.SteeringVector, picked: Picked) -> dict[str, Any]:
    """How a cell steers by a vector under what was chosen."""
    if picked.layer is None:
        return {}
    steering = layer_sweep.steering(vector.at(picked.layer), picked.operation)
    return {"steering": steering, "layer": picked.layer, "operation": picked.operation}


def leave(
    run: ist.Run,
    records: pl.DataFrame,
    vectors: Mapping[str, ist.SteeringVector],
    choices: Chosen,
    rule: str,
) -> None:
    """Records, vectors, numbers and figures; a layer of -1 says that no layer was chosen."""
    run.write_records(records)
    for name, vector in vectors.items():
        run.leave(vector, name=name)
        for instructed, text in ((False, "without_text"), (True, "with_text")):
            layer = choices[name, instructed, rule].layer
            run.leave(summary={f"layer.{name}.{text}": -1 if layer is None else layer})
    run.leave(summary=accuracies(records) | {"instructions": len(vectors)})
    run.draw("accuracy_by_setting", figures.settings_bars(records))
    run.draw("accuracy_by_instruction", figures.instruction_bars(records))


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Mean strict accuracy over instructions by setting, its damage, and paired tests.

    Every instruction has the same number of prompts, so that the mean over instructions is the
    mean over prompts; a query that several instructions share is resampled whole.
    """
    rows = {setting: records.filter(pl.col("setting") == setting) for setting in SETTINGS}
    numbers: dict[str, object] = {}
    for setting, frame in rows.items():
        numbers[f"accuracy.{setting}"] = share_of(frame, "strict")
        numbers[f"loose_accuracy.{setting}"] = share_of(frame, "loose")
        numbers[f"degenerate.{setting}"] = share_of(frame, "degenerate")
        numbers[f"truncated.{setting}"] = frame["finish_reason"].to_list().count("length") / len(
            frame
        )
    for setting in ("instruction", "both"):
        for (kind,), frame in rows[setting].group_by("phrasing", maintain_order=True):
            numbers[f"accuracy.{setting}.{kind}_phrasing"] = share_of(frame, "strict")
    outcomes = {name: frame["strict"].to_list() for name, frame in rows.items()}
    for one, other in (("steered", "none"), ("steered", "random"), ("both", "instruction")):
        test = mcnemar(outcomes[one], outcomes[other])
        numbers[f"mcnemar_p.{one}_over_{other}"] = test.p_value
        numbers[f"made_worse.{one}_over_{other}"] = test.only_b / test.n
    return numbers
