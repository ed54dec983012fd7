"""The same property in models of different sizes: at which relative depth, how long, how strong?

In each model the vector of an instruction is fitted at every layer, and compared with those of the
other models by relative depth (layer / (layers - 1)) and in units of the residual stream's length:

- how well its projection tells held-out prompts with the instruction from those without;
- how long it is beside the residual stream;
- how often answers obey, without the text instruction, when it is added at equal relative strength
  (a share of the residual stream's length) and at equal KL (nats a token along the answers to
  prompts that ask for nothing);
- the relative depth at which the obedient answer becomes likeliest at equal KL, chosen on the
  select split and reported on the test split.

Random directions are added beside, of the same length. A model that cannot be asked, because it is
not there or does not obey the text instruction either, is a note and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from tqdm import tqdm

import interp_steer as ist
from analyses.geometry.model_scale_study import SCHEMA, Steering, Study
from analyses.kit.instruction_sets import contrast_sets
from figures.geometry.model_curves import model_curves
from figures.style.drawing import short_names
from figures.style.interval_dots import interval_dots
from interp_steer.errors import InterpSteerError, InterventionError, OptionError, RunError
from interp_steer.statistics.intervals import Interval

CURVES = {
    "auroc": (
        "AUROC",
        "How often a held-out prompt with the instruction projects further along the vector than "
        "one without; 0.5 is chance. Of random directions the range of 95% is drawn.",
    ),
    "relative_norm": (
        "relative norm",
        "Length of the vector in units of the residual stream's root mean square length.",
    ),
    "likelihood": (
        "share of log-probability gained",
        "Share of the text instruction's effect on the log-probability of the obedient answer that "
        "the vector has, at equal KL.",
    ),
}
"""What is drawn against the relative depth beside success: its axis and its caption."""


NOTES = {"model": pl.String, "instruction": pl.String, "note": pl.String}
"""Which model was left out, for which instruction, or null for all of them, and why."""


@dataclass(frozen=True)
class Config(Steering):
    """What is compared, and how often."""

    models: tuple[str, ...] = (
        "burattino-tiny",
        "burattino-small",
        "burattino-instruct",
        "burattino-gemma",
    )
    """Bundled models, Hugging Face names, or folders."""
    instruction: tuple[str, ...] = ("change_case:english_capital",)
    """IFEval ids of the instructions to steer towards."""
    data: str | None = None
    """IFEval's prompts to report on; see layer_sweep."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 12
    """Prompts that strengths are measured on, and the best depth is chosen on."""
    n_test: int = 24
    """Prompts that are reported."""


def main(config: Config, run: ist.Run) -> None:
    """Measure each model in turn, then compare."""
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(*sets.values())
    ledger = ist.Ledger(run.answers)
    frames, notes = [], []
    with tqdm(total=len(config.models) * len(sets), desc="models", disable=None) as bar:
        for name in config.models:
            try:
                model = ist.load(name)
            except InterpSteerError as error:
                notes.append((name, None, str(error)))
                bar.update(len(sets))
                continue
            run.used(model)
            for instruction, pairs in sets.items():
                try:
                    study = Study.of(model, pairs, config, ledger, run.partial)
                    rows = pl.DataFrame(list(study.rows(run.seed)), schema=SCHEMA)
                    told = {"model": pl.lit(name), "instruction": pl.lit(instruction)}
                    frames.append(rows.with_columns(**told))
                    run.leave(study.vector, name=f"{name}.{instruction}")
                except (OptionError, RunError, InterventionError) as error:
                    notes.append((name, instruction, str(error)))
                bar.update()
    for name, instruction, reason in notes:
        print(f"note: {name}{f', {instruction}' if instruction else ''} is left out: {reason}")
    if not frames:
        raise OptionError(
            f"none of {', '.join(config.models)} can be asked; the first says: {notes[0][2]}"
        )
    records = pl.concat(frames)
    run.write_records(records)
    run.write_records(pl.DataFrame(notes, schema=NOTES, orient="row"), "notes")
    run.leave(summary=numbers(records) | {"models": records["model"].n_unique()})
    draw(run, records, config)


# ------------------------------------------------------------------ all models
def at_best(records: pl.DataFrame) -> pl.DataFrame:
    """The rows of each model's best layer, and those of no layer."""
    by = ["model", "instruction"]
    best = records.filter(pl.col("quantity") == "best_depth").select(
        *by, pl.col("layer").alias("best")
    )
    known = records.join(best, on=by, maintain_order="left")
    return known.filter(pl.col("layer").is_null() | (pl.col("layer") == pl.col("best")))


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """What every model does at its best layer."""
    found: dict[str, object] = {}
    for row in at_best(records).iter_rows(named=True):
        parts = [row[part] for part in ("quantity", "setting", "strength") if row[part] is not None]
        name = ".".join([*parts, row["model"], row["instruction"]])
        found[name] = Interval.of(row)
    return found


def draw(run: ist.Run, records: pl.DataFrame, config: Config) -> None:
    """Curves against the relative depth and the strength, and the best layers side by side."""
    known = records.filter(pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    for quantity, (title, about) in CURVES.items():
        rows = known.filter(pl.col("quantity") == quantity)
        if len(rows):
            drawing = model_curves(rows, "depth", "relative depth", title, about=about)
            run.draw(f"{quantity}_by_depth", drawing)
    steered = known.filter((pl.col("quantity") == "success") & pl.col("layer").is_not_null())
    title = "share of answers that obey"
    asked = f"{config.n_test} held-out prompts do not ask for it in words"
    for (strength,), rows in steered.group_by("strength", maintain_order=True):
        about = f"Answers under the vector added at each layer at {_said(str(strength))}; {asked}."
        drawing = model_curves(rows, "depth", "relative depth", title, about=about)
        run.draw(f"success_by_depth_{strength}", drawing)
    best = at_best(known)
    amounts = pl.col("strength").str.strip_suffix("residual").cast(pl.Float64, strict=False)
    rows = best.filter(
        (pl.col("quantity") == "success") & pl.col("strength").str.ends_with("residual")
    ).with_columns(amounts.alias("amount"))
    if len(rows):
        about = f"Answers under the vector added at the best layer of each model; {asked}."
        unit = "length added (of the residual stream's)"
        run.draw("success_by_strength", model_curves(rows, "amount", unit, title, about=about))
    _draw_best(run, best, str(ist.Strength(config.kl, "kl")))


def _draw_best(run: ist.Run, best: pl.DataFrame, strength: str) -> None:
    """The best layer of each model: where it is, and what is there."""
    panels = {
        "best_depth": "relative depth",
        "relative_norm": "vector's relative norm",
        "success": f"obey at {_said(strength)}",
    }
    names = short_names(best["instruction"].unique(maintain_order=True).to_list())
    rows = best.filter(
        pl.col("quantity").is_in(list(panels))
        & pl.col("setting").is_in(["vector", "random"])
        & (pl.col("strength").is_null() | (pl.col("strength") == strength))
    ).with_columns(
        pl.col("quantity").replace(panels).alias("panel"),
        pl.col("model").alias("label"),
        pl.col("instruction").replace(names).alias("group"),
    )
    order = {panel: at for at, panel in enumerate(panels.values())}
    rows = rows.sort(pl.col("panel").replace_strict(order), maintain_order=True)
    grouped = "group" if len(names) > 1 else None
    run.draw("best_layers", interval_dots(rows, "share", group=grouped))


def _said(strength: str) -> str:
    """A strength in words."""
    amount = ist.Strength.parse(strength)
    units = {"kl": "nats a token", "residual": "of the residual stream's length"}
    return f"{amount.amount:g} {units[amount.unit]}"
