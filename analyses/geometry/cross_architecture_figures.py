"""Figures of vectors that move to another model: how well maps predict, how near, what they do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

import figures
import interp_steer as ist
from analyses.geometry.cross_architecture_prompts import ASKING
from analyses.geometry.cross_architecture_steering import (
    CONTROLS,
    OWN,
    RANDOM,
    UNMAPPED,
    against,
    mapped,
)
from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, p_text, short_names
from figures.style.interval_dots import interval_dots
from interp_steer.statistics.records import share_of

OUTCOMES = {"strict": "follows the instruction", "sound": "and is sound"}
"""What is asked of an answer: a column of the records, and what figures call it."""


@dataclass(frozen=True)
class Moves:
    """From where to where vectors moved, and by which maps that are drawn."""

    source: str
    target: str
    kind: str
    """The kind of map that is drawn for all prompts, and that random maps are of."""
    prompts: str
    """What the prompts ask for whose maps are drawn in all kinds."""
    read: str
    """Where activations are read."""

    # -------------------------------------------------------------- maps and directions
    def draw(self, run: ist.Run, quality: pl.DataFrame, directions: pl.DataFrame) -> None:
        """How well maps predict activations, and how near they bring vectors, by layer."""
        here = quality.filter(pl.col("read") == self.read)
        fitted = here.filter(pl.col("setting") == "fitted").with_columns(
            pl.format("{} prompts", "prompts").alias("panel"), pl.col("kind").alias("series")
        )
        run.draw("quality", self._curves(fitted, "held-out R²", self._of_maps(here)))
        names = short_names(directions["instruction"].unique(maintain_order=True).to_list())
        told = directions.filter(pl.col("read") == self.read).with_columns(
            pl.col("instruction").replace(names).alias("panel")
        )
        is_random, is_last = pl.col("setting") == RANDOM, pl.col("prompts") == self.prompts
        through, own = pl.col("kind") == self.kind, pl.col("setting") == OWN
        of_kind = pl.format("{}, {}", "kind", "prompts")
        series = pl.when(pl.col("setting") == "mapped").then(of_kind).otherwise("setting")
        told = told.with_columns(series.alias("series"))
        by_prompts = told.filter((through & (~is_random | is_last)) | own)
        by_kind = told.filter((is_last & (~is_random | through)) | own)
        for figure, frame, quantity, title in (
            ("cosine", by_prompts, "cosine", "cosine"),
            ("cosine_by_kind", by_kind, "cosine", "cosine"),
            ("auroc", by_prompts, "auroc", "AUROC"),
        ):
            rows = frame.filter(pl.col("quantity") == quantity)
            run.draw(figure, self._curves(rows, title, self._of_directions(rows, quantity)))

    @staticmethod
    def _curves(frame: pl.DataFrame, title: str, caption: str) -> Drawing:
        drawing = figures.interval_curves(
            frame, "layer", "layer of the target", title, chance=RANDOM
        )
        return replace(drawing, caption=caption)

    def _of_maps(self, quality: pl.DataFrame) -> str:
        fitted = quality.filter((pl.col("setting") == "fitted") & (pl.col("kind") == self.kind))
        said = [
            f"{_best(rows)} where prompts {ASKING[str(asked)]}"
            for (asked,), rows in fitted.group_by("prompts", maintain_order=True)
        ]
        random = quality.filter(pl.col("setting") == "random")["value"].to_numpy().max()
        return (
            f"Highest are, by {self.kind}, {list_words(said)}; no random map is above "
            f"{random:.2f}. Share of the squared distance of {self.target}'s activations from "
            f"their mean that maps from {self.source} predict, on shared prompts held out; bands "
            "are 95% intervals over prompts."
        )

    def _of_directions(self, rows: pl.DataFrame, quantity: str) -> str:
        said = []
        for (panel,), each in rows.group_by("panel", maintain_order=True):
            mine = each.filter(pl.col("setting") == "mapped")
            chance = each.filter(pl.col("setting") == RANDOM)
            best = mine.sort("value", descending=True).row(0, named=True)
            beside = chance.filter(pl.col("layer") == best["layer"])["value"].to_list()
            against = f", random maps {beside[0]:.2f}" if beside else ""
            said.append(f"{panel} {_best(mine)} ({best['series']}{against})")
        about = {
            "cosine": f"Cosine of {self.source}'s vectors, mapped, with {self.target}'s own",
            "auroc": "How often a held-out prompt with the instruction projects further along a "
            f"vector in {self.target} than one without; 0.5 is chance",
        }
        return (
            f"Highest are {list_words(said)}. {about[quantity]}. Bands are 95% intervals; those of "
            "random maps are of their mean."
        )


def _best(frame: pl.DataFrame) -> str:
    """The largest value, with its interval and layer."""
    row = frame.sort("value", descending=True).row(0, named=True)
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}] at layer {row['layer']}"


# ------------------------------------------------------------------ answers
def answers(records: pl.DataFrame, moves: Moves) -> Drawing:
    """What each setting achieves on the test split: shares that obey, and that do so soundly."""
    names = short_names(records["instruction"].unique(maintain_order=True).to_list())
    rows, said = [], []
    for name, panel in names.items():
        of = records.filter(pl.col("instruction") == name)
        by_setting = {
            str(setting): each for (setting,), each in of.group_by("setting", maintain_order=True)
        }
        for setting, each in by_setting.items():
            label = theme.SETTINGS[setting].label if setting in theme.SETTINGS else setting
            for outcome, series in OUTCOMES.items():
                found = share_of(each, outcome)
                rows.append((label, panel, series, found.value, found.low, found.high))
        told = mapped(moves.kind, moves.prompts)
        beside = [
            f"{setting} {interval_text(share_of(by_setting[setting], 'sound'))}"
            for setting in (OWN, *CONTROLS)
            if setting in by_setting
        ]
        tested = [
            f"{setting} {interval_text(share_of(each, 'sound'))} ({_against(of, setting)})"
            for setting, each in by_setting.items()
            if setting not in UNMAPPED and (setting == told or setting.endswith(moves.prompts))
        ]
        said.append(f"{panel}: {list_words(tested)}, {', '.join(beside)}")
    columns = ["label", "panel", "setting", "value", "low", "high"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    n = records.filter(pl.col("setting") == OWN).n_unique(["instruction", "key"]) // len(names)
    caption = (
        f"Sound are in {'. In '.join(said)}. Share of {moves.target}'s answers, n = {n} for each "
        f"instruction, under vectors of {moves.source}, mapped; p is the largest of McNemar's "
        "against each random map. An answer is sound that obeys and is neither degenerate nor "
        "garbled. Layers and strengths are chosen on other prompts; whiskers are 95% intervals."
    )
    return replace(interval_dots(frame, "share of answers"), caption=caption)


def _against(rows: pl.DataFrame, setting: str) -> str:
    p_values = against(rows, setting, RANDOM, "sound")
    return p_text(max(p_values)) if p_values else "not tested"
