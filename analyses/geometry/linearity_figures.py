"""Draw the figures of linearity, each with its main values in the caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

import figures
import interp_steer as ist
from analyses.geometry.linearity_equal_damage import MEANS, RANDOM_MAP
from analyses.geometry.linearity_readouts import (
    CHECKING_PROBES,
    LABELS,
    LINEAR,
    MOVES,
    OTHERS,
    RANDOM,
    select_values,
)
from figures.geometry.pair_shifts import pair_shifts
from figures.style.drawing import list_words, short_names
from figures.style.interval_dots import interval_dots
from interp_steer.statistics import Interval

CURVES = (MEANS, "pca_centred", "lda", "gaussian", "mlp", RANDOM)
"""Readouts that are drawn layer by layer; the others are drawn at one layer."""

MATCHED = {"norm": "at equal displacement", "kl": "at equal divergence"}
"""Names of the settings in which all ways to steer are compared."""

STEERING = {
    **LABELS,
    "mlp": "MLP, mean gradient",
    "coordinates": "map, axis by axis",
    "gaussian": "map, covariances",
    RANDOM_MAP: "random map",
}
"""Names of the ways to steer in figures."""

KINDS = {"logistic": "linear probe", "mlp": "MLP"}

SHARES = {
    "obeys": ("share of answers that follow", (0.0, 1.0)),
    "recovered": ("share of the text's gain in log-probability", None),
    "kl": ("divergence (nats per token)", None),
    "broken": ("share of degenerate or garbled answers", (0.0, 1.0)),
}
"""Figures of steering by quantity: the axis title and the range of the axis."""


def draw_readings(
    run: ist.Run, records: pl.DataFrame, shifts: pl.DataFrame, chosen: Mapping[str, int]
) -> None:
    """Draw the separation by readouts, the cosines of directions, and what remains after maps."""
    panels = name_panels(chosen)
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
    draw_remaining(run, here, chosen)
    run.draw("shifts", pair_shifts(shifts.with_columns(_add_panel(panels))))


def name_panels(names: Mapping[str, int]) -> dict[str, str]:
    """Return the names of the properties in panels."""
    return short_names(list(names))


def _add_panel(panels: Mapping[str, str]) -> pl.Expr:
    return pl.col("property").replace_strict(panels).alias("panel")


def draw_auroc(
    run: ist.Run, records: pl.DataFrame, here: pl.DataFrame, chosen: Mapping[str, int]
) -> None:
    """Draw the AUROC of some readouts by layer, and of all readouts at one layer."""
    values = []
    for name, layer in chosen.items():
        aurocs = select_values(records, name, "auroc", layer)
        linear = [aurocs[of].value for of in LINEAR if of != "pca_centred"]
        values.append(
            f"{min(linear):.2f} to {max(linear):.2f} for linear readouts, {aurocs['mlp']!s} for "
            f"the MLP, {aurocs['pca_centred']!s} for the centred axis and {aurocs[RANDOM]!s} for "
            f"random directions ({name_panels(chosen)[name]}, layer {layer})"
        )
    caption = (
        f"The AUROC is {list_words(values)}. Held-out prompts with and without the property, with "
        "other requests and phrasings than in the fit"
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
    """Draw the MLP's gain over the best linear readout, and the control's gain, layer by layer."""
    gains = []
    for name, layer in chosen.items():
        ((of, gain),) = select_values(records, name, "gain", layer).items()
        (control,) = select_values(records, name, "gain_control", layer).values()
        gains.append(
            f"{_format_gain(gain)} above that of the {LABELS[of]}, and {_format_gain(control)} "
            "above a linear probe's on the same prompts minus their mean shift "
            f"({name_panels(chosen)[name]}, layer {layer})"
        )
    series = {"gain": "property", "gain_control": "minus its mean shift (control)"}
    drawn = records.filter(pl.col("quantity").is_in(list(series))).with_columns(
        pl.col("quantity").replace_strict(series).alias("series")
    )
    drawing = figures.interval_curves(
        drawn, "layer", "layer", "MLP's gain in AUROC", chance=series["gain_control"]
    )
    run.draw("gain", replace(drawing, caption=(
        f"The AUROC of the MLP is {list_words(gains)}. Held-out prompts; the linear readout at "
        "each layer is the one with the highest AUROC on the select split. In the control the mean "
        "shift is removed, so that only non-linear structure remains; its gain shows what the MLP "
        "can find. Bands are 95% intervals."
    )))  # fmt: skip


def _format_gain(gain: Interval) -> str:
    """Format an interval; a value that rounds to 0 is written without a minus sign."""
    return str(replace(gain, value=round(gain.value, 3) + 0.0))


def draw_cosines(run: ist.Run, here: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """Draw the cosine of each direction with the difference in means."""
    rows = here.filter(pl.col("quantity") == "cosine").with_columns(
        pl.col("of").replace_strict(STEERING).alias("label")
    )
    drawing = interval_dots(rows, "cosine with the difference in means")
    values = []
    for name, layer in chosen.items():
        cosines = select_values(here, name, "cosine", layer)
        values.append(
            f"PCA {cosines['pca']!s}, centred {cosines['pca_centred']!s}, and LDA "
            f"{cosines['lda']!s} ({name_panels(chosen)[name]}, layer {layer})"
        )
    run.draw("cosine", replace(drawing, caption=(
        f"Cosine with the difference in means: {list_words(values)}. The centred axis is the "
        "principal axis of the differences after their mean is subtracted. Whiskers are jackknife "
        "95% intervals over pairs, with the chosen penalties."
    )))  # fmt: skip


def draw_remaining(run: ist.Run, here: pl.DataFrame, chosen: Mapping[str, int]) -> None:
    """Draw the AUROC of probes between moved prompts and real prompts."""
    frames = [
        here.filter((pl.col("quantity") == f"left.{kind}") & (pl.col("of") == move)).with_columns(
            label=pl.lit(label), setting=pl.lit(KINDS[kind])
        )
        for move, label in MOVES.items()
        for kind in CHECKING_PROBES
    ]
    drawing = interval_dots(pl.concat(frames), "AUROC after the map")
    values = []
    for name, layer in chosen.items():
        remaining = select_values(here, name, "left.mlp", layer)
        values.append(
            f"{remaining['mean']!s} after the mean shift and {remaining['gaussian']!s} after the "
            f"map of means and covariances ({name_panels(chosen)[name]}, layer {layer})"
        )
    run.draw("left", replace(drawing, caption=(
        "Prompts without the property are mapped to prompts with the property. The AUROC of an "
        f"MLP between mapped and real prompts is {list_words(values)}; 0.5 is chance. Probes are "
        "trained on the mapped prompts of the fit split and measured on the test split; whiskers "
        "are 95% intervals."
    )))  # fmt: skip


# ------------------------------------------------------------------ steering
def draw_steering(
    run: ist.Run, outcomes: pl.DataFrame, chosen: Mapping[str, int], strength: float
) -> None:
    """Draw the effect and the damage of each steering vector and map."""
    panels = name_panels(chosen)
    rows = outcomes.with_columns(
        _add_panel(panels),
        pl.col("of").replace_strict(STEERING).alias("label"),
        pl.col("matched").replace_strict(MATCHED).alias("setting"),
    )
    steered = [name for name in panels if name in outcomes["property"]]
    layers = list_words([f"layer {chosen[name]} ({panels[name]})" for name in steered])
    about = (
        f"All steer at {layers}, with a displacement of {strength:g} times the difference in "
        "means, or at the KL divergence that the difference in means has on the select split. "
        "Held-out prompts; whiskers are 95% intervals."
    )
    for quantity, (title, span) in SHARES.items():
        drawn = rows.filter(pl.col("quantity") == quantity)
        if drawn.is_empty():
            continue
        drawing = interval_dots(drawn, title, span=span)
        values = [_describe_outcome(outcomes, name, quantity, panels[name]) for name in steered]
        caption = f"{title[0].upper()}{title[1:]}: {'; '.join(values)}. {about}"
        run.draw(quantity, replace(drawing, caption=caption))


def _describe_outcome(outcomes: pl.DataFrame, name: str, quantity: str, title: str) -> str:
    """Describe the difference in means, the best and worst others, and chance, at equal KL."""
    rows = outcomes.filter(
        (pl.col("property") == name)
        & (pl.col("quantity") == quantity)
        & (pl.col("matched") == "kl")
    )
    values = {row["of"]: Interval.of(row) for row in rows.iter_rows(named=True)}
    if not values:
        return f"undefined for {title}"
    others = {of: value for of, value in values.items() if of not in (MEANS, RANDOM, RANDOM_MAP)}
    high, low = (pick(others, key=lambda of: others[of].value) for pick in (max, min))
    return (
        f"for {title} at equal divergence {values[MEANS]!s} with the difference in means, "
        f"{others[high]!s} with {STEERING[high]}, {others[low]!s} with {STEERING[low]}, "
        f"{values[RANDOM]!s} with random directions"
    )
