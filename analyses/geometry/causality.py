"""Is the direction used? Take it away where the text asks, give it where nothing does.

A direction that tells prompts with an instruction from those without need not be what the model
acts on. Two questions are asked of it, on the test split:

- necessity: with the text instruction in the prompt, which share of the obedience goes when the
  component along the direction is taken away? It is set to zero (Arditi et al. 2024) or to its mean
  over prompts without the instruction, at one layer or at every layer; or the one direction of the
  chosen layer is taken from every layer;
- sufficiency: without the text, which share comes when it is set to its mean over prompts with the
  instruction?

Activations are also exchanged between the two prompts of a pair, at the last token of the prompt
alone: the whole activation, its component along the direction, or all but that. It shows what has
come together at that token by each layer; what later layers read from the instruction's own tokens
no such patch carries.

With S the share of answers that obey, or the log-probability of the obedient answer (nats a token,
the model's own answer to the text instruction)::

    necessity   = (S(text) - S(text, edited)) / (S(text) - S(nothing))
    sufficiency = (S(edited) - S(nothing))    / (S(text) - S(nothing))

Random directions stand beside: taken away as the direction is, or moved as far. A layer for each
question is chosen on the select split, by the log-probability.
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
from analyses.geometry.causality_edits import ACTS, Editor
from analyses.kit.instruction_following import Answering, EditedPrompts, InstructionFollowing
from analyses.kit.instruction_sets import contrast_sets
from figures.style.drawing import short_names
from figures.style.interval_dots import interval_dots
from interp_steer.errors import RunError, StatisticsError
from interp_steer.geometry.exchange import capture_last_tokens
from interp_steer.statistics.effect_shares import ratio_of_means, share_between
from interp_steer.statistics.intervals import Interval, bootstrap_mean
from interp_steer.statistics.paired import holm, mcnemar
from interp_steer.statistics.records import share_of

MAIN = {"necessity": "zero", "sufficiency": "steer"}
"""The act that the layer of a question is chosen by, and that is tested."""

ANSWERED = {"necessity": ("mean",), "sufficiency": ("steer", "whole", "component")}
"""Acts under which answers are generated at every layer, the first along a random direction too;
under others, at the chosen one."""

EXCHANGES = ("whole", "component", "rest")

MEASURES = {"strict": "obedience", "logprob": "log-probability"}
"""What an effect is measured by: a column of the records, and what figures call it."""

SHOWN = (-0.75, 1.75)
"""The shares that figures show; what lies beyond is an arrow."""

ABOUT = (
    "The component along the direction is set to zero or to a mean, or the two prompts of a pair "
    "exchange activations at their last token: the whole, the component, or all else."
)

Chosen = Mapping[str, Mapping[str, int]]
"""By instruction, the layer of each question."""


@dataclass(frozen=True)
class Config(Answering):
    """What is edited, and how often."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
    )
    """IFEval ids of the instructions whose directions are edited."""
    data: str | None = None
    """IFEval's prompts to report on; see layer_sweep."""
    layers: tuple[int, ...] | None = None
    """Layers that are edited one by one; every layer when not given."""
    removed_at: str = "all"
    """Where components are set to zero: all, prompt, generated or last."""
    set_at: str = "generated"
    """Where they are set to a mean. It is a mean at last tokens of prompts, which other tokens of a
    prompt are far from."""
    n_fit: int = 64
    """Pairs of prompts that each direction is fitted on."""
    n_select: int = 12
    """Pairs that the layer of each question is chosen on."""
    n_test: int = 16
    """Pairs that are reported."""
    n_random: int = 1
    """Random directions beside each direction."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose a layer for each question, edit, and measure."""
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
            print(f"{name} is left out: {model.name} obeys it in no prompt of a split")
            continue
        vector = ist.fit(
            model, pairs.fit, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        run.leave(vector, name=name)
        editors = [
            Editor(vector, capture_last_tokens(model, split), config.removed_at, config.set_at)
            for split in (pairs.select, pairs.test)
        ]
        chosen[name] = choose(select, editors[0], layers)
        draws = [None, *range(run.seed, run.seed + config.n_random)]
        records = measure(test, editors[1], layers, chosen[name], draws)
        frames.append(records.with_columns(pl.lit(name).alias("instruction")))
    if not frames:
        raise RunError(
            f"{model.describe()} obeys none of {', '.join(config.instruction)} when asked in "
            "words, so that there is no obedience to lose; name others, or another model"
        )
    records = pl.concat(frames)
    shares = effects(records, run.seed)
    run.write_records(records)
    run.write_records(shares, "shares")
    run.leave(summary=numbers(shares, chosen) | tests(records, chosen))
    run.leave(summary=damage(records, chosen, run.seed))
    draw(run, shares, chosen)


def effect_of(act: EditedPrompts) -> str:
    """The question that an act is asked for."""
    return "necessity" if act.instructed else "sufficiency"


def choose(
    obedience: InstructionFollowing, editor: Editor, layers: Sequence[int]
) -> dict[str, int]:
    """The layer of each question: where its main act moves the log-probability most."""
    acts = [
        act
        for layer in layers
        for act in editor.at_layer(layer)
        if act.name == MAIN[effect_of(act)]
    ]
    told, plain, *edited = (
        sum(score for score in scores if score is not None)
        for scores in obedience.score_answers(
            [obedience.unedited(True), obedience.unedited(False), *acts]
        )
    )
    moved: dict[str, dict[int, float]] = {effect: {} for effect in MAIN}
    for act, score in zip(acts, edited, strict=True):
        assert act.layer is not None
        change = told - score if act.instructed else score - plain
        moved[effect_of(act)][act.layer] = change
    return {effect: max(found, key=lambda at: found[at]) for effect, found in moved.items()}


def measure(
    obedience: InstructionFollowing,
    editor: Editor,
    layers: Sequence[int],
    chosen: Mapping[str, int],
    draws: Sequence[int | None],
) -> pl.DataFrame:
    """A row for each act and pair: whether the answer obeys, and the log-probability.

    Everything is graded. Answers are generated as :data:`ANSWERED` says, and under all acts at the
    chosen layers and at every layer at once.
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

    def told_of(act: EditedPrompts) -> bool:
        return act.layer is None or act.layer == chosen[effect_of(act)]

    def answered(act: EditedPrompts) -> bool:
        names = ANSWERED[effect_of(act)]
        return act.name in (names if act.draw is None else names[:1])

    asked = [act for act in acts if told_of(act) or answered(act)]
    # What an exchange with its own pair does to a prompt that asks for nothing is nothing.
    harmful = [a for a in acts if told_of(a) and not (a.instructed and a.name in EXCHANGES)]
    strict = {
        id(act): found for act, found in zip(asked, obedience.check_answers(asked), strict=True)
    }
    kl = {id(act): found for act, found in zip(harmful, obedience.damage(harmful), strict=True)}
    told, plain, *scores = obedience.score_answers(
        [obedience.unedited(True), obedience.unedited(False), *acts]
    )
    nothing = [None] * len(obedience.pairs)
    rows = []
    for act, score in zip(acts, scores, strict=True):
        columns = zip(
            obedience.pairs,
            strict.get(id(act), nothing),
            obedience.strict["present"],
            obedience.strict["absent"],
            score,
            told,
            plain,
            kl.get(id(act), nothing),
            strict=True,
        )
        rows += [
            (effect_of(act), act.name, act.layer, act.draw, pair.key, pair.query, *values)
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
"""``layer`` is null for every layer, ``draw`` for the direction itself; ``told`` and ``plain`` are
with the text instruction and without it, nothing being edited."""

SETTING = (
    pl.when(pl.col("draw").is_null())
    .then(pl.lit("vector"))
    .otherwise(pl.lit("random"))
    .alias("setting")
)


# ------------------------------------------------------------------ shares
def effects(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The share of the text's effect that each act takes or gives, by measure.

    Draws of random directions of a prompt are taken together. A share is not there where the text
    instruction itself may do nothing.
    """
    by = ["instruction", "effect", "act", "layer", "setting"]
    rows = []
    for group, cell in records.with_columns(SETTING).group_by(by, maintain_order=True):
        for measure, share in (("strict", _obeyed), ("logprob", partial(_likely, seed=seed))):
            known = cell.drop_nulls(measure)
            if len(known):
                with suppress(StatisticsError):  # of an effect that may be nothing
                    found = share(known, gained=group[1] == "sufficiency")
                    rows.append((*group, measure, found.value, found.low, found.high, found.n))
    columns = [*by, "measure", "value", "low", "high", "n"]
    overrides = {"layer": pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row", schema_overrides=overrides)


def _obeyed(cell: pl.DataFrame, *, gained: bool) -> Interval:
    once = cell.unique("key", maintain_order=True)
    told, plain = (share_of(once, f"strict_{end}") for end in ("told", "plain"))
    edited = share_of(cell, "strict")
    return share_between(edited, plain, told) if gained else share_between(edited, told, plain)


def _likely(cell: pl.DataFrame, *, gained: bool, seed: int) -> Interval:
    start, end = ("logprob_plain", "logprob") if gained else ("logprob", "logprob_told")
    each = cell.group_by("key", maintain_order=True).agg(
        (pl.col(end) - pl.col(start)).mean().alias("moved"),
        (pl.col("logprob_told") - pl.col("logprob_plain")).mean().alias("whole"),
    )
    return ratio_of_means(each["moved"].to_list(), each["whole"].to_list(), seed=seed)


def headlines(frame: pl.DataFrame, chosen: Chosen) -> pl.DataFrame:
    """The rows of acts at every layer, and of those at the layer of their question."""
    layers = [
        (name, effect, layer) for name, found in chosen.items() for effect, layer in found.items()
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


# ------------------------------------------------------------------ leaving
def numbers(shares: pl.DataFrame, chosen: Chosen) -> dict[str, object]:
    """The shares at the chosen layers and at every layer."""
    found: dict[str, object] = {
        f"{effect}.layer.{name}": layer
        for name, layers in chosen.items()
        for effect, layer in layers.items()
    }
    for row in headlines(shares, chosen).iter_rows(named=True):
        parts = (row[part] for part in ("effect", "measure", "act", "where", "setting"))
        found[f"{'.'.join(parts)}.{row['instruction']}"] = Interval.of(row)
    return found


def tests(records: pl.DataFrame, chosen: Chosen) -> dict[str, float]:
    """McNemar's tests of the main acts against the first random direction, Holm-corrected."""
    found: dict[str, float] = {}
    for (name, effect, act, where), cell in headlines(records, chosen).group_by(
        "instruction", "effect", "act", "where", maintain_order=True
    ):
        own = cell.filter(pl.col("draw").is_null())
        first = cell.filter(pl.col("draw") == pl.col("draw").min())
        if act == MAIN[str(effect)] and len(first):
            test = mcnemar(own["strict"].to_list(), first["strict"].to_list())
            found[f"mcnemar_p.{effect}.{act}.{where}.{name}"] = test.p_value
    return dict(zip(found, holm(found.values()), strict=True)) if found else {}


def damage(records: pl.DataFrame, chosen: Chosen, seed: int) -> dict[str, Interval]:
    """How far acts move predictions where nothing is asked for, in nats a token."""
    by = ["effect", "act", "where", "setting", "instruction"]
    known = headlines(records.with_columns(SETTING), chosen).drop_nulls("kl")
    return {
        "kl." + ".".join(map(str, group)): bootstrap_mean(
            cell["kl"].to_list(), cell["key"].to_list(), seed=seed
        )
        for group, cell in known.group_by(by, maintain_order=True)
    }


def draw(run: ist.Run, shares: pl.DataFrame, chosen: Chosen) -> None:
    """The shares at the chosen layers and at every layer, and layer by layer."""
    names = short_names(shares["instruction"].unique(maintain_order=True).to_list())
    named = shares.with_columns(
        pl.col("instruction").replace(names).alias("panel"),
        pl.col("act").replace(ACTS).alias("label"),
    )
    for measure, said in MEASURES.items():
        of_measure = named.filter(pl.col("measure") == measure)
        every = (
            pl.when(pl.col("where") == "every").then(pl.lit(", all layers")).otherwise(pl.lit(""))
        )
        rows = headlines(of_measure, chosen).with_columns(pl.col("label") + every)
        if len(rows):
            title = f"share of the text's effect on {said}"
            drawing = interval_dots(rows, title, group="effect", span=SHOWN, about=ABOUT)
            run.draw(f"effects_{said}", drawing)
        for effect in MAIN:
            control = ANSWERED[effect][0]
            chance = f"random direction: {ACTS[control]}"
            own = pl.col("setting") == "vector"
            known = pl.col("act").is_in(ANSWERED[effect]) | pl.lit(measure != "strict")
            curves = of_measure.filter(
                (pl.col("effect") == effect)
                & pl.col("layer").is_not_null()
                & ((own & known) | (~own & (pl.col("act") == control)))
            ).with_columns(pl.when(own).then("label").otherwise(pl.lit(chance)).alias("series"))
            if len(curves):
                verb = "lost" if effect == "necessity" else "gained"
                title = f"share of {said} {verb}"
                drawing = figures.interval_curves(curves, "layer", "layer", title, chance=chance)
                run.draw(f"{effect}_{said}", drawing)
