"""Apply any interventions at once: measure each alone, and all together, on every property.

Each intervention is named on the command line, with the layer where its vector is read and the
layer where it acts, which may differ (Stolfo et al. 2025, composition). All settings get the same
requests of the test split, and every answer is checked for every property. The settings are: no
intervention, each intervention alone, all at once, random directions of the same norms in place of
all, and the properties requested in words, without and with all interventions.

The table of interference shows the share of answers with each property in each setting. The damage
is recorded too: how far predictions move, and degenerate and garbled answers.
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
from analyses.instructions.requests import ask_for_all, check_properties
from analyses.kit.answer_options import AnswerOptions, open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Control, Placement, Steerer
from interp_steer.errors import OptionError
from interp_steer.statistics import Interval, compare, mean_of, share_of
from interp_steer.sweeps import with_divergence, with_fluency

ROWS = {
    "none": "none",
    "steered": "all at once",
    "random": "random directions",
    "instruction": "in words",
    "both": "in words, all at once",
}
"""The label of each setting in the table. An intervention alone goes by its own label."""

ALONE = "alone"
"""The setting of a single intervention."""

COMPARED = (("none", "steered"), ("random", "steered"), ("instruction", "both"))
"""Settings that are compared request by request, baseline first."""


Effects = Mapping[tuple[str, str], Interval]
"""Share of answers by the label of the acting vectors and the name of the property or fault."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """Options of the interventions."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    interventions: tuple[str, ...] = (
        "startend:quotation=project@4",
        "language:response_language?language=it=project@5",
    )
    """Interventions, each written VECTOR=OPERATION@LAYER, or VECTOR=OPERATION@LAYER->LAYER where
    the vector is read at the first layer and acts at the second. VECTOR is an IFEval id (append
    ?ARGUMENT=VALUE to fix an argument), or the path of a saved vector (.safetensors). OPERATION is
    [READ/]HOW[:STRENGTH][@POSITIONS], see layer_sweep. Examples:
    'change_case:english_lowercase=project@3->5' and 'length_constraints:number_words?relation=less
    than=add:2@generated@4'."""
    properties: tuple[str, ...] = ()
    """IFEval ids of further properties that answers are checked for. Answers under a saved vector
    are checked for the instruction whose contrast set has the name of the vector. Name the
    instruction here if it needs an argument."""
    data: str | None = None
    """Source of IFEval's prompts for the test split; see layer_sweep."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    n_select: int = 16
    """Prompts on which strengths are measured."""
    n_test: int = 32
    """Requests in the test split, on which results are reported."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    threshold: float | None = None
    """Perplexity below which an answer counts as degenerate; see layer_sweep."""
    max_new_tokens: int = 112
    """Maximum number of new tokens per answer."""


@dataclass(frozen=True)
class Acting:
    """An intervention of the command line, ready to act on a model."""

    placed: Placement
    steerer: Steerer
    brings: str | None
    """The property that the intervention steers towards; None where answers are not checked for
    it."""

    @property
    def label(self) -> str:
        """Return the intervention as it was written, the vector called by its name."""
        name = self.steerer.vector(self.placed.operation).name.replace(" + ", "+")
        return f"{name}={self.placed.operation}@{self.placed.layers}"

    def steering(self, control: Control | None = None) -> ist.Intervention:
        """Return the intervention, or a control that acts in its place."""
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
        place.vector: ist.SteeringVector.load(Path(place.vector).expanduser()).check(model)
        for place in placed
        if place.saved
    }
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    names = properties_to_check(placed, saved, config.properties)
    sets = contrast_sets(names, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    acting = list(fit_acting(model, placed, saved, sets, run))
    for vector, steerer in {one.placed.vector: one.steerer for one in acting}.items():
        steerer.leave(run, Path(vector).stem if vector in saved else vector)
    grid = cells(acting, run.seed, config.draws)
    pairs = ask_for_all(tuple(sets), {name: each.test for name, each in sets.items()})
    with open_sweep_options(config, model, run) as options:
        score = partial(check_properties, names)
        answers = ist.sweep(model, grid, pairs, score=score, **options)
    records = with_fluency(
        with_divergence(answers, model, grid, pairs), reference, config.threshold
    ).with_columns(pl.all_horizontal(names).alias("strict"))
    run.write_records(records)
    effects = measure_effects(records, names)
    table, kept_shares = interference(effects), shares_kept(effects, acting)
    run.write_records(table, "interference")
    run.leave(summary=accuracies(records) | kept_shares | damages(records))
    run.leave(summary={f"share.{acts}.{name}": share for (acts, name), share in effects.items()})
    drawing = figures.interference_map(table, names)
    run.draw("interference", replace(drawing, caption=caption(kept_shares)))
    run.draw("all_at_once", figures.settings_bars(records.filter(pl.col("setting") != ALONE)))
    run.draw("each_property", figures.instruction_bars(by_property(records, acting, names)))


def placements(texts: Sequence[str]) -> list[Placement]:
    """Parse the interventions of the command line.

    Raises:
        OptionError: if the list is empty, has an intervention twice, or has an unreadable text.
    """
    if not texts:
        raise OptionError("no intervention is given; give --interventions VECTOR=OPERATION@LAYER")
    placed = [Placement.parse(text) for text in texts]
    twice = {text for text, one in zip(texts, placed, strict=True) if placed.count(one) > 1}
    if twice:
        raise OptionError(
            f"{', '.join(sorted(twice))} is given twice; give it once, with twice the strength"
        )
    return placed


def properties_to_check(
    placed: Sequence[Placement],
    saved: Mapping[str, ist.SteeringVector],
    further: Sequence[str],
) -> list[str]:
    """List the properties that answers are checked for, each once.

    Raises:
        OptionError: if the list would be empty.
    """
    known = {name.rpartition(":")[2]: name for name in ist.world.instructions()}
    own = [
        known.get(saved[one.vector].name) if one.saved else one.vector  # a file may have none
        for one in placed
    ]
    names = list(dict.fromkeys([*filter(None, own), *further]))
    if not names:
        raise OptionError(
            f"cannot tell which property {', '.join(saved)} steers towards: no instruction is "
            f"called {', '.join(repr(vector.name) for vector in saved.values())}; give "
            "--properties with the IFEval ids to check answers for"
        )
    return names


def fit_acting(
    model: ist.HookedLM,
    placed: Sequence[Placement],
    saved: Mapping[str, ist.SteeringVector],
    sets: Mapping[str, ist.ContrastSet],
    run: ist.Run,
) -> Iterator[Acting]:
    """Yield the interventions with their vectors, each vector fitted once."""
    operations = {
        vector: [place.operation for place in placed if place.vector == vector]
        for vector in (place.vector for place in placed)
    }
    plain = next(iter(sets.values())).select.absent
    of_set = {pairs.name: name for name, pairs in sets.items()}
    steerers = {
        vector: Steerer({"last": ist.StrengthCalibrator(model, saved[vector], plain)})
        if vector in saved
        else Steerer.fit(
            model,
            sets[vector],
            operations_of_vector,
            options=ist.capture.CaptureOptions(checkpoint=run.partial),
        )
        for vector, operations_of_vector in operations.items()
    }
    for place in placed:
        brings = of_set.get(saved[place.vector].name) if place.saved else place.vector
        yield Acting(place, steerers[place.vector], brings)


def cells(acting: Sequence[Acting], seed: int, draws: int) -> list[ist.Cell]:
    """Return the cells of all settings.

    These are: no intervention, each alone, all at once, random directions in their places, the text
    instructions, and the text instructions with all interventions.
    """
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
    """Group the records by the label of the acting vectors."""
    by_cell = records.group_by("setting", "operation", maintain_order=True)
    return {ROWS.get(str(setting), str(operation)): rows for (setting, operation), rows in by_cell}


def measure_effects(records: pl.DataFrame, names: Sequence[str]) -> dict[tuple[str, str], Interval]:
    """Return the share of answers with each property, and of broken answers, for each label."""
    return {
        (acting, name): share_of(rows, name)
        for acting, rows in rows_of(records).items()
        for name in (*names, "degenerate", "garbled")
    }


def interference(effects: Effects) -> pl.DataFrame:
    """Return the effects as a table; see :func:`figures.interference_map`."""
    rows = [(*key, share.value, share.low, share.high, share.n) for key, share in effects.items()]
    columns = ["vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def shares_kept(effects: Effects, acting: Sequence[Acting]) -> dict[str, float]:
    """Return how much of its individual effect each intervention keeps when all act at once.

    Interventions without an individual effect are left out.
    """
    shares = {}
    for intervention in acting:
        if intervention.brings is None:
            continue
        plain, alone, combined = (
            effects[row, intervention.brings].value
            for row in (ROWS["none"], intervention.label, ROWS["steered"])
        )
        if alone > plain:
            shares[f"kept.{intervention.label}"] = (combined - plain) / (alone - plain)
    return shares


def damages(records: pl.DataFrame) -> dict[str, object]:
    """Return how far predictions move under each label, where no property was asked for in words.

    ``kl`` is in nats per token along the unsteered answers. ``perplexity_ratio`` is the factor by
    which the perplexity of these answers rises (a geometric mean).
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
    """Return how often answers have all properties, by label, and paired tests of the settings."""
    numbers: dict[str, object] = {
        f"all.{acting}": share_of(rows, "strict") for acting, rows in rows_of(records).items()
    }
    for baseline, setting in COMPARED:
        if comparison := compare(records, baseline, setting, "strict"):
            numbers[f"gain.{setting}_over_{baseline}"] = comparison.difference
            if comparison.test:
                numbers[f"mcnemar_p.{setting}_over_{baseline}"] = comparison.test.p_value
    return numbers


def caption(shares: Mapping[str, float]) -> str:
    """Write the caption of the map of interference."""
    whole = sum(value >= 0.8 for value in shares.values())
    return (
        f"When all act at once, {whole} of {len(shares)} interventions keep at least 80% of the "
        "effect that they have alone. Share of answers to the same requests that have each "
        "property (columns), under no intervention, each intervention alone, all at once, random "
        "directions in their places, and with the properties requested in words (rows)."
    )


def by_property(
    records: pl.DataFrame, acting: Sequence[Acting], names: Sequence[str]
) -> pl.DataFrame:
    """Repeat every answer once for each property; ``strict`` is about this property.

    Answers under a single intervention are kept only for the property that it brings.
    """
    frames = []
    for name in names:
        own = [one.label for one in acting if one.brings == name]
        is_alone = pl.col("setting") == ALONE
        several = pl.when(is_alone).then("operation").otherwise("setting").alias("setting")
        frames.append(
            records.filter(~is_alone | pl.col("operation").is_in(own)).with_columns(
                pl.lit(name).alias("instruction"),
                pl.col(name).alias("strict"),
                several if len(own) > 1 else pl.col("setting"),
            )
        )
    return pl.concat(frames)
