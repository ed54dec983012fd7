"""Measure the vector of an instruction at each layer, and whether one direction describes it.

The vector is the mean difference of the two prompts of a pair. Measured at each layer:

- the effective rank of the differences, and the share of their energy along the mean;
- the norm of the vector relative to the norm of the residual stream;
- the AUROC of the projection of held-out prompts on the vector, with and without the instruction;
- the share of the vector in the span of the nearest rows of the unembedding;
- the cosines between the directions of two layers.

Random directions of the same norm are measured for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from einops import einsum
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.instruction_sets import contrast_sets
from interp_steer.geometry import (
    cosine_between_layers,
    discrimination,
    energy_shares,
    spread,
    unembedding_angle,
)
from interp_steer.statistics import Interval, bootstrap
from interp_steer.vectors import difference_in_means

CURVES = {
    "effective_rank": (
        "effective rank (squared singular values)",
        "Effective rank of the differences of single pairs; the vector is their mean.",
    ),
    "relative_norm": (
        "relative norm",
        "Norm of the vector divided by the root mean square norm of the residual stream.",
    ),
    "auroc": (
        "AUROC",
        "Probability that a held-out prompt with the instruction has a larger projection on the "
        "direction than a prompt without the instruction; 0.5 is chance.",
    ),
    "unembedding_share": (
        "share in the unembedding",
        "Share of the unit direction in the span of the nearest rows of the unembedding.",
    ),
}
"""Figures against the layer: the axis title and the caption."""


@dataclass(frozen=True)
class Config:
    """The model, the instructions and the sample sizes."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "punctuation:no_comma",
    )
    """IFEval ids of the instructions whose vectors are measured."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on, and whose effective rank is measured."""
    n_test: int = 48
    """Held-out pairs that are projected on the vector."""
    top: int = 10
    """Number of nearest rows of the unembedding, whose span is compared with the vector."""
    components: int = 10
    """Number of principal axes of the differences in the table of energy shares."""
    n_random: int = 8
    """Random directions that each vector is compared with."""


def main(config: Config, run: ist.Run) -> None:
    """Capture both sides once, fit the vectors, and measure every layer."""
    model = ist.load(config.model)
    run.used(model)
    sets = contrast_sets(config.instruction, run.seed, fit=config.n_fit, test=config.n_test)
    numbers, projections, cosines, explained = [], [], [], []
    for name, pairs in tqdm(sets.items(), desc="geometry", unit="instruction", disable=None):
        run.used(pairs)
        fitted, held = _Sides.of(model, pairs.fit), _Sides.of(model, pairs.test)
        vector = difference_in_means(
            fitted.present, fitted.absent, name=pairs.name, data_hash=pairs.fit.hash, model=model
        )
        random = [vector.like_random(run.seed + draw) for draw in range(config.n_random)]
        run.leave(vector, name=name)
        measured = [
            *_measure_dimensions(fitted),
            *_measure_separation(vector, random, held, run.seed),
            *_measure_unembedding(model, vector, random, config.top, run.seed),
        ]
        instruction = pl.lit(name).alias("instruction")
        numbers.append(pl.DataFrame(measured).with_columns(instruction))
        projections.append(_tabulate_projections(vector, held).with_columns(instruction))
        cosines.append(_tabulate_cosines(vector).with_columns(instruction))
        explained.append(_tabulate_explained(fitted, config.components).with_columns(instruction))
    records = pl.concat(numbers)
    run.write_records(records)
    run.write_records(pl.concat(projections), "projections")
    run.write_records(pl.concat(cosines), "cosines")
    run.write_records(pl.concat(explained), "explained")
    _leave_summary(run, records, layer=model.n_layers // 2)

    run.draw("layer_cosines", figures.layer_cosines(pl.concat(cosines)))
    overlaps = records.filter((pl.col("quantity") == "overlap") & (pl.col("setting") == "vector"))
    run.draw("projections", figures.projection_violins(pl.concat(projections), overlaps))
    for quantity, (title, about) in CURVES.items():
        rows = records.filter(pl.col("quantity") == quantity)
        run.draw(quantity, figures.layer_quantity(rows, title, about=about))


@dataclass(frozen=True, eq=False)
class _Sides:
    """The residual stream at the last token of both sides of some pairs, at every layer."""

    present: ist.Moments
    absent: ist.Moments

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet) -> _Sides:
        return cls(
            *(
                ist.capture.capture_moments(model, prompts, keep_rows=True)
                for prompts in (pairs.present, pairs.absent)
            )
        )

    def at(self, site: ist.Site) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the activations of each pair, with and without the instruction."""
        assert self.present.rows is not None and self.absent.rows is not None
        return tuple(side.rows.values[site].double() for side in (self.present, self.absent))  # type: ignore[union-attr,return-value]


def _make_row(
    layer: int, quantity: str, value: Interval, setting: str = "vector"
) -> dict[str, object]:
    return {
        "layer": layer,
        "quantity": quantity,
        "setting": setting,
        "value": value.value,
        "low": value.low,
        "high": value.high,
    }


def _measure_dimensions(sides: _Sides) -> list[dict[str, object]]:
    """Measure the effective rank of the differences of single pairs, and the norm of their mean."""
    rows = []
    for site in sides.present.sites:
        measured = vars(spread(*sides.at(site)))
        rows += [_make_row(site.layer, name, value) for name, value in measured.items()]
    return rows


def _measure_separation(
    vector: ist.SteeringVector, random: list[ist.SteeringVector], sides: _Sides, seed: int
) -> list[dict[str, object]]:
    """Measure how well the vector, and random directions, separate held-out prompts."""
    rows = []
    for site in vector.sites:
        measured = vars(discrimination(*_project(vector, sides, site), seed=seed))
        rows += [_make_row(site.layer, name, value) for name, value in measured.items()]
        by_chance = [
            discrimination(*_project(other, sides, site), n_resamples=1).auroc.value
            for other in random
        ]
        rows.append(_make_row(site.layer, "auroc", bootstrap(by_chance, seed=seed), "random"))
    return rows


def _measure_unembedding(
    model: ist.HookedLM,
    vector: ist.SteeringVector,
    random: list[ist.SteeringVector],
    top: int,
    seed: int,
) -> list[dict[str, object]]:
    """Measure how close the vector, and random directions, lie to rows of the unembedding.

    The vector is a single direction, so its values have no interval.
    """
    own = unembedding_angle(model, vector, top)
    others = pl.concat([unembedding_angle(model, other, top) for other in random])
    rows = []
    for quantity, of in (
        ("unembedding_cosine", pl.col("cosine").abs()),
        ("unembedding_share", pl.col("share")),
    ):
        for layer, value in own.select("layer", of).iter_rows():
            by_chance = others.filter(pl.col("layer") == layer).select(of).to_series().to_list()
            rows.append(_make_row(layer, quantity, Interval(value, value, value, 1, "exact")))
            rows.append(_make_row(layer, quantity, bootstrap(by_chance, seed=seed), "random"))
    return rows


def _project(
    vector: ist.SteeringVector, sides: _Sides, site: ist.Site
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the projections ``<h_i, u>`` of both sides."""
    unit = vector.at(site.layer).unit.double()
    present, absent = (einsum(side, unit, "pair d, d -> pair") for side in sides.at(site))
    return present, absent


def _tabulate_projections(vector: ist.SteeringVector, sides: _Sides) -> pl.DataFrame:
    """Return every projection, unscaled and scaled so that 0 and 1 are the fitted means."""
    assert vector.targets is not None
    frames = []
    for site, target, norm in zip(vector.sites, vector.targets, vector.norms, strict=True):
        both = _project(vector, sides, site)
        for side, values in zip(("present", "absent"), both, strict=True):
            frames.append(
                pl.DataFrame(
                    {
                        "layer": site.layer,
                        "side": side,
                        "pair": range(len(values)),
                        "projection": values.tolist(),
                        # The means of the two sides lie |v| apart along their difference.
                        "scaled": ((values - float(target)) / float(norm) + 1).tolist(),
                    }
                )
            )
    return pl.concat(frames)


def _tabulate_cosines(vector: ist.SteeringVector) -> pl.DataFrame:
    cosines = cosine_between_layers(vector).tolist()
    rows = [
        {"layer_a": a, "layer_b": b, "cosine": cosine}
        for a, row in zip(vector.layers, cosines, strict=True)
        for b, cosine in zip(vector.layers, row, strict=True)
    ]
    return pl.DataFrame(rows)


def _tabulate_explained(sides: _Sides, components: int) -> pl.DataFrame:
    """Return the principal axes' energy shares, with and without the mean of the differences."""
    rows = []
    for site in sides.present.sites:
        present, absent = sides.at(site)
        differences = present - absent
        for about, rows_about in (
            ("origin", differences),
            ("mean", differences - differences.mean(dim=0)),
        ):
            shares = energy_shares(rows_about)[:components].tolist()
            rows += [
                {"layer": site.layer, "about": about, "component": k, "share": share}
                for k, share in enumerate(shares, start=1)
            ]
    return pl.DataFrame(rows)


def _leave_summary(run: ist.Run, records: pl.DataFrame, layer: int) -> None:
    """Leave the values of one layer, averaged over instructions."""
    at = records.filter((pl.col("layer") == layer) & pl.col("value").is_finite())
    groups = at.group_by("quantity", "setting", maintain_order=True)
    run.leave(
        summary={
            f"{quantity}.{setting}": bootstrap(rows["value"].to_list(), seed=run.seed)
            for (quantity, setting), rows in groups
        }
        | {"layer": layer, "instructions": records["instruction"].n_unique()}
    )
