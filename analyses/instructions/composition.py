"""Combine two and three properties, and measure how they interfere (Stolfo et al. 2025).

Each property's vector acts at the layer, and under the operation, that the select split chooses for
this property alone. The properties that steering helps are then combined, in pairs and in triples.
There are three ways to combine them: each vector at its own layer; all vectors at one layer, the
one where they do best individually in sum; and all vectors at that layer after they have been made
orthogonal, so that no vector writes along another. All combinations get the same requests of the
test split, and every answer is checked for every property. The same combinations are also requested
in words, without and with the vectors.

The table of interference shows how each vector changes the properties of the others, and how much
of its individual effect a property keeps in a combination.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions.layer_search import (
    LayerSearchConfig,
    PickedLayer,
    PickedLayers,
    SteeringSetup,
    choose_layers,
    fit_for_instructions,
    search_layers,
)
from analyses.instructions.requests import Combination, ask_for_all, check_properties
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import FORMATS, contrast_sets, instruction_id
from analyses.kit.operations import Steerer
from interp_steer.contrast.instructions import WORDS, are_compatible
from interp_steer.errors import OptionError
from interp_steer.statistics import mean_of, share, share_of
from interp_steer.sweeps import BROKEN, with_divergence, with_fluency
from interp_steer.vectors import orthogonalise
from interp_steer.world import HELD_PAIRS

NONE = "none"
"""The name of "no vector" in the table."""

WAYS = ("own layers", "one layer", "orthogonal")
"""The ways to combine vectors."""


@dataclass(frozen=True)
class Config(LayerSearchConfig):
    """Options of the combinations."""

    instruction: tuple[str, ...] = (*FORMATS, f"{WORDS}?relation=less than")
    """IFEval ids of the instructions. Append ?ARGUMENT=VALUE to fix an argument. The instructions
    that steering helps individually are combined."""
    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    n_select: int = 8
    """Prompts on which each layer is tried."""
    n_test: int = 24
    """Requests in the test split, on which results are reported."""
    max_new_tokens: int = 112
    """Maximum number of new tokens per answer."""
    most: int = 5
    """Maximum number of properties to combine; those that steering helps most are taken."""
    at_once: tuple[int, ...] = (2, 3)
    """Numbers of properties in a combination."""


def main(config: Config, run: ist.Run) -> None:
    """Choose for each alone, then steer towards each and each few, on the same requests."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    steerers = fit_for_instructions(model, sets, run, config.operations)
    with open_sweep_options(config, model, run) as options:
        setup = SteeringSetup(model, reference, sets, steerers, options)
        searched = search_layers(setup, config)
        picked = pick_steerable(choose_layers(searched), config.most)
        combinations_of_names = [
            names
            for size in config.at_once
            for names in combinations(picked, size)
            if are_compatible(tuple(map(instruction_id, names)))
        ]
        alone = {name: steerers[name].steering(*layer.cell) for name, layer in picked.items()}
        asked = {name: sets[name].test for name in picked}
        frames = [answer_alone(setup, alone, asked)]
        for names in tqdm(combinations_of_names, "combinations", unit="combination", disable=None):
            layer = common_layer(names, picked, searched)
            ways = combine_vectors(names, layer, alone, picked, steerers)
            frames.append(answer_combination(setup, names, ways, asked))
    records = with_fluency(pl.concat(frames), reference, config.threshold)
    run.write_records(records)
    table = interference(records, list(picked))
    run.write_records(table, "interference")
    run.leave(summary=numbers(table, list(picked)) | shares(records))
    twos = table.filter(pl.col("vectors").str.count_matches(" + ", literal=True) < 2)
    run.draw("interference", figures.interference_map(twos, list(picked)))
    for size, rows in by_size(records).items():
        run.draw(f"accuracy_{size}_at_once", figures.settings_bars(rows))


def pick_steerable(choices: PickedLayers, most: int) -> dict[str, PickedLayer]:
    """Pick the properties that steering helps, those first that it helps most.

    Raises:
        OptionError: when steering helps fewer than two properties.
    """
    picked = {
        name: layer for (name, text, rule), layer in choices.items() if not text and rule != "paper"
    }
    helped = [name for name, layer in picked.items() if layer.layer is not None]
    if len(helped) < 2:
        raise OptionError(
            f"steering helps {len(helped)} of {len(picked)} instructions on the select split, and "
            "a composition needs two; give more --operations, or a larger --n-select"
        )
    best = sorted(helped, key=lambda name: -picked[name].n_sound)[:most]
    return {name: picked[name] for name in best}


def common_layer(
    names: Combination, picked: Mapping[str, PickedLayer], searched: pl.DataFrame
) -> int:
    """Return the layer at which the properties do best in sum.

    Each property is steered towards individually, by the operation that was chosen for it.
    """
    rows = pl.concat(
        searched.filter(
            (pl.col("instruction") == name)
            & ~pl.col("instructed")
            & (pl.col("operation") == picked[name].operation)
        )
        for name in names
    )
    sound = (pl.col("strict") & ~BROKEN).sum().alias("sound")
    by_layer = rows.group_by("layer").agg(sound).sort("layer")
    return by_layer.sort("sound", descending=True, maintain_order=True)["layer"][0]


def combine_vectors(
    names: Combination,
    layer: int,
    alone: Mapping[str, ist.Intervention],
    picked: Mapping[str, PickedLayer],
    steerers: Mapping[str, Steerer],
) -> dict[str, ist.Intervention]:
    """Combine the vectors of several properties in each of :data:`WAYS`."""
    chosen = [(steerers[name], picked[name].operation) for name in names]
    orthogonal = orthogonalise([steerer.vector(operation) for steerer, operation in chosen])
    return {
        "own layers": ist.compose(alone[name] for name in names),
        "one layer": ist.compose(
            steerer.steering(layer, operation) for steerer, operation in chosen
        ),
        "orthogonal": ist.compose(
            steerer.steering(layer, operation, lambda _, own=own: own)
            for (steerer, operation), own in zip(chosen, orthogonal, strict=True)
        ),
    }


def answer_alone(
    setup: SteeringSetup,
    alone: Mapping[str, ist.Intervention],
    asked: Mapping[str, ist.ContrastSet],
) -> pl.DataFrame:
    """Answer under no vector and under each vector alone.

    ``strict`` is true where an answer under a vector has the property of this vector.
    """
    grid = [
        ist.Cell("none", operation=NONE),
        *(ist.Cell("alone", steering, operation=name) for name, steering in alone.items()),
    ]
    pairs = ask_for_all(tuple(asked)[:1], asked)
    score = partial(check_properties, list(asked))
    records = ist.sweep(setup.model, grid, pairs, score=score, **setup.options)
    own = pl.coalesce(pl.when(pl.col("operation") == name).then(pl.col(name)) for name in asked)
    return with_divergence(
        records.with_columns(pl.col("operation").alias("instruction"), own.alias("strict")),
        setup.model,
        grid,
        pairs,
    )


def answer_combination(
    setup: SteeringSetup,
    names: Combination,
    ways: Mapping[str, ist.Intervention],
    asked: Mapping[str, ist.ContrastSet],
) -> pl.DataFrame:
    """Answer towards several properties at once; ``strict`` where an answer has all of them."""
    label = " + ".join(names)
    grid = [
        ist.Cell("none", operation=NONE),
        *(ist.Cell(way, steering, operation=label) for way, steering in ways.items()),
        ist.Cell("instruction", instructed=True, operation=NONE),
        ist.Cell("both", ways["own layers"], instructed=True, operation=label),
    ]
    pairs = ask_for_all(names, asked)
    score = partial(check_properties, list(asked))
    records = ist.sweep(setup.model, grid, pairs, score=score, **setup.options)
    return with_divergence(
        records.with_columns(
            pl.lit(label).alias("instruction"), pl.all_horizontal(*names).alias("strict")
        ),
        setup.model,
        grid,
        pairs,
    )


def interference(records: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the share of answers with each property, under each vector and each combination."""
    rows = []
    vectors = records.filter(pl.col("instruction") == pl.col("operation"))
    alone = vectors.filter(pl.col("setting").is_in(["none", "alone", "own layers"]))
    for (acting,), answers in alone.group_by("operation", maintain_order=True):
        for name in (*names, "degenerate"):
            interval = share(answers[name].to_list())
            rows.append((acting, name, interval.value, interval.low, interval.high, interval.n))
    columns = ["vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def numbers(table: pl.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """Return how much of its individual effect each property keeps in each combination."""
    of = {
        (vectors, name): value
        for vectors, name, value in table.select("vectors", "property", "share").iter_rows()
    }
    summary: dict[str, object] = {}
    shares_kept: list[float] = []
    for label in dict.fromkeys(vectors for vectors, _ in of if " + " in vectors):
        for name in label.split(" + "):
            effect = of[name, name] - of[NONE, name]
            combined = of[label, name] - of[NONE, name]
            if effect > 0:
                shares_kept.append(combined / effect)
                summary[f"kept.{label}.{name}"] = shares_kept[-1]
    summary["kept.at_least_0.8"] = sum(value >= 0.8 for value in shares_kept) / max(
        len(shares_kept), 1
    )
    if shares_kept:
        summary["kept.mean"] = sum(shares_kept) / len(shares_kept)
    return summary | {"instructions": len(names)}


def by_size(records: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """Group the records of combinations by the number of properties that are asked for."""
    size = pl.col("instruction").str.count_matches(" + ", literal=True) + 1
    combined = records.with_columns(size.alias("size")).filter(pl.col("size") > 1)
    return {int(n): rows for (n,), rows in combined.group_by("size", maintain_order=True)}  # type: ignore[call-overload]


def shares(records: pl.DataFrame) -> dict[str, object]:
    """Return how often answers have all properties asked for, and how far predictions move.

    Of instructions in words, combinations with a pair of instructions that no bundled model was
    trained on are counted separately.
    """
    summary: dict[str, object] = {}
    for size, rows in by_size(records).items():
        for (setting,), answers in rows.group_by("setting", maintain_order=True):
            summary[f"all_of_{size}.{setting}"] = share_of(answers, "strict")
            moved = mean_of(answers, "kl")
            if moved and setting in WAYS:
                summary[f"kl_of_{size}.{setting}"] = moved
        for setting in ("instruction", "both"):
            for unseen, kind in ((True, "unseen_pair"), (False, "seen_pairs")):
                names = [name for name in rows["instruction"].unique() if is_unseen(name) == unseen]
                answers = rows.filter(
                    (pl.col("setting") == setting) & pl.col("instruction").is_in(names)
                )
                if len(answers):
                    summary[f"all_of_{size}.{setting}.{kind}"] = share_of(answers, "strict")
    return summary


def is_unseen(label: str) -> bool:
    """Return whether a combination holds a pair left out of the training of the bundled models."""
    ids = [instruction_id(name) for name in label.split(" + ")]
    return any(frozenset(pair) in HELD_PAIRS for pair in combinations(ids, 2))
