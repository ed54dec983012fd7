"""Measure whether a vector can be trusted: against chance, pairs, phrasings, models and time.

Every query is read once with every phrasing of the instruction, at the last token of the prompt, so
that the vector of any choice of pairs needs no further pass (Stolfo et al. 2025 fit on 24 to 100
pairs). At every layer:

1. the cosine of a vector with the vector of infinitely many such pairs, estimated by a bootstrap of
   the pairs and by split halves. The same estimate for shuffled labels is the comparison, as is the
   naive bootstrap, the cosine of resampled vectors with the vector itself;
2. the vector's norm, and the AUROC of held-out prompts along the vector, compared with pairs whose
   sides are swapped at random; and the share of sets with shuffled labels that these tests reject;
3. the cosine of two extractions from disjoint pairs (the effect of a seed), compared with the
   cosine that one extraction predicts from its split halves;
4. the cosine of vectors of two phrasings, and of the base and the tuned model, each from other
   queries, compared with two halves of the same set.

At one layer: cosines against the number of pairs, against the number of distinct queries behind the
same number of pairs, and against the number of requests in a prompt. Last, the projection on the
direction at each token of long answers: unsteered, steered, steered in a random direction, and with
the instruction in the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from tqdm import tqdm

import interp_steer as ist
from analyses.geometry.stability_drift import DRIFT, DriftSettings, measure_drift, read_steps
from analyses.geometry.stability_extractions import Extractions, cross_phrasings, sample_queries
from analyses.geometry.stability_figures import draw_curves, draw_drift
from analyses.geometry.stability_rows import (
    ALL_PAIRS,
    COLUMNS,
    Sizes,
    compare_with_base,
    count_rejections,
    fit_vector,
    measure_chosen_layer,
    measure_layers,
    select_at_layer,
    select_by_number,
)
from interp_steer.errors import OptionError
from interp_steer.statistics import bootstrap_mean, find_stable_size, holm


@dataclass(frozen=True)
class Config(Sizes):
    """The model, the instructions and the long answers."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    base: str | None = "burattino-base"
    """Base model that the model was tuned from, of the same shape. None skips the comparison."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "punctuation:no_comma",
    )
    """IFEval ids of the instructions whose vectors are tested."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    layer: int | None = None
    """Layer of the figures that are not drawn by layer, and of steering. By default the middle."""
    read_layer: int | None = None
    """Layer at which the projection of long answers is measured. By default three quarters of the
    model's depth."""
    operation: str = "project"
    """Operation that steers the long answers; see layer_sweep."""
    at_length: str = "Write at least 80 words."
    """Sentence appended to a request to get a long answer."""
    n_drift: int = 16
    """Long answers in each setting; 0 skips the long answers."""
    max_new_tokens: int = 128
    """Maximum number of new tokens of a long answer."""


def main(config: Config, run: ist.Run) -> None:
    """Read every instruction once, estimate the vector's stability, then generate long answers."""
    check_sizes(config)
    model = ist.load(config.model)
    layer = model.n_layers // 2 if config.layer is None else config.layer
    read_layer = 3 * model.n_layers // 4 if config.read_layer is None else config.read_layer
    for chosen in (layer, read_layer):
        ist.Site("resid_post", chosen).check(model.n_layers)
    base = load_base(config, model)
    run.used(model)
    frames, steps = [], []
    for name in tqdm(config.instruction, desc="stability", unit="instruction", disable=None):
        sampled = sample_queries(name, config.n_queries + config.n_drift, run.seed, config.data)
        queries, others = sampled[: config.n_queries], sampled[config.n_queries :]
        grid = cross_phrasings(name, queries, config.n_phrasings, run.seed)
        run.used(grid)
        extractions = Extractions.read(model, grid, config.n_fit)
        vector = fit_vector(model, extractions, config, run.seed)
        run.leave(vector, name=name)
        rows = [
            *measure_layers(model, extractions, config, run.seed),
            *measure_chosen_layer(model, extractions, queries, layer, config, run.seed),
        ]
        if base is not None:
            rows += compare_with_base(base, extractions, grid, vector, run.seed)
        instruction = pl.lit(name).alias("instruction")
        frames.append(pl.DataFrame(rows, orient="row", schema=COLUMNS).with_columns(instruction))
        if config.n_drift:
            settings = DriftSettings(
                config.operation, layer, read_layer, config.max_new_tokens, run.seed
            )
            phrasings = [pair.instruction_text for pair in extractions.pairs]
            plain = [f"{query} {config.at_length}" for query in others]
            instructed = [
                f"{text} {phrasings[number % len(phrasings)]}" for number, text in enumerate(plain)
            ]
            answers = read_steps(model, vector, plain, instructed, settings)
            steps.append(answers.with_columns(instruction))
    records = pl.concat(frames)
    run.write_records(records)
    leave_summary(run, records, layer, config)
    names = {"model": config.model, "base_model": config.base}
    draw_curves(run, records, layer, config, names)
    if steps:
        long_answers = pl.concat(steps)
        run.write_records(long_answers, "steps")
        leave_drift(run, long_answers)
        draw_drift(run, long_answers, read_layer)


def check_sizes(config: Config) -> None:
    """Refuse sizes that do not allow two disjoint extractions.

    Raises:
        OptionError: if the queries are fewer than twice the pairs, or a size is too small.
    """
    if max(config.n_fit, *config.n_pairs) * 2 > config.n_queries or min(config.n_pairs) < 1:
        raise OptionError(
            f"--n-queries {config.n_queries} is too small for two disjoint extractions of --n-fit "
            f"{config.n_fit} or --n-pairs {config.n_pairs}; give twice as many queries or more"
        )
    if config.n_fit < 4 or min(config.requests) < 1:
        raise OptionError(
            f"--n-fit {config.n_fit}, --requests {config.requests}: fit 4 pairs or more, and join "
            "1 request or more"
        )


def load_base(config: Config, model: ist.HookedLM) -> ist.HookedLM | None:
    """Load the base model; None without ``--base``.

    Raises:
        OptionError: if the base model has another shape.
    """
    if config.base is None:
        return None
    base = ist.load(config.base)
    if (base.n_layers, base.d_model) != (model.n_layers, model.d_model):
        raise OptionError(
            f"--base {base.describe()} does not have the shape of {model.describe()}; give the "
            "base model that it was tuned from, or --base None"
        )
    return base


# ------------------------------------------------------------------------------ summary
def leave_summary(run: ist.Run, records: pl.DataFrame, layer: int, config: Config) -> None:
    """Leave the numbers of the chosen layer by instruction, and of the tests."""
    run.leave(summary={"layer": layer, "instructions": len(config.instruction)})
    for name, part, series in (
        ("cosine", "cosine", "vector"),
        ("split_half", "seed", "foretold by one"),
        ("seed", "seed", "two extractions"),
        ("seed_norm", "seed_norm", "length beside the mean"),
        ("phrasing", "phrasing", "two phrasings, of all queries"),
        ("base", "base", "base with tuned, of all queries"),
    ):
        values = select_at_layer(records, part, series, layer)
        run.leave(summary={f"{name}.{instruction}": value for instruction, value in values.items()})
    for (instruction,), rows in records.group_by("instruction", maintain_order=True):
        pairs = select_by_number(rows, "pairs", ALL_PAIRS)
        run.leave(summary={f"pairs_enough.{instruction}": find_stable_size(pairs) or float("nan")})
        for part, series in (
            ("queries", f"{config.n_fit} pairs"),
            ("requests", ALL_PAIRS),
        ):
            for number, value in select_by_number(rows, part, series).items():
                run.leave(summary={f"{part}.{number}.{instruction}": value})
        for test in ("p_norm", "p_auroc"):
            p_values = rows.filter(pl.col("part") == test)["value"].to_list()
            run.leave(summary={f"{test}.{instruction}": max(holm(p_values))})
    for series, value in count_rejections(records, config.copies).items():
        run.leave(summary={f"rejected.{series}": value})


def leave_drift(run: ist.Run, steps: pl.DataFrame) -> None:
    """Leave how far projections move within long answers, and their means."""
    drift = {setting: measure_drift(steps, setting, run.seed) for setting in DRIFT}
    run.leave(summary={f"drift.{setting}": value for setting, value in drift.items()})
    for (name, setting), rows in steps.group_by("instruction", "setting", maintain_order=True):
        mean = bootstrap_mean(rows["scaled_projection"], rows["query"], seed=run.seed)
        run.leave(summary={f"projection.{setting}.{name}": mean})
