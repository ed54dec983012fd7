"""Test whether a property is linear: compare directions, probes and maps, and steer with each.

A steering vector assumes that a property is a direction. Whether it is one is tested at the last
token of prompts with and without an instruction, layer by layer, in four ways. Everything is fitted
on the fit split, chosen on the select split and reported on the test split, which has other
phrasings and requests:

1. the AUROC of each readout between the two sides. Linear readouts are the projections on the
   difference in means, on the first principal axis of the pairs' differences (uncentred and
   centred), on Fisher's discriminant and on the whitened difference, a logistic probe and a sparse
   probe. Other readouts are Gaussians with the moments of both sides, and a small MLP. **The
   property is linear as far as the MLP's AUROC does not exceed the best linear readout's**: the
   difference is reported with its interval. The control shows that the MLP can find non-linear
   structure: the same prompts with their mean shift removed, which leaves nothing for a linear
   probe;
2. the cosine of each direction with the difference in means. Centring removes the mean of the
   differences, the shift that all pairs share, so that the centred axis shows how pairs differ;
3. whether a linear probe or an MLP can still separate prompts with the property from prompts
   without it that were moved by a map of means, or of means and covariances;
4. the effect of each direction and map as steering at one layer: at the same displacement as the
   difference in means, and at the KL divergence that the difference in means has on prompts without
   the property. Random directions and random maps are the comparison.

Instruction following is the share of answers that follow the instruction, and the recovered share
of the text instruction's gain in the log-probability of the answer that follows. Damage is the KL
divergence of the predictions along unsteered answers, and the share of answers that are degenerate
or garbled.
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
from interp_steer.statistics import Interval, share_of

N_RANDOM = 8
"""Random directions whose AUROC is measured."""

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
"""Columns of the records; ``of`` is the readout, direction or map that was measured."""


@dataclass(frozen=True)
class Config(Answering):
    """The model, the properties, and the steering."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    reference: str = "burattino-base"
    """Model whose perplexity detects degenerate answers."""
    instruction: tuple[str, ...] = (
        "startend:quotation",
        "language:response_language?language=it",
    )
    """IFEval ids of the instructions whose property is tested."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    layer: int | None = None
    """Layer of steering, and of the figures that are not drawn by layer. By default the layer at
    which the difference-in-means vector makes the most answers on the select split both follow the
    instruction and read as text."""
    strength: float = 1.0
    """Displacement of an activation by steering, in norms of the difference in means."""
    positions: str = "generated"
    """Positions of steering: all, prompt, generated or last."""
    n_fit: int = 96
    """Pairs of prompts on which directions, probes and maps are fitted."""
    n_select: int = 32
    """Pairs of prompts on which penalties, the layer and strengths are chosen."""
    n_test: int = 64
    """Held-out pairs of prompts on which readouts are reported."""
    n_steered: int = 16
    """Number of held-out pairs whose prompts are answered under steering."""
    n_random: int = 2
    """Number of random directions, and of random maps, that steer for comparison."""
    max_new_tokens: int = 48
    """Maximum number of new tokens of an answer."""


def main(config: Config, run: ist.Run) -> None:
    """Read both sides once, fit at every layer, and steer at one layer."""
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
        readouts = PropertyReadouts.of(model, pairs, run.seed)
        rows += [(name, *row) for row in measure_layers(readouts, N_RANDOM)]
        for kind, vector in readouts.vectors.items():
            run.leave(vector, name=f"{name}.{kind}")
        select = InstructionFollowing.of(model, pairs.select[: config.n_steered], config, ledger)
        test = InstructionFollowing.of(model, pairs.test[: config.n_steered], config, ledger)
        followed = bool(select.obedient and test.obedient)
        layer = model.n_layers // 2 if config.layer is None else config.layer
        if followed and config.layer is None:
            layer = choose_layer(select, readouts, reference, config.strength, config.positions)
        chosen[name] = layer
        rows += [(name, *row) for row in measure_chosen_layer(readouts.layers[layer])]
        shifts.append(project_shifts(readouts.layers[layer]).with_columns(property=pl.lit(name)))
        if not followed:
            print(
                f"{name} is not steered: {model.name} follows the instruction in no prompt of a "
                "split"
            )
            continue
        contenders = list_contenders(readouts, layer, config.positions, config.n_random, run.seed)
        records = steer_contenders(select, test, contenders, reference, layer, config.strength)
        answers.append(records.with_columns(property=pl.lit(name)))
    records = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    run.write_records(records)
    run.write_records(pl.concat(shifts), "shifts")
    leave_readings(run, records, chosen)
    draw_readings(run, records, pl.concat(shifts), chosen)
    if answers:
        steered = pl.concat(answers)
        run.write_records(steered, "answers")
        outcomes = summarise_outcomes(steered, run.seed)
        leave_steering(run, steered, outcomes)
        draw_steering(run, outcomes, chosen, config.strength)


# ------------------------------------------------------------------ reading
def measure_layers(readouts: PropertyReadouts, n_random: int) -> Iterator[tuple[object, ...]]:
    """Yield the AUROC of each readout at each layer, and the MLP's gain."""
    for layer in readouts.layers:
        for of, quantity, value in (*layer.measure_separations(n_random), *layer.measure_gains()):
            yield make_row(layer, of, quantity, value)


def measure_chosen_layer(layer: LayerReadouts) -> Iterator[tuple[object, ...]]:
    """Yield the quantities that are measured at one layer only."""
    for of, quantity, value in (*layer.measure_cosines(), *layer.measure_remaining()):
        yield make_row(layer, of, quantity, value)
    count = float(layer.probes["sparse"].coordinates)
    yield make_row(layer, "sparse", "coordinates", Interval(count, count, count, 1, "exact"))


def make_row(layer: LayerReadouts, of: str, quantity: str, value: Interval) -> tuple[object, ...]:
    """Return a row of the records without the property."""
    return layer.site.layer, of, quantity, value.value, value.low, value.high, value.n


def project_shifts(layer: LayerReadouts) -> pl.DataFrame:
    """Project the held-out differences on the mean difference and on the centred first axis."""
    means, centred = (layer.directions[name] for name in (MEANS, "pca_centred"))
    rows = layer.splits.test.of_pairs().rows
    assert rows is not None  # moments with rows keep the rows of their differences
    changes = rows.values[layer.site].double()
    length = float(means.norm())
    along = [
        einsum(changes, axis / axis.norm() / length, "pair d, d -> pair").tolist()
        for axis in (means, centred)
    ]
    return pl.DataFrame({"shift": along[0], "spread": along[1]})


# ------------------------------------------------------------------ summary
def leave_readings(run: ist.Run, records: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """Leave the numbers of the chosen layers."""
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
            values = select_values(records, name, quantity, layer)
            run.leave(summary={f"{quantity}.{of}.{name}": value for of, value in values.items()})


def leave_steering(run: ist.Run, answers: pl.DataFrame, outcomes: pl.DataFrame) -> None:
    """Leave the outcomes of steering, of the text instruction and of unsteered answers."""
    for outcome in outcomes.iter_rows(named=True):
        key = ".".join(outcome[part] for part in ("quantity", "matched", "of", "property"))
        value = Interval.of(outcome)
        run.leave(summary={key: value})
    for (name,), rows in answers.group_by("property", maintain_order=True):
        for setting in ("none", "instruction"):
            share = share_of(rows.filter(pl.col("setting") == setting), "strict")
            run.leave(summary={f"obeys.{setting}.{name}": share})
        gains = compare_with_means(rows, run.seed)
        run.leave(summary={f"beyond_means.{of}.{name}": gain for of, gain in gains.items()})
