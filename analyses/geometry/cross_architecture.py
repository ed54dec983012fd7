"""Map steering vectors to a model of another architecture, by maps fitted on shared prompts.

Two models of different widths and depths read the same texts. For each layer of the target, a map
is fitted from the source's residual stream at the nearest relative depth: a rotation with a scale
(Procrustes), a ridge regression, and canonical correlations (also the identity, if the widths are
equal). The texts are requests; where vectors are read on generated tokens, the answers of the two
models are included, in turn. No text asks for the steered instruction or is in a contrast set. The
sets of prompts are:

- ``plain``: in English, without a format;
- ``others``: also with formats of other families;
- ``kin``: also with formats of the same families (French if Italian is steered);
- ``broad``: as ``kin``, and requests in other languages, Italian included, without a format.

The quality of a map is its R² on the target's activations of held-out prompts.

The source's vectors are then mapped and compared with the target's own vectors (the ceiling) and
with random maps, which are the fitted maps between random rotations and have the same singular
values. Steering is also compared with random source vectors through the fitted map: a map that
reaches few directions of the target may map random vectors to the property too. Three scores:

1. the cosine with the target's own vector;
2. the AUROC of the projection of the target's held-out activations with and without the
   instruction;
3. steering the target. The layer and the operation of each vector, random vectors included, are
   chosen on the select split, and answers to the test split are checked by the instruction's
   verifier. McNemar's test compares mapped and random vectors on the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl
from tqdm import tqdm

import interp_steer as ist
from analyses.geometry import cross_architecture_steering
from analyses.geometry.cross_architecture_alignment import VectorsInBothModels
from analyses.geometry.cross_architecture_figures import TransferFigures, draw_answers
from analyses.geometry.cross_architecture_prompts import check_apart, sample_shared_prompts
from analyses.geometry.cross_architecture_steering import (
    OWN,
    RANDOM,
    RANDOM_VECTOR,
    Choice,
    Contender,
    Steering,
    make_key,
    name_mapped,
)
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import READ_TOKENS, position_of
from interp_steer.errors import OptionError
from interp_steer.statistics import Interval
from interp_steer.vectors.transfer import ResidualMap, SharedTexts, fit_map_on, r_squared

Maps = Mapping[tuple[str, str, str], ResidualMap]
"""Maps by where activations are read, the set of prompts, and the kind."""


@dataclass(frozen=True)
class Config(Steering):
    """The models, the instructions and the maps."""

    model: str = "burattino-gemma"
    """Model that vectors are transferred to: a bundled model, a Hugging Face name, or a folder."""
    source: str = "burattino-instruct"
    """Model that vectors are transferred from."""
    instruction: tuple[str, ...] = (
        "change_case:english_capital",
        "language:response_language?language=it",
    )
    """IFEval ids of the instructions whose vectors are transferred."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    kinds: tuple[str, ...] = ("procrustes", "ridge", "cca")
    """Kinds of maps that are fitted."""
    prompts: tuple[str, ...] = ("plain", "kin", "broad")
    """Sets of shared prompts on which maps are fitted: plain, others, kin or broad. Steering is
    evaluated for every kind of map fitted on the last set, and for random maps."""
    kind: str = "ridge"
    """Kind of map that steers for every set of prompts, and of which random maps are drawn."""
    n_map: int = 640
    """Number of shared prompts in each set."""
    n_fit: int = 48
    """Pairs of prompts that each vector is fitted on, in both models."""
    n_random: int = 5
    """Random maps whose cosines and AUROCs are compared with each fitted map."""
    draws: int = 200
    """Number of bootstrap draws of the pairs."""


def main(config: Config, run: ist.Run) -> None:
    """Fit maps, map vectors, compare directions, then steer."""
    if config.kind not in config.kinds or not config.prompts:
        raise OptionError(
            f"--kind {config.kind} --kinds {' '.join(config.kinds)} --prompts "
            f"{' '.join(config.prompts)}: give a --kind that is among --kinds, and one or more "
            "sets of --prompts"
        )
    if config.source == config.model:
        raise OptionError(
            f"the vectors of {config.source} are already {config.model}'s own: give another "
            "--source, or another --model"
        )
    target, source = ist.load(config.model), ist.load(config.source)
    reference = ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(target, *sets.values())

    maps, quality = fit_maps(source, target, sets, config, run)
    random = {
        key: [fitted_map.like_random(run.seed + draw) for draw in range(config.n_random)]
        for key, fitted_map in maps.items()
    }
    scores, frames = [], []
    with open_sweep_options(config, target, run) as options:
        for name, pairs in tqdm(sets.items(), desc="move", unit="instruction", disable=None):
            vectors_by_read = {
                read: VectorsInBothModels.of(source, target, pairs, read) for read in config.reads
            }
            scores += [
                {"instruction": name, **row}
                for row in score_maps(vectors_by_read, maps, random, config.draws, run.seed)
            ]
            contenders = list_contenders(vectors_by_read, maps, config, run.seed)
            records, choices = cross_architecture_steering.choose_and_steer(
                target, reference, pairs, contenders, config, options
            )
            frames.append(records.with_columns(pl.lit(name).alias("instruction")))
            leave_vectors(run, name, vectors_by_read, contenders, choices)
    directions, records = pl.DataFrame(scores), pl.concat(frames)
    for frame, called in ((records, "records"), (quality, "quality"), (directions, "directions")):
        run.write_records(frame, called)
    run.leave(summary=summarise_layer(quality, directions, target.n_layers // 2))
    run.leave(summary=cross_architecture_steering.summarise_answers(records))
    moves = TransferFigures(
        config.source, config.model, config.kind, config.prompts[-1], config.reads[0]
    )
    moves.draw(run, quality, directions)
    run.draw("answers", draw_answers(records, moves))


# ------------------------------------------------------------------ maps
def fit_maps(
    source: ist.HookedLM,
    target: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    config: Config,
    run: ist.Run,
) -> tuple[Maps, pl.DataFrame]:
    """Fit maps of each kind on each set of prompts, and measure their R² and a random map's."""
    maps: dict[tuple[str, str, str], ResidualMap] = {}
    rows: list[dict[str, object]] = []
    for asked in config.prompts:
        prompts = sample_shared_prompts(asked, list(sets), config.n_map, run.seed)
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
            for kind in list_kinds(source, target, config):
                fitted_map = fit_map_on(texts, kind)
                maps[read, asked, kind] = fitted_map
                run.leave(fitted_map, name=f"map.{read}.{asked}.{kind}")
                rows += _tabulate_quality(fitted_map, texts, (read, asked, kind), run.seed)
    return maps, pl.DataFrame(rows)


def list_kinds(source: ist.HookedLM, target: ist.HookedLM, config: Config) -> list[str]:
    """Return the kinds of maps that are fitted, with the identity if the widths are equal."""
    controls = ["identity"] if source.d_model == target.d_model else []
    return list(dict.fromkeys([*config.kinds, *controls]))


def _tabulate_quality(
    fitted_map: ResidualMap, texts: SharedTexts, key: tuple[str, str, str], seed: int
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    random = r_squared(fitted_map.like_random(seed), texts)
    assert fitted_map.quality is not None
    for at, (source_layer, layer) in enumerate(fitted_map.layers):
        for setting, value in (("fitted", fitted_map.quality[at]), ("random", random[at])):
            rows.append(
                {
                    **dict(zip(("read", "prompts", "kind"), key, strict=True)),
                    "source_layer": source_layer,
                    "layer": layer,
                    "setting": setting,
                    "penalty": fitted_map.penalties[at],
                    "rank": fitted_map.ranks[at],
                    **_split_interval(value),
                }
            )
    return rows


def _split_interval(value: Interval) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}


# ------------------------------------------------------------------ vectors
def score_maps(
    vectors_by_read: Mapping[str, VectorsInBothModels],
    maps: Maps,
    random: Mapping[tuple[str, str, str], Sequence[ResidualMap]],
    draws: int,
    seed: int,
) -> list[dict[str, object]]:
    """Score the vectors of an instruction through each map, and the target's own vectors."""
    rows: list[dict[str, object]] = []
    for read, vectors in vectors_by_read.items():
        for layer, value in vectors.measure_ceiling(seed).items():
            key = {"read": read, "prompts": "", "kind": "", "setting": OWN, "quantity": "auroc"}
            rows.append({**key, "layer": layer, **_split_interval(value)})
    for key, fitted_map in maps.items():
        columns = dict(zip(("read", "prompts", "kind"), key, strict=True))
        scores = vectors_by_read[key[0]].score_map(fitted_map, random[key], draws=draws, seed=seed)
        for setting, quantity, layer, value in scores:
            measured = {"setting": setting, "quantity": quantity, "layer": layer}
            rows.append({**columns, **measured, **_split_interval(value)})
    return rows


def list_contenders(
    vectors_by_read: Mapping[str, VectorsInBothModels], maps: Maps, config: Config, seed: int
) -> list[Contender]:
    """Return the vectors that steer: the target's own, mapped vectors, and both controls."""
    last = config.prompts[-1]
    through: dict[tuple[str, str], dict[str, ist.SteeringVector]] = {}
    for (read, asked, kind), fitted_map in maps.items():
        if asked == last or kind == config.kind:
            through.setdefault((kind, asked), {})[read] = fitted_map(
                vectors_by_read[read].source.vector
            )
    own = {read: vectors.own.vector for read, vectors in vectors_by_read.items()}
    contenders = [Contender(OWN, own)]
    contenders += [Contender(name_mapped(*key), vectors) for key, vectors in through.items()]
    for number in range(config.n_random_steered):
        draw = seed + number
        by_chance = {RANDOM: {}, RANDOM_VECTOR: {}}
        for read, vectors in vectors_by_read.items():
            fitted_map, vector = maps[read, last, config.kind], vectors.source.vector
            mapped = through[config.kind, last][read]
            for setting, other in (
                (RANDOM, fitted_map.like_random(draw)(vector)),
                (RANDOM_VECTOR, fitted_map(vector.like_random(draw))),
            ):
                named = f"{setting} {number} of {vector.name}"
                by_chance[setting][read] = mapped.matched(other, name=named)
        contenders += [Contender(setting, along, number) for setting, along in by_chance.items()]
    return contenders


# ------------------------------------------------------------------ summary
def leave_vectors(
    run: ist.Run,
    name: str,
    vectors_by_read: Mapping[str, VectorsInBothModels],
    contenders: Sequence[Contender],
    choices: Sequence[Choice],
) -> None:
    """Leave the vectors of an instruction, and the layer chosen for each."""
    for read, vectors in vectors_by_read.items():
        run.leave(vectors.source.vector, name=f"source.{name}.{read}")
    for contender, choice in zip(contenders, choices, strict=True):
        key = make_key(contender.setting)
        if contender.draw is None:
            for read, vector in contender.vectors.items():
                run.leave(vector, name=f"{key}.{name}.{read}")
        else:
            key += f"_{contender.draw}"
        run.leave(summary={f"layer.{key}.{name}": choice.layer})


def summarise_layer(
    quality: pl.DataFrame, directions: pl.DataFrame, layer: int
) -> dict[str, object]:
    """Return the numbers of one layer of the target."""
    summary: dict[str, object] = {"layer": layer}
    for row in quality.filter(pl.col("layer") == layer).iter_rows(named=True):
        key = ("r_squared", row["setting"], row["read"], row["prompts"], row["kind"])
        summary[".".join(key)] = Interval.of(row)
    for row in directions.filter(pl.col("layer") == layer).iter_rows(named=True):
        of = (row["quantity"], row["setting"].replace(" ", "_"), row["read"])
        key = (*of, row["prompts"], row["kind"], row["instruction"])
        summary[".".join(filter(None, key))] = Interval.of(row)
    return summary
