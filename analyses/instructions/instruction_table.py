"""Tabulate four settings of several models, with published values (Stolfo et al. 2025).

This is the main table. Each model goes through the comparison of format_steering, which leaves its
own results folder; answers that this results root already holds are reused. The table shows the
strict and loose accuracy of every setting, including the norm-matched random direction, with the
paired gain over the setting's baseline and the share of degenerate answers. The published plot
replaced the steered answers to title and multiple_sections by unsteered answers. The table counts
in both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions import format_steering
from analyses.kit.answer_options import AnswerOptions
from analyses.kit.instruction_sets import FORMATS
from analyses.kit.parts import configure, run_once
from figures.published import BASELINES, OVERRIDDEN, OVERRIDE, as_plotted, reported
from interp_steer.statistics import Comparison, Interval, compare, share_of

SETTINGS = ("none", "random", "steered", "instruction", "both")
"""The rows of a model."""

COMPARED = {"random": "none", **BASELINES}
"""The baseline of the gain of each setting."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """Options of the table."""

    models: tuple[str, ...] = ("burattino-instruct", "burattino-gemma")
    """Models of the table: bundled models, Hugging Face names, or folders."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions to steer towards."""
    data: str | None = None
    """Source of IFEval's prompts for the test split; see layer_sweep."""
    layers: tuple[int, ...] | None = None
    """Layers to try. Default: every layer."""
    operations: tuple[str, ...] = ("project",)
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    search: Literal["whole", "early", "race"] = "whole"
    """How the search for layers saves work; see layer_sweep."""
    rule: Literal["paper", "interval"] = "interval"
    """Rule that chooses each instruction's layer on the select split; see format_steering."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    n_select: int = 16
    """Prompts on which each layer is tried."""
    n_test: int = 32
    """Prompts in the test split, on which results are reported."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ()
    """Further controls that each vector is compared with, in the results folder of each model."""


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    setting: str
    at: str
    """Empty, or the different way of counting, as the published table names it."""
    shares: Mapping[str, Interval]
    """Share of answers by outcome: strict, loose, degenerate."""
    gain: Comparison | None
    """Gain of loose accuracy over the baseline; None without a baseline."""
    published: float | None

    @property
    def name(self) -> str:
        """Return the name of the row in the summary."""
        return f"{self.setting}.overridden" if self.at else self.setting


def main(config: Config, run: ist.Run) -> None:
    """Compare the settings on each model in turn, and gather the results."""
    frames = []
    for model in config.models:
        made = configure(format_steering, config, model=model)
        records = run_once(run, format_steering, made).records()
        assert records is not None
        lines = lines_of(records, model)
        frames.append(frame(lines, model))
        run.leave(summary=numbers(lines, model))
    table = pl.concat(frames)
    run.write_records(table)
    run.draw("accuracy_of_models", figures.accuracy_table(table))


def lines_of(records: pl.DataFrame, model: str) -> list[Line]:
    """Return the rows of a model; each different way of counting follows the usual one."""
    published = reported(model, "format", "loose")
    plotted = as_plotted(records)
    differs = any(name.partition("?")[0] in OVERRIDDEN for name in records["instruction"].unique())
    lines = []
    for setting in SETTINGS:
        for at, counted in (("", records), (OVERRIDE, plotted)):
            if at and not (differs and setting in BASELINES):
                continue
            rows = counted.filter(pl.col("setting") == setting)
            if len(rows):
                value = published.get((setting, at))
                lines.append(_line(counted, rows, setting, at, value))
    return lines


def _line(
    counted: pl.DataFrame, rows: pl.DataFrame, setting: str, at: str, published: float | None
) -> Line:
    baseline = COMPARED.get(setting)
    gain = None if baseline is None else compare(counted, baseline, setting, "loose")
    shares = {name: share_of(rows, name) for name in ("strict", "loose", "degenerate")}
    return Line(setting, at, shares, gain, published)


def frame(lines: Sequence[Line], model: str) -> pl.DataFrame:
    """Return the rows of a model in the form of the figure and the records."""
    return pl.DataFrame([_row(line, model) for line in lines], schema=SCHEMA)


def _row(line: Line, model: str) -> dict[str, Any]:
    shares = dict(line.shares)
    if line.gain is not None:
        shares["gain"] = line.gain.difference
    test = line.gain.test if line.gain is not None else None
    return {
        "model": model,
        "setting": line.setting,
        "at": line.at,
        "published": line.published,
        **{name: i.value for name, i in shares.items()},
        **{f"{name}_low": i.low for name, i in shares.items()},
        **{f"{name}_high": i.high for name, i in shares.items()},
        **(
            {
                "p_value": test.p_value,
                "only_baseline": test.only_a,
                "only_setting": test.only_b,
                "n": test.n,
            }
            if test
            else {}
        ),
    }


SCHEMA = {
    "model": pl.String,
    "setting": pl.String,
    "at": pl.String,
    **{
        f"{name}{end}": pl.Float64
        for name in ("strict", "loose", "degenerate", "gain")
        for end in ("", "_low", "_high")
    },
    "published": pl.Float64,
    "p_value": pl.Float64,
    "only_baseline": pl.Int64,
    "only_setting": pl.Int64,
    "n": pl.Int64,
}
"""The columns of the table; see :func:`figures.accuracy_table`."""


def numbers(lines: Sequence[Line], model: str) -> dict[str, object]:
    """Return accuracies, gains and tests of a model, and differences from published values."""
    summary: dict[str, object] = {}
    for line in lines:
        name = f"{model}.{line.name}"
        summary[f"accuracy.{name}"] = line.shares["strict"]
        summary[f"loose_accuracy.{name}"] = line.shares["loose"]
        if line.gain is not None:
            summary[f"gain.{name}"] = line.gain.difference
            if line.gain.test is not None:
                summary[f"mcnemar_p.{name}"] = line.gain.test.p_value
        if line.published is not None:
            summary[f"over_published.{name}"] = line.shares["loose"].value - line.published
    return summary
