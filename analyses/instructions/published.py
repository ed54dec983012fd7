"""Score and analyse the answers that paper A stored, with our own code (Stolfo et al. 2025).

The paper's repository holds the answers of real models: four settings of the format experiment, the
search over layers with its perplexities, and numbers of sentences. Here the answers are scored
again (loose IFEval, as in the paper). Layers are chosen again, by the paper's rule on the paper's
verdicts and by the interval-aware rule. Three results that the paper does not have are added:
intervals, McNemar's test corrected for all instructions, and how often another draw of the few
validation prompts would have led to another layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

import figures
import interp_steer as ist
from figures.published import BASELINES, as_plotted, reported, reported_sentences
from interp_steer.statistics import correct_p_values, mcnemar, share_of
from interp_steer.sweeps import Choice, published_answers, stability

Asked = tuple[str, bool]
"""An instruction, and whether the prompt has its text."""


@dataclass(frozen=True)
class Config:
    """Options of the analysis of stored answers."""

    outputs: Path
    """Folder of one model's stored outputs, with format/, layer_search/ and length/."""
    model: str = "microsoft/Phi-3-mini-4k-instruct"
    """Model that gave the answers. Published values of this model are drawn too."""


def main(config: Config, run: ist.Run) -> None:
    """Read and score the answers, choose layers, compare, and draw."""
    answers = published_answers.read_format(config.outputs)
    searched = published_answers.read_layer_search(config.outputs)
    counted = published_answers.read_length(config.outputs)
    run.write_records(answers)
    run.write_records(searched, "layer_search")
    run.write_records(differing_verdicts(searched), "differing_verdicts")
    run.write_records(counted, "sentences")

    sweeps: dict[Asked, pl.DataFrame] = dict(
        searched.group_by("instruction", "instructed", maintain_order=True)
    )
    papers = {
        asked: ist.select_layer(rows, "paper", column="stored") for asked, rows in sweeps.items()
    }
    sound = {
        asked: ist.select_layer(rows, "interval", column="verdict")
        for asked, rows in sweeps.items()
    }
    again = {
        asked: stability(rows, column="stored", seed=run.seed)
        for asked, rows in sweeps.items()
        if rows["key"].n_unique() > 1  # each language was tried on one prompt
    }
    run.leave(summary=accuracies(answers) | tests(answers) | sentence_shares(counted))
    run.leave(summary=choices(answers, papers, sound, again) | agreement(searched))

    published_accuracies = {
        setting: value
        for (setting, at), value in reported(config.model, "format", "loose").items()
        if not at
    }
    run.draw(
        "accuracy_by_setting",
        figures.settings_bars(answers, outcome="loose", reported=published_accuracies),
    )
    run.draw("accuracy_by_instruction", figures.instruction_bars(answers, outcome="loose"))
    for instructed, suffix in ((False, ""), (True, "_with_text")):
        names = sorted(name for name, text in again if text == instructed)
        rows = searched.filter(
            pl.col("instruction").is_in(names) & (pl.col("instructed") == instructed)
        )
        both_rules = {name: [papers[name, instructed], sound[name, instructed]] for name in names}
        run.draw(
            f"accuracy_by_layer{suffix}", figures.layer_curve(rows, both_rules, outcome="verdict")
        )
        chosen = {name: papers[name, instructed].layer for name in names}
        firm = {name: again[name, instructed] for name in names}
        run.draw(f"chosen_again{suffix}", figures.selection_map(chosen, firm))
    published_sentences = reported_sentences(config.model)
    run.draw("sentences", figures.sentence_curves(counted, published_sentences))


def accuracies(answers: pl.DataFrame) -> dict[str, object]:
    """Return the accuracies of each setting, raw and with the published override."""
    numbers: dict[str, object] = {}
    plotted = as_plotted(answers)
    for setting in answers["setting"].unique(maintain_order=True):
        rows = answers.filter(pl.col("setting") == setting)
        numbers[f"accuracy.{setting}"] = share_of(rows, "loose")
        numbers[f"strict_accuracy.{setting}"] = share_of(rows, "strict")
        numbers[f"repetitive.{setting}"] = share_of(rows, "degenerate")
        if setting in BASELINES:
            mixed = plotted.filter(pl.col("setting") == setting)
            numbers[f"accuracy.{setting}.overridden"] = share_of(mixed, "loose")
    return numbers


def tests(answers: pl.DataFrame) -> dict[str, object]:
    """Return McNemar tests of steering: over all prompts, and by instruction (Holm-corrected)."""
    numbers: dict[str, object] = {}
    for setting, baseline in BASELINES.items():
        paired = _pair_verdicts(answers, setting, baseline)
        numbers[f"mcnemar_p.{setting}"] = mcnemar(paired["with"], paired["without"]).p_value
        names, outcomes = [], []
        for (name,), rows in paired.group_by("instruction", maintain_order=True):
            names.append(name)
            outcomes.append(mcnemar(rows["with"], rows["without"]))
        for name, p_value in zip(names, correct_p_values(outcomes), strict=True):
            numbers[f"mcnemar_p.{setting}.{name}"] = p_value
    return numbers


def _pair_verdicts(answers: pl.DataFrame, setting: str, baseline: str) -> pl.DataFrame:
    """Put the verdicts of two settings side by side, a row for each prompt."""
    steered, plain = (
        answers.filter(pl.col("setting") == name).select(
            "key", "instruction", pl.col("loose").alias(side)
        )
        for name, side in ((setting, "with"), (baseline, "without"))
    )
    return steered.join(plain.drop("instruction"), on="key", maintain_order="left")


def choices(
    answers: pl.DataFrame,
    papers: Mapping[Asked, Choice],
    sound: Mapping[Asked, Choice],
    again: Mapping[Asked, Mapping[int | None, float]],
) -> dict[str, object]:
    """Return the layer of each rule, and how firm the choice of the paper's rule is.

    The number of layers that agree with the published run is counted too. A layer of None says that
    no layer was chosen.
    """
    numbers: dict[str, object] = {}
    for (name, instructed), paper in papers.items():
        key = f"{name}.{'with' if instructed else 'without'}_text"
        numbers[f"layer.{key}.paper"] = paper.layer
        interval = sound[name, instructed]
        numbers[f"layer.{key}.interval"] = interval.layer
        numbers[f"accuracy.{key}.interval"] = interval.accuracy
        if (name, instructed) in again:
            numbers[f"chosen_again.{key}"] = again[name, instructed][paper.layer]
    run = {
        (variant, setting == "both"): layer
        for variant, setting, layer in answers.filter(pl.col("setting").is_in(list(BASELINES)))
        .select("variant", "setting", "layer")
        .unique(maintain_order=True)
        .iter_rows()
    }
    searched = {asked: layer for asked, layer in run.items() if asked in papers}
    numbers["layers.searched"] = len(searched)
    numbers["layers.as_published"] = sum(
        papers[asked].layer == layer for asked, layer in searched.items()
    )
    return numbers


def agreement(searched: pl.DataFrame) -> dict[str, object]:
    """Count the verdicts that agree with the stored ones."""
    known = searched.filter(pl.col("loose").is_not_null())
    return {
        "verdicts.same": int((known["loose"] == known["stored"]).sum()),
        "verdicts.different": int((known["loose"] != known["stored"]).sum()),
        "verdicts.without_ours": searched.height - known.height,
    }


def differing_verdicts(searched: pl.DataFrame) -> pl.DataFrame:
    """Return the answers whose stored verdict differs from ours, with the reason if it is known."""
    detects = pl.col("instruction").str.contains("language|english")
    reason = (
        pl.when(pl.col("unscored").is_not_null())
        .then(pl.col("unscored"))
        .when(detects)
        .then(pl.lit("the language detector had no fixed seed in the published run"))
        .otherwise(pl.lit("the checker in the published run was of another version"))
    )
    return (
        searched.filter(pl.col("unscored").is_not_null() | (pl.col("loose") != pl.col("stored")))
        .with_columns(reason.alias("reason"))
        .select("instruction", "setting", "layer", "prompt", "answer", "loose", "stored", "reason")
    )


def sentence_shares(counted: pl.DataFrame) -> dict[str, object]:
    """Return the share of answers that have the requested number of sentences."""
    return {
        f"sentences.{relation.replace(' ', '_')}_{k}.{setting}": share_of(rows, "strict")
        for (relation, k, setting), rows in counted.group_by(
            "relation", "k", "setting", maintain_order=True
        )
    }
