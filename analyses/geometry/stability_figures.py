"""Draw the figures of stability, each with the numbers of the chosen layer in its caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

import figures
import interp_steer as ist
from analyses.geometry.stability_drift import DRIFT, WINDOW, measure_drift, smooth
from analyses.geometry.stability_rows import COPIES, LEVELS, Sizes, count_rejections
from figures.geometry.reliability import cosines_by_number
from figures.style.drawing import list_words, short_names
from interp_steer.statistics import Interval, bootstrap_mean

UNDRAWN = ("vector, by split halves", "vector, resampled", "base with tuned, of all queries")
"""Series that other series would cover; captions state their values."""


@dataclass(frozen=True)
class Curves:
    """A figure of curves, with a template of its caption.

    In a template ``{part[series]}`` stands for the range of that series over instructions at the
    chosen layer.
    """

    caption: str
    x: str = "layer"
    y: str = "cosine"
    chance: str | None = None
    """The series that shows chance."""


CURVES = {
    "cosine": Curves(
        "At layer {layer} a vector of {n_fit} pairs has a cosine of {cosine[vector]} with the "
        "vector of infinitely many such pairs (by split halves "
        "{cosine[vector, by split halves]}). For shuffled labels the estimate is "
        "{cosine[shuffled labels]}; its interval lies above 0 for {taken[shuffled labels]} of all "
        "copies. The naive bootstrap, the cosine of resampled vectors with the vector itself, "
        "mistakes noise for signal: for shuffled labels it gives "
        "{cosine[shuffled labels, resampled]}. Bands are 95% intervals; the band of shuffled "
        "labels is the range of 95% of {shuffled} copies.",
        chance="shuffled labels",
    ),
    "norm": Curves(
        "At layer {layer} the norm of a vector of {n_fit} pairs is {norm[vector]} times the mean "
        "norm after swapping the sides of the same pairs at random. The band is the range of 95% "
        "of {swaps} swaps.",
        y="relative length",
        chance="swapped sides",
    ),
    "auroc": Curves(
        "At layer {layer} the AUROC along the vector is {auroc[vector]} on prompts of held-out "
        "queries and phrasings. With the sides of both fitted and held-out pairs swapped at "
        "random, the AUROC is {auroc[swapped sides]}. Bands are 95% intervals, and the range of "
        "95% of {swaps} swaps.",
        y="AUROC",
        chance="swapped sides",
    ),
    "seed": Curves(
        "At layer {layer} two extractions of {n_fit} disjoint pairs have a cosine of "
        "{seed[two extractions]}; the split halves of one extraction predict "
        "{seed[foretold by one]}. Bands are the range of 95% of {repeats} random couples of "
        "extractions, and the jackknife's 95% interval."
    ),
    "phrasing": Curves(
        "At layer {layer} the vectors of two phrasings, each from {half} queries that the other "
        "vector was not fitted on, have a cosine of {phrasing[two phrasings]}; two vectors of one "
        "phrasing have {phrasing[one phrasing]}. With infinitely many queries the cosine of two "
        "phrasings would be {phrasing[two phrasings, of all queries]}. Values are means over all "
        "couples of {n_phrasings} phrasings; bands are jackknife 95% intervals over queries."
    ),
    "base": Curves(
        "At layer {layer} the vectors of {base_model} and {model}, each from other queries, have a "
        "cosine of {base[base with tuned]}; two halves of the queries in the same model have "
        "{base[each with itself]}. With infinitely many queries the cosine would be "
        "{base[base with tuned, of all queries]}. Bands are jackknife 95% intervals; the band of "
        "the random direction is the range of 95%.",
        chance="random direction",
    ),
    "requests": Curves(
        "With {most_requests} requests in a prompt, a vector of {n_fit} pairs has a cosine of "
        "{requests[with the vector of all such pairs]} with the vector of infinitely many such "
        "pairs. With infinitely many pairs it would have a cosine of "
        "{requests[with that of single requests]} with the vector of single requests. Layer "
        "{layer}; bands are 95% intervals.",
        x="at",
    ),
}
"""Figures of curves by part of the records."""

BY_NUMBER = {
    "pairs": (
        "pairs",
        "Cosines of vectors of N pairs, each from another query, at layer {layer}: with the vector "
        "of infinitely many pairs (measured with the vector of all other queries), with the vector "
        "of N other pairs, and as predicted from {n_fit} pairs. Bands are the range of 95% of "
        "{repeats} draws of pairs.",
    ),
    "queries": (
        "distinct queries",
        "Cosine with the vector of infinitely many queries, at layer {layer}: of {n_fit} pairs, "
        "where each query has as many phrasings as needed, and of one pair for each query. Bands "
        "are the range of 95% of {repeats} draws of queries.",
    ),
}
"""Figures against a number that doubles, by part of the records: the axis title and the caption."""

CALIBRATION = (
    "Of {copies} copies with shuffled labels for each of {n_instructions} instructions, the "
    "permutation test at 5% rejects {rates}. The figure shows the share of rejected copies at each "
    "level, at layer {layer}; bands are Wilson's 95% intervals, by instruction."
)


def draw_curves(
    run: ist.Run, records: pl.DataFrame, layer: int, sizes: Sizes, models: Mapping[str, str | None]
) -> None:
    """Draw all figures of the records, with the values of one layer in their captions.

    Args:
        run: the run that the figures are left in.
        records: the records of all instructions.
        layer: the layer whose values captions state.
        sizes: the numbers of pairs and draws.
        models: the names of the ``model`` and of its ``base_model``.
    """
    names = short_names(records["instruction"].unique(maintain_order=True).to_list())
    rates = [f"{rate} by {test}" for test, rate in count_rejections(records, sizes.copies).items()]
    records = records.filter(pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    records = records.with_columns(pl.col("instruction").replace_strict(names).alias("panel"))
    values = collect_values(records, layer, sizes) | {**models, "rates": list_words(rates)}
    values["n_instructions"] = len(names)
    over = ""
    if len(names) > 1:
        over = (
            f" Values are the smallest and the largest of {len(names)} instructions, with the "
            "outermost ends of their intervals."
        )
    for name, curves in CURVES.items():
        rows = records.filter((pl.col("part") == name) & ~pl.col("series").is_in(UNDRAWN))
        if len(rows):
            axis = "requests in a prompt" if curves.x == "at" else curves.x
            drawing = figures.interval_curves(rows, curves.x, axis, curves.y, chance=curves.chance)
            caption = curves.caption.format_map(values) + over
            run.draw(name, replace(drawing, caption=caption))
    for part, (axis, caption) in BY_NUMBER.items():
        rows = records.filter(pl.col("part") == part)
        about = caption.format_map(values)
        run.draw(part, cosines_by_number(rows, "at", axis, about=about))
    draw_calibration(run, records, CALIBRATION.format_map(values))


def collect_values(records: pl.DataFrame, layer: int, sizes: Sizes) -> dict[str, Any]:
    """Return the values of the templates: sizes, and ranges over instructions by part."""
    last = pl.col("at").is_null() | (
        (pl.col("part") == "requests") & (pl.col("at") == max(sizes.requests))
    )
    ranges: dict[str, dict[str, str]] = {
        part: defaultdict(lambda: "undefined") for part in ("taken", *CURVES)
    }
    rows = records.filter((pl.col("layer") == layer) & last)
    for (part, series), values in rows.group_by("part", "series", maintain_order=True):
        intervals = [Interval.of(value) for value in values.iter_rows(named=True)]
        ranges.setdefault(str(part), {})[str(series)] = _describe_range(intervals)
    return ranges | {
        "layer": layer,
        "n_fit": sizes.n_fit,
        "n_phrasings": sizes.n_phrasings,
        "half": sizes.n_queries // 2,
        "most_requests": max(sizes.requests),
        "swaps": sizes.draws - 1,
        "repeats": sizes.repeats,
        "copies": sizes.copies,
        "shuffled": COPIES,
    }


def draw_calibration(run: ist.Run, records: pl.DataFrame, caption: str) -> None:
    """Draw the share of rejected copies against the level, and the level itself."""
    rows = records.filter(pl.col("part") == "calibration")
    nominal = [(pl.col("at") / 100).alias(column) for column in ("value", "low", "high")]
    first = rows.filter(pl.col("series") == rows["series"][0])
    level = first.with_columns(pl.lit("level").alias("series"), *nominal)
    drawing = figures.interval_curves(
        pl.concat([rows, level]), "at", "level (%)", "share rejected", chance="level"
    )
    drawing.figure.update_xaxes(tickvals=LEVELS)
    run.draw("calibration", replace(drawing, caption=caption))


def draw_drift(run: ist.Run, steps: pl.DataFrame, read_layer: int) -> None:
    """Draw the projection at each step of long answers, a figure for each instruction."""
    drift = {setting: measure_drift(steps, setting, run.seed) for setting in DRIFT}
    changes = _list_settings(drift)
    for (name,), rows in steps.group_by("instruction", maintain_order=True):
        mean = {
            str(setting): bootstrap_mean(
                values["scaled_projection"], values["query"], seed=run.seed
            )
            for (setting,), values in rows.group_by("setting", maintain_order=True)
        }
        caption = (
            f"The mean projection over the tokens of an answer is {_list_settings(mean)}. Over all "
            f"instructions it changes by {changes} from the first to the last third of an answer. "
            "Projection of the residual stream on the direction of "
            f"{short_names([str(name)])[str(name)]} at layer {read_layer}, in long answers to "
            f"{rows['query'].n_unique()} requests: at the last token of the prompt, and averaged "
            f"over {WINDOW} steps (drawn at the last of them). 0 and 1 are the means of prompts "
            "without and with the instruction. Bands are 95% intervals."
        )
        drawing = figures.step_curves(smooth(rows), "scaled_projection")
        run.draw(f"drift_{name}", replace(drawing, caption=caption))


def _list_settings(values: Mapping[str, Interval]) -> str:
    return list_words([f"{value!s} {DRIFT[setting]}" for setting, value in values.items()])


def _describe_range(intervals: Sequence[Interval]) -> str:
    """Return the smallest and largest value, with the outermost ends of the intervals."""
    values = [interval.value for interval in intervals]
    low = min(interval.low for interval in intervals)
    high = max(interval.high for interval in intervals)
    text = " to ".join(dict.fromkeys(f"{end:.3g}" for end in (min(values), max(values))))
    if all(interval.low == interval.value == interval.high for interval in intervals):
        return text
    return f"{text} [{low:.3g}, {high:.3g}]"
