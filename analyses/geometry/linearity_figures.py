"""The figures of linearity, each with what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

import figures
import interp_steer as ist
from analyses.geometry.linearity_equal_damage import MEANS, RANDOM_MAP
from analyses.geometry.linearity_readouts import LABELS, LINEAR, MOVES, OTHERS, RANDOM, TOLD_BY, at
from figures.geometry.pair_shifts import pair_shifts
from figures.style.drawing import list_words, short_names
from figures.style.interval_dots import interval_dots
from interp_steer.statistics.intervals import Interval

CURVES = (MEANS, "pca_centred", "lda", "gaussian", "mlp", RANDOM)
"""Readings that are drawn layer by layer; the others are drawn at one layer."""

MATCHED = {"norm": "moved as far", "kl": "at equal divergence"}
"""What is the same of all that steer."""

STEERING = {
    **LABELS,
    "mlp": "MLP, mean gradient",
    "coordinates": "map, axis by axis",
    "gaussian": "map, covariances",
    RANDOM_MAP: "random map",
}
"""What figures call what steers."""

KINDS = {"logistic": "linear probe", "mlp": "MLP"}

SHARES = {
    "obeys": ("share of answers that obey", (0.0, 1.0)),
    "recovered": ("share of the text's gain in log-probability", None),
    "kl": ("divergence (nats a token)", None),
    "broken": ("share of degenerate or garbled answers", (0.0, 1.0)),
}
"""What is drawn of what steers: the title of the axis, and what it shows."""


def draw_read(
    run: ist.Run, records: pl.DataFrame, shifts: pl.DataFrame, chosen: Mapping[str, int]
) -> None:
    """What tells the sides apart, how alike the directions are, and what a map leaves."""
    panels = titles(chosen)
    records = records.with_columns(
        pl.col("property").replace_strict(panels).alias("panel"),
        pl.lit("vector").alias("setting"),
    )
    here = pl.concat(
        [
            records.filter((pl.col("property") == name) & (pl.col("layer") == layer))
            for name, layer in chosen.items()
        ]
    )
    draw_auroc(run, records, here, chosen)
    draw_gain(run, records, chosen)
    draw_cosines(run, here, chosen)
    draw_left(run, here, chosen)
    run.draw("shifts", pair_shifts(shifts.with_columns(_panel(panels))))


def titles(names: Mapping[str, int]) -> dict[str, str]:
    """What panels call the properties."""
    return short_names(list(names))


def _panel(panels: Mapping[str, str]) -> pl.Expr:
    return pl.col("property").replace_strict(panels).alias("panel")


def draw_auroc(
    run: ist.Run, records: pl.DataFrame, here: pl.DataFrame, chosen: Mapping[str, int]
) -> None:
    """By layer for some readings, and at one layer for all."""
    told = []
    for name, layer in chosen.items():
        found = at(records, name, "auroc", layer)
        line = [found[of].value for of in LINEAR if of != "pca_centred"]
        told.append(
            f"{min(line):.2f} to {max(line):.2f} along a line, {found['mlp']!s} by the MLP, "
            f"{found['pca_centred']!s} along the centred axis and {found[RANDOM]!s} along random "
            f"directions ({titles(chosen)[name]}, layer {layer})"
        )
    caption = (
        f"Prompts are told apart with an AUROC of {list_words(told)}. Held-out prompts with and "
        "without the property, of other requests and phrasings than those fitted on"
    )
    curves = records.filter((pl.col("quantity") == "auroc") & pl.col("of").is_in(CURVES))
    ordered = pl.concat(
        [
            curves.filter(pl.col("of") == name).with_columns(series=pl.lit(LABELS[name]))
            for name in CURVES
        ]
    )
    drawing = figures.interval_curves(ordered, "layer", "layer", "AUROC", chance=LABELS[RANDOM])
    run.draw("auroc_by_layer", replace(
        drawing, caption=f"{caption}. Bands are 95% intervals."
    ))  # fmt: skip
    groups = dict.fromkeys([*LINEAR, RANDOM], "along a direction") | dict.fromkeys(OTHERS, "others")
    dots = here.filter(pl.col("quantity") == "auroc").with_columns(
        pl.col("of").replace_strict(groups).alias("group"),
        pl.col("of").replace_strict(LABELS).alias("label"),
    )
    drawing = interval_dots(dots, "AUROC", group="group")
    run.draw("auroc", replace(drawing, caption=f"{caption}; whiskers are 95% intervals."))


def draw_gain(run: ist.Run, records: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """The MLP's gain over the best linear reading, layer by layer, and of the control."""
    told = []
    for name, layer in chosen.items():
        ((of, gain),) = at(records, name, "gain", layer).items()
        (control,) = at(records, name, "gain_control", layer).values()
        told.append(
            f"{_near(gain)} above that of the {LABELS[of]}, and {_near(control)} above a linear "
            f"probe's of the same prompts less their mean shift ({titles(chosen)[name]}, layer "
            f"{layer})"
        )
    series = {"gain": "property", "gain_control": "less its mean shift (control)"}
    drawn = records.filter(pl.col("quantity").is_in(list(series))).with_columns(
        pl.col("quantity").replace_strict(series).alias("series")
    )
    drawing = figures.interval_curves(
        drawn, "layer", "layer", "MLP's gain in AUROC", chance=series["gain_control"]
    )
    run.draw("gain", replace(drawing, caption=(
        f"The AUROC of the MLP is {list_words(told)}. Held-out prompts; at each layer the linear "
        "reading is the one that tells the select split apart best. Of the control nothing linear "
        "is left: what the MLP gains there is what it can find. Bands are 95% intervals."
    )))  # fmt: skip


def _near(found: Interval) -> str:
    """An interval whose value is not written as less than nothing where it is nothing."""
    return str(replace(found, value=round(found.value, 3) + 0.0))


def draw_cosines(run: ist.Run, here: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """How alike each direction is to the difference in means."""
    rows = here.filter(pl.col("quantity") == "cosine").with_columns(
        pl.col("of").replace_strict(STEERING).alias("label")
    )
    drawing = interval_dots(rows, "cosine with the difference in means")
    told = []
    for name, layer in chosen.items():
        found = at(here, name, "cosine", layer)
        told.append(
            f"PCA {found['pca']!s}, centred {found['pca_centred']!s}, and LDA {found['lda']!s} "
            f"({titles(chosen)[name]}, layer {layer})"
        )
    run.draw("cosine", replace(drawing, caption=(
        f"Cosine with the difference in means: {list_words(told)}. The centred axis is that of the "
        "differences less their mean, which is the shift. Whiskers are jackknife 95% intervals "
        "over pairs, under the penalties that were chosen."
    )))  # fmt: skip


def draw_left(run: ist.Run, here: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """How well moved prompts are told from real ones."""
    frames = [
        here.filter((pl.col("quantity") == f"left.{kind}") & (pl.col("of") == move)).with_columns(
            label=pl.lit(label), setting=pl.lit(KINDS[kind])
        )
        for move, label in MOVES.items()
        for kind in TOLD_BY
    ]
    drawing = interval_dots(pl.concat(frames), "AUROC that is left")
    told = []
    for name, layer in chosen.items():
        found = at(here, name, "left.mlp", layer)
        told.append(
            f"{found['mean']!s} by their mean shift and {found['gaussian']!s} by the map of means "
            f"and covariances ({titles(chosen)[name]}, layer {layer})"
        )
    run.draw("left", replace(drawing, caption=(
        "Prompts without the property are moved onto those with it, and an MLP still tells them "
        f"from real ones with an AUROC of {list_words(told)}; 0.5 is nothing left to tell. Probes "
        "are trained on the moved prompts of the fit split and read on the test split; whiskers "
        "are 95% intervals."
    )))  # fmt: skip


# ------------------------------------------------------------------ steering
def draw_steered(
    run: ist.Run, found: pl.DataFrame, chosen: Mapping[str, int], strength: float
) -> None:
    """What each does as a steering vector or map, and what it costs."""
    panels = titles(chosen)
    rows = found.with_columns(
        _panel(panels),
        pl.col("of").replace_strict(STEERING).alias("label"),
        pl.col("matched").replace_strict(MATCHED).alias("setting"),
    )
    steered = [name for name in panels if name in found["property"]]
    layers = list_words([f"layer {chosen[name]} ({panels[name]})" for name in steered])
    about = (
        f"All act at {layers}, moved as far as {strength:g} times the difference in means, or at "
        "the divergence that this one costs on the select split. Held-out prompts; whiskers are "
        "95% intervals."
    )
    for quantity, (title, span) in SHARES.items():
        drawn = rows.filter(pl.col("quantity") == quantity)
        if drawn.is_empty():
            continue
        drawing = interval_dots(drawn, title, span=span)
        told = [_told(found, name, quantity, panels[name]) for name in steered]
        caption = f"{title[0].upper()}{title[1:]}: {'; '.join(told)}. {about}"
        run.draw(quantity, replace(drawing, caption=caption))


def _told(found: pl.DataFrame, name: str, quantity: str, title: str) -> str:
    """The difference in means, the best and the worst of the others, and chance, at one cost."""
    rows = found.filter(
        (pl.col("property") == name)
        & (pl.col("quantity") == quantity)
        & (pl.col("matched") == "kl")
    )
    said = {each["of"]: Interval.of(each) for each in rows.iter_rows(named=True)}
    if not said:
        return f"undefined for {title}"
    others = {of: value for of, value in said.items() if of not in (MEANS, RANDOM, RANDOM_MAP)}
    high, low = (pick(others, key=lambda of: others[of].value) for pick in (max, min))
    return (
        f"for {title} at equal divergence {said[MEANS]!s} by the difference in means, "
        f"{others[high]!s} by {STEERING[high]}, {others[low]!s} by {STEERING[low]}, "
        f"{said[RANDOM]!s} by random directions"
    )
