"""Answer length against the weight of a length vector (Stolfo et al. 2025, length experiments).

Two vectors are fitted as differences in means: conciseness (fewer words than so many) and
verbosity (at least so many). Each is added with a fixed weight at one layer: on the select split,
the one where a weight of 1 changes the number of words most without more degenerate answers. On the
test split the weight is varied, without any text instruction: the dose response. A weight is in
units of the vector's own norm there, so that 1 displaces an activation as much as the text
instruction does in the mean; the norm-matched random direction shows what any displacement does.

Vectors for exactly k sentences are then added where the text asks for k sentences, and the share of
answers that have k of them is compared with that of the text alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

import figures
import interp_steer as ist
from analyses.asking import asking
from figures.shares import share_of
from interp_steer.burattino.instructions import SENTENCES, WORDS
from interp_steer.grid import follows_instruction, with_fluency
from interp_steer.scoring.sentences import count_sentences
from interp_steer.statistics import bootstrap_mean, mcnemar

KINDS = {"conciseness": {"relation": "less than"}, "verbosity": {"relation": "at least"}}
"""The vectors of length, and the arguments of the instruction that each is fitted on."""

TOLERATED = 0.1
"""How much larger a layer's share of degenerate answers may be than that of the plain model."""


@dataclass(frozen=True)
class Config:
    """What is varied."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    weights: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Weights of the vectors, in units of their own norm at the layer."""
    sentences: tuple[int, ...] = (1, 2, 3, 5, 6)
    """Numbers of sentences that are asked for exactly."""
    layer: int | None = None
    """Layer to steer at; chosen on the select split when not given."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 12
    """Prompts that each layer is tried on."""
    n_test: int = 40
    """Prompts that are reported."""
    max_new_tokens: int = 224
    """Where an answer is cut."""
    batch_size: int = 192
    """Rows decoded at once."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers; gpt2 in the paper."""
    ray: str | None = None
    """The ray cluster that answers: local, or an address; this process when not given."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose a layer, vary the weight; then count sentences."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    run.used(model)
    with asking(config, model, run) as options:
        options |= {"score": measured}
        doses = [
            dose_response(kind, where, model, reference, config, run, options)
            for kind, where in KINDS.items()
        ]
        counted = [exactly(k, model, reference, config, run, options) for k in config.sentences]
    records, sentences = pl.concat(doses), pl.concat(counted)
    run.write_records(records)
    run.write_records(sentences, "sentences")
    run.leave(summary=lengths(records) | kept(sentences))
    run.draw("words_by_weight", figures.dose_curve(records, "words"))
    run.draw("words_distribution", figures.dose_boxes(records, "words"))
    run.draw("sentences", figures.sentence_curves(sentences))


def measured(pair: ist.contrast.Pair, completion: ist.Completion) -> dict[str, Any]:
    """IFEval's verdict, and how long the answer is."""
    return {
        **follows_instruction(pair, completion),
        "words": len(completion.text.split()),
        "sentences": count_sentences(completion.text),
    }


def dose_response(
    kind: str,
    where: Mapping[str, Any],
    model: ist.HookedLM,
    reference: ist.HookedLM,
    config: Config,
    run: ist.Run,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers of the test split under each weight of one vector, and of a random direction."""
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    pairs = ist.contrast.instruction(WORDS, where=where, seed=run.seed, **sizes)
    vector = ist.fit(model, pairs.fit, checkpoints=run.partial)
    run.used(pairs)
    run.leave(vector, name=kind)
    layer = config.layer
    if layer is None:
        tried = [ist.Cell("none"), *(added(vector, at, 1.0) for at in vector.layers)]
        layer = most_changed(
            with_fluency(ist.sweep(model, tried, pairs.select, **options), reference)
        )
    random = vector.like_random(run.seed)
    grid = [
        ist.Cell("none", strength=0.0),
        *(added(vector, layer, weight) for weight in config.weights),
        *(added(random, layer, weight, "random") for weight in config.weights),
    ]
    records = with_fluency(ist.sweep(model, grid, pairs.test, **options), reference)
    run.leave(summary={f"layer.{kind}": layer})
    return records.with_columns(pl.lit(kind).alias("instruction"))


def added(
    vector: ist.SteeringVector, layer: int, weight: float, setting: str = "steered"
) -> ist.Cell:
    """A cell in which the vector is added with a weight in units of its norm at the layer."""
    direction = vector.at(layer)
    steering = direction.add(weight * float(direction.vector.norm()))
    draw = 0 if setting == "random" else None
    return ist.Cell(setting, steering, layer, draw=draw, strength=weight)


def most_changed(records: pl.DataFrame) -> int:
    """The layer where the mean number of words changes most, of those that stay fluent."""
    by_layer = records.group_by("layer").agg(pl.col("words", "degenerate").mean())
    plain = by_layer.row(by_predicate=pl.col("layer").is_null(), named=True)
    steered = by_layer.filter(pl.col("layer").is_not_null()).sort("layer")
    fluent = steered.filter(pl.col("degenerate") <= plain["degenerate"] + TOLERATED)
    change = (pl.col("words") - plain["words"]).abs()
    return (steered if fluent.is_empty() else fluent).sort(change, descending=True)["layer"][0]


def exactly(
    k: int,
    model: ist.HookedLM,
    reference: ist.HookedLM,
    config: Config,
    run: ist.Run,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers to "exactly k sentences", by the text alone and with the vector of k added."""
    pairs = ist.contrast.instruction(
        SENTENCES,
        where={"relation": "exactly", "num_sentences": k},
        seed=run.seed,
        fit=config.n_fit // 2,
        select=config.n_select,
        test=config.n_test // 2,
    )
    vector = ist.fit(model, pairs.fit, checkpoints=run.partial)
    run.used(pairs)
    run.leave(vector, name=f"sentences_{k}")
    steered = [added(vector, at, 1.0) for at in vector.layers]
    tried = [ist.Cell("none"), *steered]
    found = with_fluency(ist.sweep(model, tried, pairs.select, **options), reference)
    layer = ist.select_layer(found, "interval").layer
    both = ist.unsteered if layer is None else added(vector, layer, 1.0).steering
    grid = [
        ist.Cell("none"),
        ist.Cell("steered", both, layer),
        ist.Cell("instruction", instructed=True),
        ist.Cell("both", both, layer, instructed=True),
    ]
    records = with_fluency(ist.sweep(model, grid, pairs.test, **options), reference)
    run.leave(summary={f"layer.sentences_{k}": -1 if layer is None else layer})
    return records.with_columns(pl.lit("exactly").alias("relation"), pl.lit(k).alias("k"))


def lengths(records: pl.DataFrame) -> dict[str, object]:
    """Mean words under each weight, and whether they change steadily with it."""
    numbers: dict[str, object] = {}
    for (kind, setting, weight), rows in records.group_by(
        "instruction", "setting", "strength", maintain_order=True
    ):
        name = f"{kind}.{setting}.{weight:g}"
        numbers[f"words.{name}"] = bootstrap_mean(rows["words"].to_list(), rows["query"].to_list())
        numbers[f"degenerate.{name}"] = share_of(rows, "degenerate")
    for kind in KINDS:
        dose = (
            records.filter((pl.col("instruction") == kind) & (pl.col("setting") != "random"))
            .group_by("strength")
            .agg(pl.col("words").mean())
            .sort("strength")["words"]
        )
        change = dose.diff().drop_nulls() * (-1 if kind == "conciseness" else 1)
        numbers[f"monotone_doses.{kind}"] = 1 + _leading(change.to_list())
    return numbers


def _leading(changes: Sequence[float]) -> int:
    """How many changes, from the first on, are in the direction asked for."""
    return next((n for n, change in enumerate(changes) if change <= 0), len(changes))


def kept(records: pl.DataFrame) -> dict[str, object]:
    """Share of answers with exactly so many sentences, and a paired test of steering."""
    numbers: dict[str, object] = {
        f"sentences.{setting}": share_of(rows, "strict")
        for (setting,), rows in records.group_by("setting", maintain_order=True)
    }
    of = {
        setting: records.filter(pl.col("setting") == setting)["strict"]
        for setting in ("both", "instruction")
    }
    test = mcnemar(of["both"].to_list(), of["instruction"].to_list())
    return numbers | {"mcnemar_p.sentences.both_over_instruction": test.p_value}
