"""Does steering make a model follow an instruction? Four settings and a control (paper A, 2 and 3).

On the test split, whose queries and phrasings were neither fitted nor chosen on, each prompt is
answered without the instruction (none), steered (steered), steered by a random direction of the
same norm and the same displacement (random), with the text instruction (instruction), and with
both (both). The layer of each instruction is the one chosen on the select split. Accuracy is
strict IFEval accuracy with Wilson intervals; settings are compared by McNemar's exact test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions import layer_sweep
from interp_steer.burattino.instructions import FORMAT_IDS
from interp_steer.grid import with_fluency
from interp_steer.selection import Choice
from interp_steer.statistics import bootstrap_mean, mcnemar

SETTINGS = ("none", "steered", "random", "instruction", "both")


@dataclass(frozen=True)
class Config:
    """What is compared."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMAT_IDS
    """IFEval ids of the instructions to steer towards."""
    rule: Literal["paper", "interval"] = "interval"
    """The rule that chooses each instruction's layer on the select split."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 16
    """Prompts that each layer is tried on."""
    n_test: int = 32
    """Prompts that are reported."""
    max_new_tokens: int = 192
    """Where an answer is cut."""
    batch_size: int = 96
    """Rows decoded at once."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers; gpt2 in the paper."""
    threshold: float | None = None
    """Perplexity below which an answer is degenerate; 2.5 in the paper, under GPT-2. When not
    given it is set just below the least perplexity of the plain answers."""


def main(config: Config, run: ist.Run) -> None:
    """Choose a layer for each instruction on the select split, then report on the test split."""
    model = ist.load(config.model)
    reference = ist.load(config.reference)
    sets = layer_sweep.contrast_sets(
        config.instruction,
        run.seed,
        fit=config.n_fit,
        select=config.n_select,
        test=config.n_test,
    )
    run.used(model, *sets.values())
    sizes = {"max_new_tokens": config.max_new_tokens, "batch_size": config.batch_size}

    vectors = {name: ist.fit(model, pairs.fit) for name, pairs in sets.items()}
    searched = layer_sweep.search(model, sets, vectors, **sizes)
    choices = layer_sweep.choose(with_fluency(searched, reference, config.threshold))
    chosen = {
        (name, instructed): choice
        for (name, instructed, rule), choice in choices.items()
        if rule == config.rule
    }
    records = compare(model, sets, vectors, chosen, seed=run.seed, **sizes)
    leave(run, with_fluency(records, reference, config.threshold), vectors, chosen)


def compare(
    model: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    vectors: Mapping[str, ist.SteeringVector],
    chosen: Mapping[tuple[str, bool], Choice],
    *,
    seed: int = 0,
    max_new_tokens: int = 192,
    batch_size: int = 96,
) -> pl.DataFrame:
    """Answer the test split in all settings, each vector at the layer that was chosen for it.

    Where the rule chose no layer, the steered model is the unsteered one, as in the paper.
    """
    frames = []
    for name, pairs in tqdm(sets.items(), desc="settings", unit="instruction", disable=None):

        def steer(vector: ist.SteeringVector, layer: int | None) -> ist.Intervention:
            return ist.unsteered if layer is None else vector.at(layer).project()

        without, with_text = (chosen[name, instructed].layer for instructed in (False, True))
        vector = vectors[name]
        grid = [
            ist.Cell("none"),
            ist.Cell("steered", steer(vector, without), without),
            ist.Cell("random", steer(vector.like_random(seed), without), without, draw=0),
            ist.Cell("instruction", instructed=True),
            ist.Cell("both", steer(vector, with_text), with_text, True),
        ]
        frames.append(
            ist.sweep(model, grid, pairs.test, max_new_tokens=max_new_tokens, batch_size=batch_size)
        )
    return pl.concat(frames)


def leave(
    run: ist.Run,
    records: pl.DataFrame,
    vectors: Mapping[str, ist.SteeringVector],
    chosen: Mapping[tuple[str, bool], Choice],
) -> None:
    """Records, vectors, numbers and figures."""
    run.write_records(records)
    for name, vector in vectors.items():
        run.leave(vector, name=name)
    for (name, instructed), choice in chosen.items():
        layer = -1 if choice.layer is None else choice.layer
        run.leave(summary={f"layer.{name}.{'with' if instructed else 'without'}_text": layer})
    run.leave(summary=accuracies(records) | {"instructions": len(vectors)})
    run.draw("accuracy_by_setting", figures.settings_bars(records))
    run.draw("accuracy_by_instruction", figures.instruction_bars(records))


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Mean strict accuracy over instructions by setting, its damage, and paired tests.

    Every instruction has the same number of prompts, so that the mean over instructions is the
    mean over prompts; a query that several instructions share is resampled whole.
    """
    rows = {setting: records.filter(pl.col("setting") == setting) for setting in SETTINGS}
    outcomes = {name: frame["strict"].to_list() for name, frame in rows.items()}
    numbers: dict[str, object] = {}
    for setting, frame in rows.items():
        queries = frame["query"].to_list()
        for name, column in (
            ("accuracy", "strict"),
            ("loose_accuracy", "loose"),
            ("degenerate", "degenerate"),
        ):
            values = frame[column].cast(pl.Float64).to_list()
            numbers[f"{name}.{setting}"] = bootstrap_mean(values, clusters=queries)
        cut = (frame["finish_reason"] == "length").mean()
        numbers[f"truncated.{setting}"] = float(cut or 0.0)  # type: ignore[arg-type]
    for one, other in (("steered", "none"), ("steered", "random"), ("both", "instruction")):
        test = mcnemar(outcomes[one], outcomes[other])
        numbers[f"mcnemar_p.{one}_over_{other}"] = test.p_value
        numbers[f"made_worse.{one}_over_{other}"] = test.only_b / test.n
    return numbers
