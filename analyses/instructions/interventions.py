"""Any interventions at once: what each does alone, and what all do together, to every property.

Each intervention is named on the command line, with the layer that its vector is read at and the
layer that it acts at, which need not be the same (Stolfo et al. 2025, composition). On the same
requests of the test split every answer is checked for every property: under none of the
interventions, each alone, all at once, and random directions of the same norms in their places;
and where the properties are asked for in words, without and with all interventions.

The table of interference has the share of answers with each property under each. Beside it stands
the damage: how far predictions move, degenerate and garbled answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp
from pathlib import Path

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions.composition import properties, requests
from analyses.kit.answer_options import AnswerOptions, asking
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Control, Placement, Steerer
from interp_steer.errors import RunError
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.records import compare, mean_of, share_of
from interp_steer.sweeps.damage import with_divergence, with_fluency

ROWS = {
    "none": "none",
    "steered": "all at once",
    "random": "random directions",
    "instruction": "in words",
    "both": "in words, all at once",
}
"""What the table calls each setting but the interventions alone, which go by their own names."""

ALONE = "alone"
"""The setting of an intervention by itself."""

COMPARED = (("none", "steered"), ("random", "steered"), ("instruction", "both"))
"""Settings that are compared request by request, baseline first."""


Effects = Mapping[tuple[str, str], Interval]
"""Share of answers by what acted, as the table calls it, and what is counted."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """What acts together."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    interventions: tuple[str, ...] = (
        "startend:quotation=project@4",
        "language:response_language?language=it=project@5",
    )
    """What acts: VECTOR=OPERATION@LAYER each, or VECTOR=OPERATION@LAYER->LAYER where the vector is
    read at one layer and acts at another. VECTOR is an IFEval id, with ?ARGUMENT=VALUE behind one
    that is to have it, or the path of a saved vector (.safetensors); OPERATION is
    [READ/]HOW[:STRENGTH][@POSITIONS], see layer_sweep. Such as
    'change_case:english_lowercase=project@3->5' and
    'length_constraints:number_words?relation=less than=add:2@generated@4'."""
    properties: tuple[str, ...] = ()
    """IFEval ids of further properties that answers are checked for. A saved vector steers towards
    that whose contrast set has its name; name it here where it has an argument."""
    data: str | None = None
    """IFEval's prompts to report on; see layer_sweep."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 16
    """Prompts that strengths are measured on."""
    n_test: int = 32
    """Requests that are reported."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    threshold: float | None = None
    """Perplexity below which an answer is degenerate; see layer_sweep."""
    max_new_tokens: int = 112
    """Where an answer is cut."""


@dataclass(frozen=True)
class Acting:
    """An intervention of the command line, ready to act on a model."""

    placed: Placement
    steerer: Steerer
    brings: str | None
    """The property that it steers towards; None where answers are not checked for it."""

    @property
    def label(self) -> str:
        """What the table calls it: as it was written, the vector by its name."""
        name = self.steerer.vector(self.placed.operation).name.replace(" + ", "+")
        return f"{name}={self.placed.operation}@{self.placed.layers}"

    def steering(self, control: Control | None = None) -> ist.Intervention:
        """What it does, or what a control does in its place."""
        return self.steerer.steering(
            self.placed.read_layer,
            self.placed.operation,
            control,
            apply_layer=self.placed.apply_layer,
        )


def main(config: Config, run: ist.Run) -> None:
    """Fit or load the vectors, steer by each alone and by all, on the same requests."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    placed = placements(config.interventions)
    saved = {
        one.vector: ist.SteeringVector.load(Path(one.vector).expanduser()).check(model)
        for one in placed
        if one.saved
    }
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    names = checked(placed, saved, config.properties)
    sets = contrast_sets(names, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    acting = list(ready(model, placed, saved, sets, run))
    for vector, steerer in {one.placed.vector: one.steerer for one in acting}.items():
        steerer.leave(run, Path(vector).stem if vector in saved else vector)
    grid = cells(acting, run.seed, config.draws)
    pairs = requests(tuple(sets), {name: each.test for name, each in sets.items()})
    with asking(config, model, run) as options:
        answers = ist.sweep(model, grid, pairs, score=partial(properties, names), **options)
    records = with_fluency(
        with_divergence(answers, model, grid, pairs), reference, config.threshold
    ).with_columns(pl.all_horizontal(names).alias("strict"))
    run.write_records(records)
    found = effects(records, names)
    table, held = interference(found), kept(found, acting)
    run.write_records(table, "interference")
    run.leave(summary=accuracies(records) | held | damages(records))
    run.leave(summary={f"share.{acts}.{name}": share for (acts, name), share in found.items()})
    drawing = figures.interference_map(table, names)
    run.draw("interference", replace(drawing, caption=caption(held)))
    run.draw("all_at_once", figures.settings_bars(records.filter(pl.col("setting") != ALONE)))
    run.draw("each_property", figures.instruction_bars(by_property(records, acting, names)))


def placements(texts: Sequence[str]) -> list[Placement]:
    """The interventions of the command line.

    Raises:
        RunError: for none, one that is written twice, or a text that is no intervention.
    """
    if not texts:
        raise RunError("there is nothing to steer by; give --interventions VECTOR=OPERATION@LAYER")
    placed = [Placement.parse(text) for text in texts]
    twice = {text for text, one in zip(texts, placed, strict=True) if placed.count(one) > 1}
    if twice:
        raise RunError(
            f"{', '.join(sorted(twice))} is given twice; give it once, with twice the strength"
        )
    return placed


def checked(
    placed: Sequence[Placement],
    saved: Mapping[str, ist.SteeringVector],
    further: Sequence[str],
) -> list[str]:
    """The properties that answers are checked for, each once.

    Raises:
        RunError: when there is none.
    """
    known = {name.rpartition(":")[2]: name for name in ist.world.instructions()}
    own = [
        known.get(saved[one.vector].name) if one.saved else one.vector  # a file may have none
        for one in placed
    ]
    names = list(dict.fromkeys([*filter(None, own), *further]))
    if not names:
        raise RunError(
            f"nothing says what {', '.join(saved)} steers towards: "
            f"{', '.join(repr(vector.name) for vector in saved.values())} is the name of no "
            "instruction; give --properties with the IFEval ids to check answers for"
        )
    return names


def ready(
    model: ist.HookedLM,
    placed: Sequence[Placement],
    saved: Mapping[str, ist.SteeringVector],
    sets: Mapping[str, ist.ContrastSet],
    run: ist.Run,
) -> Iterator[Acting]:
    """The interventions with their vectors, each fitted once however often it acts."""
    operations = {
        vector: [one.operation for one in placed if one.vector == vector]
        for vector in (one.vector for one in placed)
    }
    plain = next(iter(sets.values())).select.absent
    of_set = {pairs.name: name for name, pairs in sets.items()}
    steerers = {
        vector: Steerer({"last": ist.StrengthCalibrator(model, saved[vector], plain)})
        if vector in saved
        else Steerer.fit(
            model, sets[vector], each, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        for vector, each in operations.items()
    }
    for one in placed:
        brings = of_set.get(saved[one.vector].name) if one.saved else one.vector
        yield Acting(one, steerers[one.vector], brings)


def cells(acting: Sequence[Acting], seed: int, draws: int) -> list[ist.Cell]:
    """None, each alone, all at once, random directions in their places; in words, and both."""
    together = ist.compose(one.steering() for one in acting)

    def random(draw: int) -> ist.Intervention:
        control = partial(ist.SteeringVector.like_random, seed=seed + draw)
        return ist.compose(one.steering(control) for one in acting)

    return [
        ist.Cell("none"),
        *(ist.Cell(ALONE, one.steering(), operation=one.label) for one in acting),
        ist.Cell("steered", together),
        *(ist.Cell("random", random(draw), draw=draw) for draw in range(draws)),
        ist.Cell("instruction", instructed=True),
        ist.Cell("both", together, instructed=True),
    ]


def rows_of(records: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The records by what acted, as the table calls it."""
    by_cell = records.group_by("setting", "operation", maintain_order=True)
    return {ROWS.get(str(setting), str(operation)): rows for (setting, operation), rows in by_cell}


def effects(records: pl.DataFrame, names: Sequence[str]) -> dict[tuple[str, str], Interval]:
    """Share of answers with each property, and of broken ones, by what acted and what counts."""
    return {
        (acting, name): share_of(rows, name)
        for acting, rows in rows_of(records).items()
        for name in (*names, "degenerate", "garbled")
    }


def interference(found: Effects) -> pl.DataFrame:
    """The effects as a table; see :func:`figures.interference_map`."""
    rows = [(*key, share.value, share.low, share.high, share.n) for key, share in found.items()]
    columns = ["vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def kept(found: Effects, acting: Sequence[Acting]) -> dict[str, float]:
    """How much of its effect alone each intervention keeps beside the others, where it has any."""
    shares = {}
    for one in acting:
        if one.brings is None:
            continue
        plain, alone, beside = (
            found[row, one.brings].value for row in (ROWS["none"], one.label, ROWS["steered"])
        )
        if alone > plain:
            shares[f"kept.{one.label}"] = (beside - plain) / (alone - plain)
    return shares


def damages(records: pl.DataFrame) -> dict[str, object]:
    """How far predictions move by what acted, where nothing was asked for in words.

    ``kl`` is in nats a token along the unsteered answers, ``perplexity_ratio`` how many times less
    these are expected (a geometric mean).
    """
    numbers: dict[str, object] = {}
    for acting, rows in rows_of(records).items():
        moved = mean_of(rows, "kl")
        ratio = mean_of(rows.with_columns(pl.col("perplexity_ratio").log()), "perplexity_ratio")
        if acting != ROWS["none"] and moved and ratio:
            numbers[f"kl.{acting}"] = moved
            numbers[f"perplexity_ratio.{acting}"] = replace(
                ratio, value=exp(ratio.value), low=exp(ratio.low), high=exp(ratio.high)
            )
    return numbers


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """How often all properties are there by what acted, and paired tests of the settings."""
    numbers: dict[str, object] = {
        f"all.{acting}": share_of(rows, "strict") for acting, rows in rows_of(records).items()
    }
    for baseline, setting in COMPARED:
        if gained := compare(records, baseline, setting, "strict"):
            numbers[f"gain.{setting}_over_{baseline}"] = gained.difference
            if gained.test:
                numbers[f"mcnemar_p.{setting}_over_{baseline}"] = gained.test.p_value
    return numbers


def caption(held: Mapping[str, float]) -> str:
    """Of the map of the table."""
    whole = sum(value >= 0.8 for value in held.values())
    return (
        f"All at once, {whole} of {len(held)} interventions that bring their property alone keep "
        "at least 80% of what they bring. Share of answers to the same requests that have each "
        "property (columns): under none, each intervention alone, all at once, random directions "
        "in their places, and where the properties are asked for in words (rows)."
    )


def by_property(
    records: pl.DataFrame, acting: Sequence[Acting], names: Sequence[str]
) -> pl.DataFrame:
    """Every answer once for each property, which ``strict`` is of; alone only what brings it."""
    frames = []
    for name in names:
        own = [one.label for one in acting if one.brings == name]
        by_itself = pl.col("setting") == ALONE
        several = pl.when(by_itself).then("operation").otherwise("setting").alias("setting")
        frames.append(
            records.filter(~by_itself | pl.col("operation").is_in(own)).with_columns(
                pl.lit(name).alias("instruction"),
                pl.col(name).alias("strict"),
                several if len(own) > 1 else pl.col("setting"),
            )
        )
    return pl.concat(frames)
