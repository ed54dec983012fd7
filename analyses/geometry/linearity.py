"""Is a property linear? Directions, probes and maps from the same prompts: read, and steered by.

A steering vector takes a property for a direction. Whether it is one is asked of the last token of
prompts with an instruction and without it, layer by layer, in four ways. Everything is fitted on
the fit split, chosen on the select split and reported on the test split, whose phrasings and
requests are others:

1. how well each reading tells the sides apart (AUROC): along the difference in means, the first
   axis of the pairs' differences (as they are, and centred), Fisher's discriminant, the whitened
   difference, the weights of a logistic and of a sparse probe; and along no direction, by Gaussians
   with the moments of both sides, and by a small MLP. **The property is linear as far as the MLP
   reads nothing that the best linear reading does not**: the difference of their AUROCs, with its
   interval. That the MLP finds what is not linear, where there is any, is shown by the same prompts
   with their mean shift taken away, of which nothing linear is left;
2. how alike each direction is to the difference in means. Centring takes the mean of the
   differences away, which is the shift that all pairs share; what is left says where pairs differ;
3. whether prompts without it, moved by a map that matches the means, or means and covariances, can
   still be told from prompts with it, by a linear probe or by an MLP;
4. what each does as a steering vector, or map, at one layer: moved as far as the difference in
   means moves an activation, and again at the divergence that this one costs on prompts that do not
   ask for the property. Random directions and maps stand beside.

Obedience is the share of answers that follow the instruction; and the share of the gain of the text
instruction, over none, in the log-probability of the obedient answer. Damage is the divergence of
the predictions along unsteered answers, and the share of answers that are degenerate or garbled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from einops import einsum
from tqdm import tqdm

import interp_steer as ist
from analyses.geometry.linearity_equal_damage import (
    MEANS,
    choose_layer,
    compare_with_means,
    list_contenders,
    steer_contenders,
    summarise_outcomes,
)
from analyses.geometry.linearity_figures import draw_readings, draw_steering
from analyses.geometry.linearity_readouts import (
    CHECKING_PROBES,
    LayerReadouts,
    PropertyReadouts,
    select_values,
)
from analyses.kit.instruction_following import Answering, InstructionFollowing
from analyses.kit.instruction_sets import contrast_sets
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.records import share_of

N_RANDOM = 8
"""Random directions that are read along."""

SCHEMA = {
    "property": pl.String,
    "layer": pl.Int64,
    "of": pl.String,
    "quantity": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
}
"""Of the records: what was measured (``quantity``) of which reading, direction or move (``of``)."""


@dataclass(frozen=True)
class Config(Answering):
    """What is read, and how it steers."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers."""
    instruction: tuple[str, ...] = (
        "startend:quotation",
        "language:response_language?language=it",
    )
    """IFEval ids of the properties."""
    data: str | None = None
    """IFEval's requests; see layer_sweep. Those of the bundled world when not given."""
    layer: int | None = None
    """Layer of what is not drawn by layer, and where steering acts. When not given: that at which
    the difference in means has most answers to the select split obey and be texts."""
    strength: float = 1.0
    """How far steering moves an activation, in lengths of the difference in means."""
    positions: str = "generated"
    """Where it acts: all, prompt, generated or last."""
    n_fit: int = 96
    """Pairs of prompts that everything is fitted on."""
    n_select: int = 32
    """Pairs that penalties, the layer and strengths are chosen on."""
    n_test: int = 64
    """Pairs that are read for the report."""
    n_steered: int = 16
    """Of them, those that are answered."""
    n_random: int = 2
    """Random directions, and random maps, that steer."""
    max_new_tokens: int = 48
    """Where an answer is cut."""


def main(config: Config, run: ist.Run) -> None:
    """Read both sides once, fit everything at every layer, and steer at one."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    if config.layer is not None:
        ist.Site("resid_post", config.layer).check(model.n_layers)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    ledger = ist.Ledger(run.answers)
    rows: list[tuple[object, ...]] = []
    answers: list[pl.DataFrame] = []
    shifts: list[pl.DataFrame] = []
    chosen: dict[str, int] = {}
    for name, pairs in tqdm(sets.items(), desc="linearity", unit="property", disable=None):
        found = PropertyReadouts.of(model, pairs, run.seed)
        rows += [(name, *row) for row in measure_layers(found, N_RANDOM)]
        for kind, vector in found.vectors.items():
            run.leave(vector, name=f"{name}.{kind}")
        select = InstructionFollowing.of(model, pairs.select[: config.n_steered], config, ledger)
        test = InstructionFollowing.of(model, pairs.test[: config.n_steered], config, ledger)
        told = bool(select.obedient and test.obedient)
        layer = model.n_layers // 2 if config.layer is None else config.layer
        if told and config.layer is None:
            layer = choose_layer(select, found, reference, config.strength, config.positions)
        chosen[name] = layer
        rows += [(name, *row) for row in measure_chosen_layer(found.layers[layer])]
        shifts.append(project_shifts(found.layers[layer]).with_columns(property=pl.lit(name)))
        if not told:
            print(f"{name} is not steered towards: {model.name} obeys it in no prompt of a split")
            continue
        several = list_contenders(found, layer, config.positions, config.n_random, run.seed)
        records = steer_contenders(select, test, several, reference, layer, config.strength)
        answers.append(records.with_columns(property=pl.lit(name)))
    records = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    run.write_records(records)
    run.write_records(pl.concat(shifts), "shifts")
    leave_readings(run, records, chosen)
    draw_readings(run, records, pl.concat(shifts), chosen)
    if answers:
        said = pl.concat(answers)
        run.write_records(said, "answers")
        found = summarise_outcomes(said, run.seed)
        leave_steering(run, said, found)
        draw_steering(run, found, chosen, config.strength)


# ------------------------------------------------------------------ reading
def measure_layers(found: PropertyReadouts, n_random: int) -> Iterator[tuple[object, ...]]:
    """What each reading tells apart at each layer, and what the MLP gains."""
    for layer in found.layers:
        for of, quantity, value in (*layer.separations(n_random), *layer.gains()):
            yield make_row(layer, of, quantity, value)


def measure_chosen_layer(layer: LayerReadouts) -> Iterator[tuple[object, ...]]:
    """What is measured at one layer alone."""
    for of, quantity, value in (*layer.cosines(), *layer.left()):
        yield make_row(layer, of, quantity, value)
    count = float(layer.probes["sparse"].coordinates)
    yield make_row(layer, "sparse", "coordinates", Interval(count, count, count, 1, "exact"))


def make_row(layer: LayerReadouts, of: str, quantity: str, found: Interval) -> tuple[object, ...]:
    """A row of the records, but for the property."""
    return layer.site.layer, of, quantity, found.value, found.low, found.high, found.n


def project_shifts(layer: LayerReadouts) -> pl.DataFrame:
    """The held-out differences along the mean difference, and along the centred first axis."""
    means, centred = (layer.directions[name] for name in (MEANS, "pca_centred"))
    rows = layer.splits.test.of_pairs().rows
    assert rows is not None  # sides of rows keep those of their differences
    changes = rows.values[layer.site].double()
    length = float(means.norm())
    along = [
        einsum(changes, each / each.norm() / length, "pair d, d -> pair").tolist()
        for each in (means, centred)
    ]
    return pl.DataFrame({"shift": along[0], "spread": along[1]})


# ------------------------------------------------------------------ leaving
def leave_readings(run: ist.Run, records: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """The numbers of the chosen layers."""
    for name, layer in chosen.items():
        run.leave(summary={f"layer.{name}": layer})
        for quantity, key in (("gain", "gain"), ("gain_control", "gain.control")):
            (gain,) = select_values(records, name, quantity, layer).values()
            run.leave(summary={f"{key}.{name}": gain})
        for quantity in (
            "auroc",
            "cosine",
            *(f"left.{kind}" for kind in CHECKING_PROBES),
            "coordinates",
        ):
            found = select_values(records, name, quantity, layer)
            run.leave(summary={f"{quantity}.{of}.{name}": value for of, value in found.items()})


def leave_steering(run: ist.Run, answers: pl.DataFrame, found: pl.DataFrame) -> None:
    """What each does as a steering vector or map, beside the text instruction and nothing."""
    for each in found.iter_rows(named=True):
        key = ".".join(each[part] for part in ("quantity", "matched", "of", "property"))
        value = Interval.of(each)
        run.leave(summary={key: value})
    for (name,), rows in answers.group_by("property", maintain_order=True):
        for setting in ("none", "instruction"):
            share = share_of(rows.filter(pl.col("setting") == setting), "strict")
            run.leave(summary={f"obeys.{setting}.{name}": share})
        gained = compare_with_means(rows, run.seed)
        run.leave(summary={f"beyond_means.{of}.{name}": gain for of, gain in gained.items()})
