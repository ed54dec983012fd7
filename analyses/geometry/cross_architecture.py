"""Do vectors survive a move to another architecture, by maps fitted on shared prompts?

Two models of different widths and depths read the same texts, and at each layer of the one a map is
fitted from the residual stream of the other, at the nearest relative depth: a rotation with a scale
(Procrustes), a ridge regression, and canonical correlations; an identity too, where the widths
agree. The texts are requests; where vectors are read along answers, with the answers that the two
models give in turn. None asks for what is steered towards, none is in a contrast set, and they come
in kinds:

- ``plain``: in English, asking for no format at all;
- ``others``: asking for formats of other families too;
- ``kin``: asking for formats of the same families too (French where Italian is steered towards);
- ``broad``: the like, and requests in other languages, Italian among them, that ask for no format.

How well a map predicts the target's activations is measured on prompts held out.

The source's vectors are then mapped, and scored three ways beside the target's own vectors, which
are the ceiling, and beside random maps: these are the fitted ones between random rotations, so that
they have the same singular values. Where answers are steered, random vectors of the source through
the fitted map stand beside too: a map that reaches few directions of the target may take them to
the property as well.

1. by the cosine with the target's own vector;
2. by the AUROC of the projection of held-out activations of the target, with the instruction and
   without;
3. by steering the target: the layer and the operation of each vector, random ones too, are chosen
   on the select split, and answers to the test split are checked by the instruction's verifier.
   McNemar's test compares mapped and random on the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl
from tqdm import tqdm

import interp_steer as ist
from analyses.geometry import cross_architecture_steering
from analyses.geometry.cross_architecture_alignment import Moved
from analyses.geometry.cross_architecture_figures import Moves, answers
from analyses.geometry.cross_architecture_prompts import check_apart, shared_prompts
from analyses.geometry.cross_architecture_steering import (
    ANOTHER,
    OWN,
    RANDOM,
    Choice,
    Contender,
    Steering,
    key_of,
    mapped,
)
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import READ_TOKENS, position_of
from interp_steer.errors import RunError
from interp_steer.statistics.intervals import Interval
from interp_steer.vectors.transfer.fitting import fit_map_on, r_squared
from interp_steer.vectors.transfer.paired_activations import SharedTexts
from interp_steer.vectors.transfer.residual_map import ResidualMap

Maps = Mapping[tuple[str, str, str], ResidualMap]
"""By where they are read, what the prompts ask for, and their kind."""


@dataclass(frozen=True)
class Config(Steering):
    """What is moved, from where to where."""

    model: str = "burattino-gemma"
    """The model that vectors are moved to: a bundled model, a Hugging Face name, or a folder."""
    source: str = "burattino-instruct"
    """The model that they come from."""
    instruction: tuple[str, ...] = (
        "change_case:english_capital",
        "language:response_language?language=it",
    )
    """IFEval ids of the instructions whose vectors are moved."""
    data: str | None = None
    """IFEval's requests to fit, choose and report on; see layer_sweep."""
    kinds: tuple[str, ...] = ("procrustes", "ridge", "cca")
    """How maps are fitted."""
    prompts: tuple[str, ...] = ("plain", "kin", "broad")
    """What the shared prompts ask for: plain, others, kin or broad. All kinds of maps of the last
    steer, and its random maps."""
    kind: str = "ridge"
    """The kind of map that steers whatever the prompts ask for, and that is turned at random."""
    n_map: int = 640
    """Shared prompts of each kind."""
    n_fit: int = 48
    """Pairs of prompts that each vector is fitted on, in either model."""
    n_random: int = 5
    """Random maps whose cosines and projections stand beside each fitted one."""
    draws: int = 200
    """Bootstrap draws of the pairs."""


def main(config: Config, run: ist.Run) -> None:
    """Fit maps, move vectors, compare directions, then steer."""
    if config.kind not in config.kinds or not config.prompts:
        raise RunError(
            f"--kind {config.kind} --kinds {' '.join(config.kinds)} --prompts "
            f"{' '.join(config.prompts)}: steer with one of the kinds, and name some prompts"
        )
    if config.source == config.model:
        raise RunError(
            f"vectors of {config.source} are {config.model}'s own already: name another --source, "
            "or another --model"
        )
    target, source = ist.load(config.model), ist.load(config.source)
    reference = ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(target, *sets.values())

    maps, quality = fitted_maps(source, target, sets, config, run)
    random = {
        key: [made.like_random(run.seed + draw) for draw in range(config.n_random)]
        for key, made in maps.items()
    }
    scores, frames = [], []
    with open_sweep_options(config, target, run) as options:
        for name, pairs in tqdm(sets.items(), desc="move", unit="instruction", disable=None):
            moved = {read: Moved.of(source, target, pairs, read) for read in config.reads}
            scores += [
                {"instruction": name, **row}
                for row in scored(moved, maps, random, config.draws, run.seed)
            ]
            contenders = contending(moved, maps, config, run.seed)
            records, choices = cross_architecture_steering.steer(
                target, reference, pairs, contenders, config, options
            )
            frames.append(records.with_columns(pl.lit(name).alias("instruction")))
            leave(run, name, moved, contenders, choices)
    directions, records = pl.DataFrame(scores), pl.concat(frames)
    for frame, called in ((records, "records"), (quality, "quality"), (directions, "directions")):
        run.write_records(frame, called)
    run.leave(summary=at_layer(quality, directions, target.n_layers // 2))
    run.leave(summary=cross_architecture_steering.numbers(records))
    moves = Moves(config.source, config.model, config.kind, config.prompts[-1], config.reads[0])
    moves.draw(run, quality, directions)
    run.draw("answers", answers(records, moves))


# ------------------------------------------------------------------ maps
def fitted_maps(
    source: ist.HookedLM,
    target: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    config: Config,
    run: ist.Run,
) -> tuple[Maps, pl.DataFrame]:
    """Maps of each kind on prompts of each kind, with their quality and that of a random one."""
    maps: dict[tuple[str, str, str], ResidualMap] = {}
    rows: list[dict[str, object]] = []
    for asked in config.prompts:
        prompts = shared_prompts(asked, list(sets), config.n_map, run.seed)
        check_apart(prompts, sets.values())
        for read in config.reads:
            texts = ist.transfer.capture_pairs(
                source,
                target,
                prompts,
                position=position_of(read),
                max_new_tokens=READ_TOKENS,
            )
            texts = replace(texts, seed=run.seed)
            for kind in kinds_between(source, target, config):
                made = fit_map_on(texts, kind)
                maps[read, asked, kind] = made
                run.leave(made, name=f"map.{read}.{asked}.{kind}")
                rows += _quality(made, texts, (read, asked, kind), run.seed)
    return maps, pl.DataFrame(rows)


def kinds_between(source: ist.HookedLM, target: ist.HookedLM, config: Config) -> list[str]:
    """The kinds of maps that are fitted: an identity too, where the widths agree."""
    controls = ["identity"] if source.d_model == target.d_model else []
    return list(dict.fromkeys([*config.kinds, *controls]))


def _quality(
    made: ResidualMap, texts: SharedTexts, key: tuple[str, str, str], seed: int
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    random = r_squared(made.like_random(seed), texts)
    assert made.quality is not None
    for at, (here, there) in enumerate(made.layers):
        for setting, value in (("fitted", made.quality[at]), ("random", random[at])):
            rows.append(
                {
                    **dict(zip(("read", "prompts", "kind"), key, strict=True)),
                    "source_layer": here,
                    "layer": there,
                    "setting": setting,
                    "penalty": made.penalties[at],
                    "rank": made.ranks[at],
                    **_ends(value),
                }
            )
    return rows


def _ends(value: Interval) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}


# ------------------------------------------------------------------ vectors
def scored(
    moved: Mapping[str, Moved],
    maps: Maps,
    random: Mapping[tuple[str, str, str], Sequence[ResidualMap]],
    draws: int,
    seed: int,
) -> list[dict[str, object]]:
    """How near each map brings the vectors of an instruction to the target's own."""
    rows: list[dict[str, object]] = []
    for read, each in moved.items():
        for layer, value in each.ceiling(seed).items():
            told = {"read": read, "prompts": "", "kind": "", "setting": OWN, "quantity": "auroc"}
            rows.append({**told, "layer": layer, **_ends(value)})
    for key, made in maps.items():
        told = dict(zip(("read", "prompts", "kind"), key, strict=True))
        found = moved[key[0]].scores(made, random[key], draws=draws, seed=seed)
        for setting, quantity, layer, value in found:
            measured = {"setting": setting, "quantity": quantity, "layer": layer}
            rows.append({**told, **measured, **_ends(value)})
    return rows


def contending(
    moved: Mapping[str, Moved], maps: Maps, config: Config, seed: int
) -> list[Contender]:
    """The vectors that steer: the target's own, the mapped ones, and both kinds of random ones."""
    last = config.prompts[-1]
    through: dict[tuple[str, str], dict[str, ist.SteeringVector]] = {}
    for (read, asked, kind), made in maps.items():
        if asked == last or kind == config.kind:
            through.setdefault((kind, asked), {})[read] = made(moved[read].source.vector)
    found = [Contender(OWN, {read: each.own.vector for read, each in moved.items()})]
    found += [Contender(mapped(*key), vectors) for key, vectors in through.items()]
    for number in range(config.n_random_steered):
        draw = seed + number
        by_chance = {RANDOM: {}, ANOTHER: {}}
        for read, each in moved.items():
            made, vector = maps[read, last, config.kind], each.source.vector
            mine = through[config.kind, last][read]
            for setting, other in (
                (RANDOM, made.like_random(draw)(vector)),
                (ANOTHER, made(vector.like_random(draw))),
            ):
                named = f"{setting} {number} of {vector.name}"
                by_chance[setting][read] = mine.matched(other, name=named)
        found += [Contender(setting, along, number) for setting, along in by_chance.items()]
    return found


# ------------------------------------------------------------------ leaving
def leave(
    run: ist.Run,
    name: str,
    moved: Mapping[str, Moved],
    contenders: Sequence[Contender],
    choices: Sequence[Choice],
) -> None:
    """The vectors of an instruction, and the layer at which each does best."""
    for read, each in moved.items():
        run.leave(each.source.vector, name=f"source.{name}.{read}")
    for one, choice in zip(contenders, choices, strict=True):
        key = key_of(one.setting)
        if one.draw is None:
            for read, vector in one.vectors.items():
                run.leave(vector, name=f"{key}.{name}.{read}")
        else:
            key += f"_{one.draw}"
        run.leave(summary={f"layer.{key}.{name}": choice.layer})


def at_layer(quality: pl.DataFrame, directions: pl.DataFrame, layer: int) -> dict[str, object]:
    """The numbers of one layer of the target."""
    found: dict[str, object] = {"layer": layer}
    for row in quality.filter(pl.col("layer") == layer).iter_rows(named=True):
        key = ("r_squared", row["setting"], row["read"], row["prompts"], row["kind"])
        found[".".join(key)] = Interval.of(row)
    for row in directions.filter(pl.col("layer") == layer).iter_rows(named=True):
        of = (row["quantity"], row["setting"].replace(" ", "_"), row["read"])
        key = (*of, row["prompts"], row["kind"], row["instruction"])
        found[".".join(filter(None, key))] = Interval.of(row)
    return found
