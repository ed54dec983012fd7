"""Compare the vector of one property in models of different sizes.

In each model the vector of an instruction is fitted at every layer. Models are compared by relative
depth (layer / (layers - 1)) and in units of the residual stream's norm:

- the AUROC of the projection of held-out prompts with and without the instruction;
- the vector's norm relative to the residual stream's norm;
- the share of answers that follow the instruction, without the text instruction, when the vector is
  added at equal relative strength (a share of the residual stream's norm) and at equal KL (nats per
  token along the answers to prompts without the instruction);
- the relative depth at which the answer that follows the instruction is most likely at equal KL,
  chosen on the select split and reported on the test split.

Random directions of the same norm are added for comparison. A model that cannot be loaded, or does
not follow the text instruction either, is left out with a note.
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
from interp_steer.statistics import Interval

CURVES = {
    "auroc": (
        "AUROC",
        "Probability that a held-out prompt with the instruction has a larger projection on the "
        "vector than a prompt without the instruction; 0.5 is chance. Bands of random directions "
        "are the range of 95%.",
    ),
    "relative_norm": (
        "relative norm",
        "Norm of the vector divided by the residual stream's root mean square norm.",
    ),
    "likelihood": (
        "share of log-probability gained",
        "Effect of the vector on the log-probability of the answer that follows the instruction, "
        "as a share of the text instruction's effect, at equal KL.",
    ),
}
"""Figures against the relative depth: the axis title and the caption."""


NOTES = {"model": pl.String, "instruction": pl.String, "note": pl.String}
"""Columns of the notes: the model, the instruction (null for all), and the reason."""


@dataclass(frozen=True)
class Config(Steering):
    """The models, the instructions and the sample sizes."""

    models: tuple[str, ...] = (
        "burattino-tiny",
        "burattino-small",
        "burattino-instruct",
        "burattino-gemma",
    )
    """Models to compare: bundled models, Hugging Face names, or folders."""
    instruction: tuple[str, ...] = ("change_case:english_capital",)
    """IFEval ids of the instructions whose vectors are compared."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 12
    """Prompts on which strengths are calibrated and the best depth is chosen."""
    n_test: int = 24
    """Held-out prompts on which results are reported."""


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
                    columns = {"model": pl.lit(name), "instruction": pl.lit(instruction)}
                    frames.append(rows.with_columns(**columns))
                    run.leave(study.vector, name=f"{name}.{instruction}")
                except (OptionError, RunError, InterventionError) as error:
                    notes.append((name, instruction, str(error)))
                bar.update()
    for name, instruction, reason in notes:
        print(f"note: {name}{f', {instruction}' if instruction else ''} is left out: {reason}")
    if not frames:
        raise OptionError(
            f"no model of {', '.join(config.models)} can be analysed; the first failed with: "
            f"{notes[0][2]}"
        )
    records = pl.concat(frames)
    run.write_records(records)
    run.write_records(pl.DataFrame(notes, schema=NOTES, orient="row"), "notes")
    run.leave(summary=summarise_models(records) | {"models": records["model"].n_unique()})
    draw_models(run, records, config)


# ------------------------------------------------------------------ all models
def select_best_layers(records: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of each model's best layer, and the rows without a layer."""
    by = ["model", "instruction"]
    best = records.filter(pl.col("quantity") == "best_depth").select(
        *by, pl.col("layer").alias("best")
    )
    known = records.join(best, on=by, maintain_order="left")
    return known.filter(pl.col("layer").is_null() | (pl.col("layer") == pl.col("best")))


def summarise_models(records: pl.DataFrame) -> dict[str, object]:
    """Return the numbers of every model at its best layer."""
    summary: dict[str, object] = {}
    for row in select_best_layers(records).iter_rows(named=True):
        parts = [row[part] for part in ("quantity", "setting", "strength") if row[part] is not None]
        name = ".".join([*parts, row["model"], row["instruction"]])
        summary[name] = Interval.of(row)
    return summary


def draw_models(run: ist.Run, records: pl.DataFrame, config: Config) -> None:
    """Draw curves against the relative depth and the strength, and the best layers."""
    known = records.filter(pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    for quantity, (title, about) in CURVES.items():
        rows = known.filter(pl.col("quantity") == quantity)
        if len(rows):
            drawing = model_curves(rows, "depth", "relative depth", title, about=about)
            run.draw(f"{quantity}_by_depth", drawing)
    steered = known.filter((pl.col("quantity") == "success") & pl.col("layer").is_not_null())
    title = "share of answers that follow"
    prompts = f"{config.n_test} held-out prompts without the text instruction"
    for (strength,), rows in steered.group_by("strength", maintain_order=True):
        amount = _describe_strength(str(strength))
        about = f"The vector is added at each layer at {amount}; {prompts}."
        drawing = model_curves(rows, "depth", "relative depth", title, about=about)
        run.draw(f"success_by_depth_{strength}", drawing)
    best = select_best_layers(known)
    amounts = pl.col("strength").str.strip_suffix("residual").cast(pl.Float64, strict=False)
    rows = best.filter(
        (pl.col("quantity") == "success") & pl.col("strength").str.ends_with("residual")
    ).with_columns(amounts.alias("amount"))
    if len(rows):
        about = f"The vector is added at the best layer of each model; {prompts}."
        unit = "norm added (of the residual stream's)"
        run.draw("success_by_strength", model_curves(rows, "amount", unit, title, about=about))
    _draw_best(run, best, str(ist.Strength(config.kl, "kl")))


def _draw_best(run: ist.Run, best: pl.DataFrame, strength: str) -> None:
    """Draw the best layer of each model: its depth, and the values at that layer."""
    panels = {
        "best_depth": "relative depth",
        "relative_norm": "vector's relative norm",
        "success": f"follow at {_describe_strength(strength)}",
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


def _describe_strength(strength: str) -> str:
    """Return a strength in words."""
    amount = ist.Strength.parse(strength)
    units = {"kl": "nats per token", "residual": "of the residual stream's norm"}
    return f"{amount.amount:g} {units[amount.unit]}"
