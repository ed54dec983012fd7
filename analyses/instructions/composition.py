"""Two and three properties at once, and what each vector does to the others' (Stolfo et al. 2025).

Each property's vector acts at the layer, and under the operation, that the select split chooses for
it alone. Those that steering helps are then combined, by twos and by threes, in three ways: each
vector at its own layer; all of them at one layer, that where they do best together alone; and at
that layer with directions made orthogonal to one another, so that none writes along another. On the
same requests of the test split every answer is checked for every property. The same combinations
are also asked for in words, without and with the vectors.

The table of interference says what each vector does to the properties of the others, and how much
of its effect alone a property keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions import layer_sweep
from analyses.kit.answer_options import asking
from analyses.kit.instruction_sets import FORMATS, contrast_sets, instruction_id
from analyses.kit.operations import Steerer
from interp_steer.contrast.instructions.registry import WORDS, are_compatible
from interp_steer.contrast.pair import Pair
from interp_steer.errors import RunError
from interp_steer.scoring import ifeval
from interp_steer.statistics.intervals import share
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import BROKEN, with_divergence, with_fluency
from interp_steer.vectors.orthogonal import orthogonalise
from interp_steer.world.chats import HELD_PAIRS

NONE = "none"
"""What the table calls no vector."""

WAYS = ("own layers", "one layer", "orthogonal")
"""How vectors are combined."""

Combination = tuple[str, ...]


@dataclass(frozen=True)
class Config(layer_sweep.Config):
    """What is combined."""

    instruction: tuple[str, ...] = (*FORMATS, f"{WORDS}?relation=less than")
    """IFEval ids of the instructions, with ?ARGUMENT=VALUE behind one that is to have it; those are
    combined that can be steered towards alone."""
    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer; see layer_sweep."""
    n_select: int = 8
    """Prompts that each layer is tried on."""
    n_test: int = 24
    """Requests that are reported."""
    max_new_tokens: int = 112
    """Where an answer is cut."""
    most: int = 5
    """Most properties that are combined, those that steering helps most."""
    at_once: tuple[int, ...] = (2, 3)
    """How many properties are combined."""


def main(config: Config, run: ist.Run) -> None:
    """Choose for each alone, then steer towards each and each few, on the same requests."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    steerers = layer_sweep.fitted(model, sets, run, config.operations)
    with asking(config, model, run) as options:
        searched = layer_sweep.search(model, reference, sets, steerers, config, options)
        picked = steerable(layer_sweep.choose(searched), config.most)
        together = [
            names
            for size in config.at_once
            for names in combinations(picked, size)
            if are_compatible(tuple(map(instruction_id, names)))
        ]
        alone = {name: steerers[name].steering(*one.cell) for name, one in picked.items()}
        asked = {name: sets[name].test for name in picked}
        frames = [single(model, alone, asked, options)]
        for names in tqdm(together, desc="combinations", unit="combination", disable=None):
            layer = common_layer(names, picked, searched)
            ways = combined(names, layer, alone, picked, steerers)
            frames.append(joined(model, names, ways, asked, options))
    records = with_fluency(pl.concat(frames), reference, config.threshold)
    run.write_records(records)
    table = interference(records, list(picked))
    run.write_records(table, "interference")
    run.leave(summary=numbers(table, list(picked)) | shares(records))
    twos = table.filter(pl.col("vectors").str.count_matches(" + ", literal=True) < 2)
    run.draw("interference", figures.interference_map(twos, list(picked)))
    for size, rows in by_size(records).items():
        run.draw(f"accuracy_{size}_at_once", figures.settings_bars(rows))


def steerable(choices: layer_sweep.Chosen, most: int) -> dict[str, layer_sweep.Picked]:
    """What was chosen for each property that steering helps, those first that it helps most.

    Raises:
        RunError: when fewer than two can be steered towards.
    """
    picked = {
        name: one for (name, text, rule), one in choices.items() if not text and rule != "paper"
    }
    helped = [name for name, one in picked.items() if one.layer is not None]
    if len(helped) < 2:
        raise RunError(
            f"steering helps {len(helped)} of {len(picked)} instructions on the select split, and "
            "a composition needs two; give more --operations, or a larger --n-select"
        )
    best = sorted(helped, key=lambda name: -picked[name].steered)[:most]
    return {name: picked[name] for name in best}


def common_layer(
    names: Combination, picked: Mapping[str, layer_sweep.Picked], searched: pl.DataFrame
) -> int:
    """The layer at which the properties, each alone and as was chosen for it, do best in sum."""
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


def combined(
    names: Combination,
    layer: int,
    alone: Mapping[str, ist.Intervention],
    picked: Mapping[str, layer_sweep.Picked],
    steerers: Mapping[str, Steerer],
) -> dict[str, ist.Intervention]:
    """What steers towards several properties in each of :data:`WAYS`."""
    chosen = [(steerers[name], picked[name].operation) for name in names]
    apart = orthogonalise([steerer.vector(operation) for steerer, operation in chosen])
    return {
        "own layers": ist.compose(alone[name] for name in names),
        "one layer": ist.compose(
            steerer.steering(layer, operation) for steerer, operation in chosen
        ),
        "orthogonal": ist.compose(
            steerer.steering(layer, operation, lambda _, own=own: own)
            for (steerer, operation), own in zip(chosen, apart, strict=True)
        ),
    }


def single(
    model: ist.HookedLM,
    alone: Mapping[str, ist.Intervention],
    asked: Mapping[str, ist.ContrastSet],
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers under no vector and under each alone; ``strict`` where it brings its property."""
    grid = [
        ist.Cell("none", operation=NONE),
        *(ist.Cell("alone", one, operation=name) for name, one in alone.items()),
    ]
    pairs = requests(tuple(asked)[:1], asked)
    records = ist.sweep(model, grid, pairs, score=partial(properties, list(asked)), **options)
    own = pl.coalesce(pl.when(pl.col("operation") == name).then(pl.col(name)) for name in asked)
    return with_divergence(
        records.with_columns(pl.col("operation").alias("instruction"), own.alias("strict")),
        model,
        grid,
        pairs,
    )


def joined(
    model: ist.HookedLM,
    names: Combination,
    ways: Mapping[str, ist.Intervention],
    asked: Mapping[str, ist.ContrastSet],
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers towards several properties at once; ``strict`` where an answer has all of them."""
    label = " + ".join(names)
    grid = [
        ist.Cell("none", operation=NONE),
        *(ist.Cell(way, one, operation=label) for way, one in ways.items()),
        ist.Cell("instruction", instructed=True, operation=NONE),
        ist.Cell("both", ways["own layers"], instructed=True, operation=label),
    ]
    pairs = requests(names, asked)
    records = ist.sweep(model, grid, pairs, score=partial(properties, list(asked)), **options)
    return with_divergence(
        records.with_columns(
            pl.lit(label).alias("instruction"), pl.all_horizontal(*names).alias("strict")
        ),
        model,
        grid,
        pairs,
    )


def requests(names: Combination, asked: Mapping[str, ist.ContrastSet]) -> ist.ContrastSet:
    """The same requests for every combination, asking in words for the properties named.

    An answer can be verified against every property, whichever are asked for.

    Raises:
        ContrastError: where an instruction does not stand behind its request.
    """
    pairs = []
    ids = tuple(map(instruction_id, asked))
    for index, request in enumerate(next(iter(asked.values()))):
        each = {name: pairs_of[index % len(pairs_of)] for name, pairs_of in asked.items()}
        said = " ".join(each[name].instruction_text for name in names)
        pairs.append(
            Pair(
                query=request.query,
                present=f"{request.query} {said}",
                absent=request.query,
                split="test",
                phrasing=" ".join(each[name].phrasing for name in names),
                phrasing_kind=_kind([each[name].phrasing_kind for name in names]),
                instruction_ids=ids,
                kwargs=tuple(pair.kwargs[0] for pair in each.values()),
                key=f"{index}/{request.key}",
            )
        )
    return ist.ContrastSet(" + ".join(names), tuple(pairs))


def _kind(kinds: Sequence[str]) -> str:
    """How a request is phrased whose instructions are phrased so: as the least known of them."""
    return next(kind for kind in ("unknown", "held-out", "trained") if kind in kinds)


def properties(names: Sequence[str], pair: Pair, completion: ist.Completion) -> dict[str, Any]:
    """Which properties an answer has."""
    return {
        name: ifeval.verify(completion.text, (known,), (kwargs,)).strict
        for name, known, kwargs in zip(names, pair.instruction_ids, pair.kwargs, strict=True)
    }


def interference(records: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Share of answers with each property under each vector, and under several at their layers."""
    rows = []
    vectors = records.filter(pl.col("instruction") == pl.col("operation"))
    alone = vectors.filter(pl.col("setting").is_in(["none", "alone", "own layers"]))
    for (acting,), each in alone.group_by("operation", maintain_order=True):
        for name in (*names, "degenerate"):
            found = share(each[name].to_list())
            rows.append((acting, name, found.value, found.low, found.high, found.n))
    columns = ["vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def numbers(table: pl.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """How much of its effect alone each property keeps beside others."""
    of = {
        (vectors, name): value
        for vectors, name, value in table.select("vectors", "property", "share").iter_rows()
    }
    found: dict[str, object] = {}
    kept: list[float] = []
    for together in dict.fromkeys(vectors for vectors, _ in of if " + " in vectors):
        for name in together.split(" + "):
            effect = of[name, name] - of[NONE, name]
            beside = of[together, name] - of[NONE, name]
            if effect > 0:
                kept.append(beside / effect)
                found[f"kept.{together}.{name}"] = kept[-1]
    found["kept.at_least_0.8"] = sum(value >= 0.8 for value in kept) / max(len(kept), 1)
    if kept:
        found["kept.mean"] = sum(kept) / len(kept)
    return found | {"instructions": len(names)}


def by_size(records: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """The records of combinations, by how many properties are asked for at once."""
    size = pl.col("instruction").str.count_matches(" + ", literal=True) + 1
    found = records.with_columns(size.alias("size")).filter(pl.col("size") > 1)
    return {int(n): rows for (n,), rows in found.group_by("size", maintain_order=True)}  # type: ignore[call-overload]


def shares(records: pl.DataFrame) -> dict[str, object]:
    """How often all properties asked for are there, in each way, and how far predictions move.

    Of instructions in words, combinations with a pair that no bundled model was trained on are
    counted apart.
    """
    found: dict[str, object] = {}
    for size, rows in by_size(records).items():
        for (setting,), each in rows.group_by("setting", maintain_order=True):
            found[f"all_of_{size}.{setting}"] = share_of(each, "strict")
            moved = mean_of(each, "kl")
            if moved and setting in WAYS:
                found[f"kl_of_{size}.{setting}"] = moved
        for setting in ("instruction", "both"):
            for unseen, kind in ((True, "unseen_pair"), (False, "seen_pairs")):
                names = [name for name in rows["instruction"].unique() if is_unseen(name) == unseen]
                each = rows.filter(
                    (pl.col("setting") == setting) & pl.col("instruction").is_in(names)
                )
                if len(each):
                    found[f"all_of_{size}.{setting}.{kind}"] = share_of(each, "strict")
    return found


def is_unseen(label: str) -> bool:
    """Whether a combination holds a pair that training of the bundled models kept out."""
    ids = [instruction_id(name) for name in label.split(" + ")]
    return any(frozenset(pair) in HELD_PAIRS for pair in combinations(ids, 2))
