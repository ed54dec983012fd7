"""What the vector of an instruction is like at each layer: one direction, or many?

The vector is the mean of the differences that single pairs of prompts make. Layer by layer: how
many dimensions the differences fill, and which share of them lies along their mean; how long the
vector is beside the residual stream; how well the projection of held-out prompts on it tells those
with the instruction from those without; how much of it lies along what the unembedding reads; and
how alike the directions of two layers are. Random directions of the same norm stand beside.
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
from interp_steer.geometry.layers import (
    cosine_between_layers,
    discrimination,
    spread,
    unembedding_angle,
)
from interp_steer.geometry.ranks import energy_shares
from interp_steer.statistics.intervals import Interval, bootstrap
from interp_steer.vectors.fitting import difference_in_means

CURVES = {
    "effective_rank": (
        "effective rank (squared singular values)",
        "Dimensions that the differences of the single pairs fill, whose mean is the vector: the "
        "exponential of the entropy of their squared singular values, scaled to a sum of 1.",
    ),
    "relative_norm": (
        "relative norm",
        "Length of the vector in units of the root mean square length of the residual stream.",
    ),
    "auroc": (
        "AUROC",
        "How often a held-out prompt with the instruction projects further along the direction "
        "than one without; 0.5 is chance.",
    ),
    "unembedding_share": (
        "share in the unembedding",
        "Share of the unit direction within the span of the rows of the unembedding that lie "
        "nearest to it.",
    ),
}
"""What is drawn against the layer: its axis and its caption."""


@dataclass(frozen=True)
class Config:
    """What is looked at."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "punctuation:no_comma",
    )
    """IFEval ids of the instructions whose vectors are looked at."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on, and whose differences are counted."""
    n_test: int = 48
    """Held-out pairs that are projected."""
    top: int = 10
    """Nearest rows of the unembedding whose span is measured."""
    components: int = 10
    """Principal axes of the differences whose shares are left."""
    n_random: int = 8
    """Random directions that stand beside each vector."""


def main(config: Config, run: ist.Run) -> None:
    """Capture both sides once, fit, and measure every layer."""
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
            *_dimensions(fitted),
            *_told_apart(vector, random, held, run.seed),
            *_read_by_the_head(model, vector, random, config.top, run.seed),
        ]
        instruction = pl.lit(name).alias("instruction")
        numbers.append(pl.DataFrame(measured).with_columns(instruction))
        projections.append(_projections(vector, held).with_columns(instruction))
        cosines.append(_cosines(vector).with_columns(instruction))
        explained.append(_explained(fitted, config.components).with_columns(instruction))
    records = pl.concat(numbers)
    run.write_records(records)
    run.write_records(pl.concat(projections), "projections")
    run.write_records(pl.concat(cosines), "cosines")
    run.write_records(pl.concat(explained), "explained")
    _leave(run, records, layer=model.n_layers // 2)

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
        """A row per pair, with the instruction and without it."""
        assert self.present.rows is not None and self.absent.rows is not None
        return tuple(side.rows.values[site].double() for side in (self.present, self.absent))  # type: ignore[union-attr,return-value]


def _row(layer: int, quantity: str, value: Interval, setting: str = "vector") -> dict[str, object]:
    return {
        "layer": layer,
        "quantity": quantity,
        "setting": setting,
        "value": value.value,
        "low": value.low,
        "high": value.high,
    }


def _dimensions(sides: _Sides) -> list[dict[str, object]]:
    """How many dimensions the differences of single pairs fill, and how long their mean is."""
    rows = []
    for site in sides.present.sites:
        found = spread(*sides.at(site))
        rows += [_row(site.layer, what, value) for what, value in vars(found).items()]
    return rows


def _told_apart(
    vector: ist.SteeringVector, random: list[ist.SteeringVector], sides: _Sides, seed: int
) -> list[dict[str, object]]:
    """How well held-out prompts are told apart along the vector, and along random directions."""
    rows = []
    for site in vector.sites:
        found = discrimination(*_along(vector, sides, site), seed=seed)
        rows += [_row(site.layer, what, value) for what, value in vars(found).items()]
        by_chance = [
            discrimination(*_along(one, sides, site), n_resamples=1).auroc.value for one in random
        ]
        rows.append(_row(site.layer, "auroc", bootstrap(by_chance, seed=seed), "random"))
    return rows


def _read_by_the_head(
    model: ist.HookedLM,
    vector: ist.SteeringVector,
    random: list[ist.SteeringVector],
    top: int,
    seed: int,
) -> list[dict[str, object]]:
    """How near the vector, and random ones, lie to rows of the unembedding.

    A vector is one direction, and its numbers have no interval.
    """
    own = unembedding_angle(model, vector, top)
    others = pl.concat([unembedding_angle(model, one, top) for one in random])
    rows = []
    for quantity, of in (
        ("unembedding_cosine", pl.col("cosine").abs()),
        ("unembedding_share", pl.col("share")),
    ):
        for layer, value in own.select("layer", of).iter_rows():
            by_chance = others.filter(pl.col("layer") == layer).select(of).to_series().to_list()
            rows.append(_row(layer, quantity, Interval(value, value, value, 1, "exact")))
            rows.append(_row(layer, quantity, bootstrap(by_chance, seed=seed), "random"))
    return rows


def _along(
    vector: ist.SteeringVector, sides: _Sides, site: ist.Site
) -> tuple[torch.Tensor, torch.Tensor]:
    """The projections ``<h_i, u>`` of both sides."""
    unit = vector.at(site.layer).unit.double()
    present, absent = (einsum(side, unit, "pair d, d -> pair") for side in sides.at(site))
    return present, absent


def _projections(vector: ist.SteeringVector, sides: _Sides) -> pl.DataFrame:
    """Every projection, as it is and scaled: 0 and 1 are the means of the fitted sides."""
    assert vector.targets is not None
    frames = []
    for site, target, norm in zip(vector.sites, vector.targets, vector.norms, strict=True):
        both = _along(vector, sides, site)
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


def _cosines(vector: ist.SteeringVector) -> pl.DataFrame:
    found = cosine_between_layers(vector).tolist()
    rows = [
        {"layer_a": a, "layer_b": b, "cosine": cosine}
        for a, row in zip(vector.layers, found, strict=True)
        for b, cosine in zip(vector.layers, row, strict=True)
    ]
    return pl.DataFrame(rows)


def _explained(sides: _Sides, components: int) -> pl.DataFrame:
    """The shares of the principal axes of the differences, as they are and less their mean."""
    rows = []
    for site in sides.present.sites:
        present, absent = sides.at(site)
        differences = present - absent
        for about, each in (
            ("origin", differences),
            ("mean", differences - differences.mean(dim=0)),
        ):
            shares = energy_shares(each)[:components].tolist()
            rows += [
                {"layer": site.layer, "about": about, "component": k, "share": share}
                for k, share in enumerate(shares, start=1)
            ]
    return pl.DataFrame(rows)


def _leave(run: ist.Run, records: pl.DataFrame, layer: int) -> None:
    """The numbers of one layer, in the mean over instructions."""
    at = records.filter((pl.col("layer") == layer) & pl.col("value").is_finite())
    groups = at.group_by("quantity", "setting", maintain_order=True)
    run.leave(
        summary={
            f"{quantity}.{setting}": bootstrap(rows["value"].to_list(), seed=run.seed)
            for (quantity, setting), rows in groups
        }
        | {"layer": layer, "instructions": records["instruction"].n_unique()}
    )
