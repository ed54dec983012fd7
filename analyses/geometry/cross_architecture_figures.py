"""Draw the transfer of vectors: the quality of maps, the mapped vectors, and the answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

import figures
import interp_steer as ist
from analyses.geometry.cross_architecture_prompts import PROMPT_SETS
from analyses.geometry.cross_architecture_steering import (
    CONTROLS,
    OWN,
    RANDOM,
    UNMAPPED,
    compute_p_values,
    name_mapped,
)
from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, p_text, short_names
from figures.style.interval_dots import interval_dots
from interp_steer.statistics import share_of

OUTCOMES = {"strict": "follows the instruction", "sound": "and is sound"}
"""Outcomes of an answer: the column of the records, and the name in figures."""


@dataclass(frozen=True)
class TransferFigures:
    """The two models, and the maps that figures show."""

    source: str
    target: str
    kind: str
    """The kind of map that is drawn for all sets of prompts, and of which random maps are drawn."""
    prompts: str
    """The set of prompts whose maps are drawn for all kinds."""
    read: str
    """Where activations are read."""

    # -------------------------------------------------------------- maps and directions
    def draw(self, run: ist.Run, quality: pl.DataFrame, directions: pl.DataFrame) -> None:
        """Draw the quality of maps and the scores of mapped vectors, by layer."""
        here = quality.filter(pl.col("read") == self.read)
        fitted = here.filter(pl.col("setting") == "fitted").with_columns(
            pl.format("{} prompts", "prompts").alias("panel"), pl.col("kind").alias("series")
        )
        run.draw("quality", self._curves(fitted, "held-out R²", self._of_maps(here)))
        names = short_names(directions["instruction"].unique(maintain_order=True).to_list())
        scores = directions.filter(pl.col("read") == self.read).with_columns(
            pl.col("instruction").replace(names).alias("panel")
        )
        is_random, is_last = pl.col("setting") == RANDOM, pl.col("prompts") == self.prompts
        through, own = pl.col("kind") == self.kind, pl.col("setting") == OWN
        of_kind = pl.format("{}, {}", "kind", "prompts")
        series = pl.when(pl.col("setting") == "mapped").then(of_kind).otherwise("setting")
        scores = scores.with_columns(series.alias("series"))
        by_prompts = scores.filter((through & (~is_random | is_last)) | own)
        by_kind = scores.filter((is_last & (~is_random | through)) | own)
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
        values = [
            f"{_describe_best(rows)} where prompts {PROMPT_SETS[str(asked)]}"
            for (asked,), rows in fitted.group_by("prompts", maintain_order=True)
        ]
        random = quality.filter(pl.col("setting") == "random")["value"].to_numpy().max()
        return (
            f"The highest values of {self.kind} maps are {list_words(values)}; no random map is "
            f"above {random:.2f}. Share of the variance of {self.target}'s activations that maps "
            f"from {self.source} explain, on held-out shared prompts; bands are 95% intervals over "
            "prompts."
        )

    def _of_directions(self, rows: pl.DataFrame, quantity: str) -> str:
        values = []
        for (panel,), scores in rows.group_by("panel", maintain_order=True):
            mapped_scores = scores.filter(pl.col("setting") == "mapped")
            chance = scores.filter(pl.col("setting") == RANDOM)
            best = mapped_scores.sort("value", descending=True).row(0, named=True)
            random = chance.filter(pl.col("layer") == best["layer"])["value"].to_list()
            control = f", random maps {random[0]:.2f}" if random else ""
            values.append(f"{panel} {_describe_best(mapped_scores)} ({best['series']}{control})")
        about = {
            "cosine": f"Cosine of {self.source}'s mapped vectors with {self.target}'s own vectors",
            "auroc": "Probability that a held-out prompt with the instruction has a larger "
            f"projection on a vector in {self.target} than a prompt without the instruction; 0.5 "
            "is chance",
        }
        return (
            f"The highest values are {list_words(values)}. {about[quantity]}. Bands are 95% "
            "intervals; the bands of random maps are for their mean."
        )


def _describe_best(frame: pl.DataFrame) -> str:
    """Return the largest value, with its interval and layer."""
    row = frame.sort("value", descending=True).row(0, named=True)
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}] at layer {row['layer']}"


# ------------------------------------------------------------------ answers
def draw_answers(records: pl.DataFrame, moves: TransferFigures) -> Drawing:
    """Draw the shares of answers that follow the instruction and are sound, by setting."""
    names = short_names(records["instruction"].unique(maintain_order=True).to_list())
    rows, values = [], []
    for name, panel in names.items():
        of = records.filter(pl.col("instruction") == name)
        by_setting = {
            str(setting): group for (setting,), group in of.group_by("setting", maintain_order=True)
        }
        for setting, group in by_setting.items():
            label = theme.SETTINGS[setting].label if setting in theme.SETTINGS else setting
            for outcome, series in OUTCOMES.items():
                share = share_of(group, outcome)
                rows.append((label, panel, series, share.value, share.low, share.high))
        drawn = name_mapped(moves.kind, moves.prompts)
        controls = [
            f"{setting} {interval_text(share_of(by_setting[setting], 'sound'))}"
            for setting in (OWN, *CONTROLS)
            if setting in by_setting
        ]
        tested = [
            f"{setting} {interval_text(share_of(group, 'sound'))} ({_describe_test(of, setting)})"
            for setting, group in by_setting.items()
            if setting not in UNMAPPED and (setting == drawn or setting.endswith(moves.prompts))
        ]
        values.append(f"{panel}: {list_words(tested)}, {', '.join(controls)}")
    columns = ["label", "panel", "setting", "value", "low", "high"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    n = records.filter(pl.col("setting") == OWN).n_unique(["instruction", "key"]) // len(names)
    caption = (
        f"Shares of sound answers: {'. '.join(values)}. {moves.target} answers under mapped "
        f"vectors of {moves.source}, n = {n} for each instruction; p is the largest of McNemar's "
        "p-values against the random maps. A sound answer follows the instruction and is "
        "neither degenerate nor garbled. Layers and strengths are chosen on other prompts; "
        "whiskers are 95% intervals."
    )
    return replace(interval_dots(frame, "share of answers"), caption=caption)


def _describe_test(rows: pl.DataFrame, setting: str) -> str:
    p_values = compute_p_values(rows, setting, RANDOM, "sound")
    return p_text(max(p_values)) if p_values else "not tested"
