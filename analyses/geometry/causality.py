"""Test whether the model uses the direction of an instruction to follow the instruction.

A direction that separates prompts with and without an instruction need not be the direction that
the model acts on. Two quantities are measured on the test split:

- necessity: with the text instruction in the prompt, the share of instruction following that is
  lost when the component along the direction is removed. The component is set to zero (Arditi et
  al. 2024) or to its mean over prompts without the instruction, at one layer or at all layers; or
  the direction of the chosen layer is ablated at all layers;
- sufficiency: without the text, the share of instruction following that is gained when the
  component is set to its mean over prompts with the instruction.

Activations are also exchanged between the two prompts of a pair, at the last token of the prompt:
the whole activation, its component along the direction, or the rest. The exchange shows how much
information about the instruction is at that token at each layer. It does not affect what later
layers read from the instruction's own tokens.

S is the share of answers that follow the instruction, or the log-probability (nats per token) of
the model's own answer to the text instruction::

    necessity   = (S(text) - S(text, edited)) / (S(text) - S(nothing))
    sufficiency = (S(edited) - S(nothing))    / (S(text) - S(nothing))

Random directions are ablated, or moved as far, for comparison. A layer for each quantity is chosen
on the select split, by the log-probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.geometry.causality_edits import EDITS, Editor
from analyses.kit.instruction_following import Answering, EditedPrompts, InstructionFollowing
from analyses.kit.instruction_sets import contrast_sets
from figures.style.drawing import short_names
from figures.style.interval_dots import interval_dots
from interp_steer.errors import OptionError, StatisticsError
from interp_steer.geometry import capture_last_tokens
from interp_steer.statistics import (
    Interval,
    bootstrap_mean,
    holm,
    mcnemar,
    ratio_of_means,
    share_between,
    share_of,
)

MAIN_EDITS = {"necessity": "zero", "sufficiency": "steer"}
"""The edit by which the layer of each quantity is chosen, and which is tested."""

WITH_ANSWERS = {"necessity": ("mean",), "sufficiency": ("steer", "whole", "component")}
"""Edits for which answers are generated at every layer, the first also along a random direction.
For other edits answers are generated at the chosen layer."""

EXCHANGES = ("whole", "component", "rest")

MEASURES = {"strict": "obedience", "logprob": "log-probability"}
"""Measures of an effect: the column of the records, and the name in figures."""

SHOWN = (-0.75, 1.75)
"""The range of shares in figures; an arrow marks shares outside the range."""

ABOUT = (
    "The component along the direction is set to zero or to a mean, or the two prompts of a pair "
    "exchange their activations at the last token: the whole, the component, or the rest."
)

Chosen = Mapping[str, Mapping[str, int]]
"""The layer of each quantity, by instruction."""


@dataclass(frozen=True)
class Config(Answering):
    """The model, the instructions and the edits."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
    )
    """IFEval ids of the instructions whose directions are edited."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    layers: tuple[int, ...] | None = None
    """Layers that are edited one at a time. By default every layer."""
    removed_at: str = "all"
    """Positions at which components are set to zero: all, prompt, generated or last."""
    set_at: str = "generated"
    """Positions at which components are set to a mean: all, prompt, generated or last. The mean is
    over last tokens of prompts; other prompt tokens are far from that mean."""
    n_fit: int = 64
    """Pairs of prompts that each direction is fitted on."""
    n_select: int = 12
    """Pairs of prompts on which the layer of each quantity is chosen."""
    n_test: int = 16
    """Held-out pairs of prompts on which results are reported."""
    n_random: int = 1
    """Random directions that each direction is compared with."""


def main(config: Config, run: ist.Run) -> None:
    """Fit the vectors, choose a layer for each quantity, edit prompts, and measure effects."""
    model = ist.load(config.model)
    layers = tuple(range(model.n_layers)) if config.layers is None else config.layers
    for layer in layers:
        ist.Site("resid_post", layer).check(model.n_layers)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    ledger = ist.Ledger(run.answers)
    frames, chosen = [], {}
    for name, pairs in tqdm(sets.items(), desc="causality", unit="instruction", disable=None):
        select, test = (
            InstructionFollowing.of(model, split, config, ledger)
            for split in (pairs.select, pairs.test)
        )
        if not (select.obedient and test.obedient):
            print(
                f"{name} is left out: {model.name} follows the instruction in no prompt of a split"
            )
            continue
        vector = ist.fit(
            model, pairs.fit, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        run.leave(vector, name=name)
        editors = [
            Editor(vector, capture_last_tokens(model, split), config.removed_at, config.set_at)
            for split in (pairs.select, pairs.test)
        ]
        chosen[name] = choose_layers(select, editors[0], layers)
        draws = [None, *range(run.seed, run.seed + config.n_random)]
        records = measure_edits(test, editors[1], layers, chosen[name], draws)
        frames.append(records.with_columns(pl.lit(name).alias("instruction")))
    if not frames:
        raise OptionError(
            f"{model.describe()} follows none of {', '.join(config.instruction)} when the "
            "instruction is in the prompt; give other instructions, or another model"
        )
    records = pl.concat(frames)
    shares = compute_shares(records, run.seed)
    run.write_records(records)
    run.write_records(shares, "shares")
    run.leave(summary=summarise_shares(shares, chosen) | compare_main_edits(records, chosen))
    run.leave(summary=summarise_damage(records, chosen, run.seed))
    draw_shares(run, shares, chosen)


def get_effect(act: EditedPrompts) -> str:
    """Return the quantity that an edit measures."""
    return "necessity" if act.instructed else "sufficiency"


def choose_layers(
    obedience: InstructionFollowing, editor: Editor, layers: Sequence[int]
) -> dict[str, int]:
    """Choose the layer of each quantity: where the main edit changes the log-probability most."""
    acts = [
        act
        for layer in layers
        for act in editor.at_layer(layer)
        if act.name == MAIN_EDITS[get_effect(act)]
    ]
    with_text, without_text, *edited = (
        sum(score for score in scores if score is not None)
        for scores in obedience.score_answers(
            [obedience.unedited(True), obedience.unedited(False), *acts]
        )
    )
    changes: dict[str, dict[int, float]] = {effect: {} for effect in MAIN_EDITS}
    for act, score in zip(acts, edited, strict=True):
        assert act.layer is not None
        change = with_text - score if act.instructed else score - without_text
        changes[get_effect(act)][act.layer] = change
    return {effect: max(scores, key=lambda at: scores[at]) for effect, scores in changes.items()}


def measure_edits(
    obedience: InstructionFollowing,
    editor: Editor,
    layers: Sequence[int],
    chosen: Mapping[str, int],
    draws: Sequence[int | None],
) -> pl.DataFrame:
    """Measure each edit on each pair: whether the answer follows, and the log-probability.

    Log-probabilities are computed for all edits. Answers are generated for the edits in
    :data:`WITH_ANSWERS`, and for all edits at the chosen layers and at all layers at once.
    """
    acts = [
        act
        for draw in draws
        for part in (
            *(editor.at_layer(layer, draw) for layer in layers),
            editor.at_every_layer(chosen["necessity"], draw),
        )
        for act in part
    ]

    def is_reported(act: EditedPrompts) -> bool:
        return act.layer is None or act.layer == chosen[get_effect(act)]

    def has_answers(act: EditedPrompts) -> bool:
        names = WITH_ANSWERS[get_effect(act)]
        return act.name in (names if act.draw is None else names[:1])

    answered_acts = [act for act in acts if is_reported(act) or has_answers(act)]
    # An exchange that removes the instruction inserts activations of the prompt without the
    # instruction; on that prompt it changes nothing, so its damage is not measured.
    with_damage = [a for a in acts if is_reported(a) and not (a.instructed and a.name in EXCHANGES)]
    obeyed = obedience.check_answers(answered_acts)
    strict = {id(act): values for act, values in zip(answered_acts, obeyed, strict=True)}
    damage = obedience.damage(with_damage)
    kl = {id(act): values for act, values in zip(with_damage, damage, strict=True)}
    with_text, without_text, *scores = obedience.score_answers(
        [obedience.unedited(True), obedience.unedited(False), *acts]
    )
    missing = [None] * len(obedience.pairs)
    rows = []
    for act, score in zip(acts, scores, strict=True):
        columns = zip(
            obedience.pairs,
            strict.get(id(act), missing),
            obedience.strict["present"],
            obedience.strict["absent"],
            score,
            with_text,
            without_text,
            kl.get(id(act), missing),
            strict=True,
        )
        rows += [
            (get_effect(act), act.name, act.layer, act.draw, pair.key, pair.query, *values)
            for pair, *values in columns
        ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


SCHEMA = {
    "effect": pl.String,
    "act": pl.String,
    "layer": pl.Int64,
    "draw": pl.Int64,
    "key": pl.String,
    "query": pl.String,
    "strict": pl.Boolean,
    "strict_told": pl.Boolean,
    "strict_plain": pl.Boolean,
    "logprob": pl.Float64,
    "logprob_told": pl.Float64,
    "logprob_plain": pl.Float64,
    "kl": pl.Float64,
}
"""``layer`` is null for edits at all layers, ``draw`` is null for the direction itself. ``told``
and ``plain`` mean with and without the text instruction, unedited."""

SETTING = (
    pl.when(pl.col("draw").is_null())
    .then(pl.lit("vector"))
    .otherwise(pl.lit("random"))
    .alias("setting")
)


# ------------------------------------------------------------------ shares
def compute_shares(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the share of the text's effect that each edit removes or gives, by measure.

    The draws of random directions of a prompt are averaged. A share is missing where the text
    instruction itself may have no effect.
    """
    by = ["instruction", "effect", "act", "layer", "setting"]
    measures = (("strict", _share_obedience), ("logprob", partial(_share_logprob, seed=seed)))
    rows = []
    for group, cell in records.with_columns(SETTING).group_by(by, maintain_order=True):
        for measure, share in measures:
            known = cell.drop_nulls(measure)
            if len(known):
                with suppress(StatisticsError):  # the text instruction may have no effect
                    value = share(known, gained=group[1] == "sufficiency")
                    rows.append((*group, measure, value.value, value.low, value.high, value.n))
    columns = [*by, "measure", "value", "low", "high", "n"]
    overrides = {"layer": pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row", schema_overrides=overrides)


def _share_obedience(cell: pl.DataFrame, *, gained: bool) -> Interval:
    once = cell.unique("key", maintain_order=True)
    with_text, without_text = (share_of(once, f"strict_{end}") for end in ("told", "plain"))
    edited = share_of(cell, "strict")
    ends = (without_text, with_text) if gained else (with_text, without_text)
    return share_between(edited, *ends)


def _share_logprob(cell: pl.DataFrame, *, gained: bool, seed: int) -> Interval:
    start, end = ("logprob_plain", "logprob") if gained else ("logprob", "logprob_told")
    prompts = cell.group_by("key", maintain_order=True).agg(
        (pl.col(end) - pl.col(start)).mean().alias("moved"),
        (pl.col("logprob_told") - pl.col("logprob_plain")).mean().alias("whole"),
    )
    return ratio_of_means(prompts["moved"].to_list(), prompts["whole"].to_list(), seed=seed)


def select_headlines(frame: pl.DataFrame, chosen: Chosen) -> pl.DataFrame:
    """Return the rows of edits at all layers, and of edits at the layer of their quantity."""
    layers = [
        (name, effect, layer)
        for name, layer_of in chosen.items()
        for effect, layer in layer_of.items()
    ]
    columns = {"instruction": pl.String, "effect": pl.String, "of_question": pl.Int64}
    known = frame.join(
        pl.DataFrame(layers, schema=columns, orient="row"),
        on=["instruction", "effect"],
        maintain_order="left",
    )
    every = pl.col("layer").is_null()
    return known.filter(every | (pl.col("layer") == pl.col("of_question"))).with_columns(
        pl.when(every).then(pl.lit("every")).otherwise(pl.lit("layer")).alias("where")
    )


# ------------------------------------------------------------------ summary
def summarise_shares(shares: pl.DataFrame, chosen: Chosen) -> dict[str, object]:
    """Return the shares at the chosen layers and at all layers."""
    summary: dict[str, object] = {
        f"{effect}.layer.{name}": layer
        for name, layers in chosen.items()
        for effect, layer in layers.items()
    }
    for row in select_headlines(shares, chosen).iter_rows(named=True):
        parts = (row[part] for part in ("effect", "measure", "act", "where", "setting"))
        summary[f"{'.'.join(parts)}.{row['instruction']}"] = Interval.of(row)
    return summary


def compare_main_edits(records: pl.DataFrame, chosen: Chosen) -> dict[str, float]:
    """Compare the main edits with the first random direction by McNemar's test, with Holm's
    correction."""
    p_values: dict[str, float] = {}
    for (name, effect, act, where), cell in select_headlines(records, chosen).group_by(
        "instruction", "effect", "act", "where", maintain_order=True
    ):
        own = cell.filter(pl.col("draw").is_null())
        first = cell.filter(pl.col("draw") == pl.col("draw").min())
        if act == MAIN_EDITS[str(effect)] and len(first):
            test = mcnemar(own["strict"].to_list(), first["strict"].to_list())
            p_values[f"mcnemar_p.{effect}.{act}.{where}.{name}"] = test.p_value
    return dict(zip(p_values, holm(p_values.values()), strict=True)) if p_values else {}


def summarise_damage(records: pl.DataFrame, chosen: Chosen, seed: int) -> dict[str, Interval]:
    """Return the KL of edits on prompts without the instruction, in nats per token."""
    by = ["effect", "act", "where", "setting", "instruction"]
    known = select_headlines(records.with_columns(SETTING), chosen).drop_nulls("kl")
    return {
        "kl." + ".".join(map(str, group)): bootstrap_mean(
            cell["kl"].to_list(), cell["key"].to_list(), seed=seed
        )
        for group, cell in known.group_by(by, maintain_order=True)
    }


def draw_shares(run: ist.Run, shares: pl.DataFrame, chosen: Chosen) -> None:
    """Draw the shares at the chosen layers and at all layers, and layer by layer."""
    names = short_names(shares["instruction"].unique(maintain_order=True).to_list())
    named = shares.with_columns(
        pl.col("instruction").replace(names).alias("panel"),
        pl.col("act").replace(EDITS).alias("label"),
    )
    for measure, measure_name in MEASURES.items():
        of_measure = named.filter(pl.col("measure") == measure)
        every = (
            pl.when(pl.col("where") == "every").then(pl.lit(", all layers")).otherwise(pl.lit(""))
        )
        rows = select_headlines(of_measure, chosen).with_columns(pl.col("label") + every)
        if len(rows):
            title = f"share of the text's effect on {measure_name}"
            drawing = interval_dots(rows, title, group="effect", span=SHOWN, about=ABOUT)
            run.draw(f"effects_{measure_name}", drawing)
        for effect in MAIN_EDITS:
            control = WITH_ANSWERS[effect][0]
            chance = f"random direction: {EDITS[control]}"
            own = pl.col("setting") == "vector"
            known = pl.col("act").is_in(WITH_ANSWERS[effect]) | pl.lit(measure != "strict")
            curves = of_measure.filter(
                (pl.col("effect") == effect)
                & pl.col("layer").is_not_null()
                & ((own & known) | (~own & (pl.col("act") == control)))
            ).with_columns(pl.when(own).then("label").otherwise(pl.lit(chance)).alias("series"))
            if len(curves):
                verb = "lost" if effect == "necessity" else "gained"
                title = f"share of {measure_name} {verb}"
                drawing = figures.interval_curves(curves, "layer", "layer", title, chance=chance)
                run.draw(f"{effect}_{measure_name}", drawing)
