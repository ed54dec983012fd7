"""Can a vector be trusted? How sure it is, against chance, pairs, phrasings, models and time.

Every query is read with every phrasing of the instruction in one pass, at the last token of the
prompt, so that any choice of pairs has its vector without another pass (Stolfo et al. 2025 read 24
to 100 pairs). Layer by layer:

1. the cosine of a vector with the one that infinitely many such pairs would give, by a bootstrap of
   its pairs and by split halves; what the bootstrap would say as it is usually read, and of
   shuffled labels, stands beside;
2. its length, and how well it tells held-out prompts apart, against pairs whose sides are swapped
   at random; and how often that test rejects pairs whose labels really were shuffled;
3. two extractions from disjoint pairs (what a seed changes), beside what one of them foretells;
4. vectors of two phrasings, and of the base and the tuned model, each from other queries than the
   other, beside the ceiling that halves of one and the same set.

At one layer, against the number of pairs; against the number of distinct queries behind as many
pairs; and against the number of requests in a prompt. Last, the projection on the direction at each
token of long answers: unsteered, steered, steered in a random direction, and asked in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.geometry.stability_drift import WINDOW, by_step, change, smoothed
from analyses.geometry.stability_extractions import Extractions, base_queries, crossed
from analyses.geometry.stability_rows import (
    ALL_PAIRS,
    COLUMNS,
    COPIES,
    LEVELS,
    SINGLE,
    Sizes,
    at_layer,
    by_layer,
    fitted,
    from_base,
)
from figures.geometry.reliability import cosines_by_number
from figures.style.drawing import list_words, short_names
from interp_steer.errors import RunError
from interp_steer.statistics.intervals import Interval, bootstrap_mean, wilson
from interp_steer.statistics.paired import holm
from interp_steer.statistics.sample_size import find_stable_size

DRIFT = {
    "none": "unsteered",
    "random": "under a random direction",
    "steered": "under the vector",
    "instruction": "with the instruction in context",
}
"""The settings in which long answers are followed."""

UNDRAWN = ("vector, by split halves", "vector, resampled", "base with tuned, of all queries")
"""Series that would lie under others: the caption tells them."""


@dataclass(frozen=True)
class Config(Sizes):
    """What is extracted, and how it is tried."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    base: str | None = "burattino-base"
    """The model that it was tuned from, of the same shape; none leaves the comparison out."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "punctuation:no_comma",
    )
    """IFEval ids of the instructions whose vectors are looked at."""
    data: str | None = None
    """IFEval's requests; see layer_sweep. Those of the bundled world when not given."""
    layer: int | None = None
    """Layer of what is not drawn by layer, and where steering acts; the middle when not given."""
    read_layer: int | None = None
    """Layer at which steered answers are read; three quarters up when not given."""
    operation: str = "project"
    """How answers are steered; see layer_sweep."""
    at_length: str = "Write at least 80 words."
    """What requests for long answers say besides."""
    n_drift: int = 16
    """Long answers in each setting; 0 for none."""
    max_new_tokens: int = 128
    """Where they are cut."""


def main(config: Config, run: ist.Run) -> None:
    """Read every instruction once, then ask of the rows; then answer at length."""
    check(config)
    model = ist.load(config.model)
    layer = model.n_layers // 2 if config.layer is None else config.layer
    read_layer = 3 * model.n_layers // 4 if config.read_layer is None else config.read_layer
    for one in (layer, read_layer):
        ist.Site("resid_post", one).check(model.n_layers)
    base = None if config.base is None else ist.load(config.base)
    if base is not None and (base.n_layers, base.d_model) != (model.n_layers, model.d_model):
        raise RunError(
            f"--base {base.describe()} has not the shape of {model.describe()}; name its own"
        )
    run.used(model)
    frames, steps = [], []
    for name in tqdm(config.instruction, desc="stability", unit="instruction", disable=None):
        asked = base_queries(name, config.n_queries + config.n_drift, run.seed, config.data)
        queries, others = asked[: config.n_queries], asked[config.n_queries :]
        grid = crossed(name, queries, config.n_phrasings, run.seed)
        run.used(grid)
        found = Extractions.read(model, grid, config.n_fit)
        vector = fitted(model, found, config, run.seed)
        run.leave(vector, name=name)
        rows = [
            *by_layer(model, found, config, run.seed),
            *at_layer(model, found, queries, layer, config, run.seed),
        ]
        if base is not None:
            rows += from_base(base, found, grid, vector, run.seed)
        instruction = pl.lit(name).alias("instruction")
        frames.append(pl.DataFrame(rows, orient="row", schema=COLUMNS).with_columns(instruction))
        if config.n_drift:
            said = [
                found.pairs[number % len(found.pairs)].instruction_text
                for number in range(len(others))
            ]
            at_length = [f"{query} {config.at_length}" for query in others]
            answers = by_step(
                model,
                vector,
                at_length,
                [f"{text} {words}" for text, words in zip(at_length, said, strict=True)],
                operation=config.operation,
                layer=layer,
                read_layer=read_layer,
                max_new_tokens=config.max_new_tokens,
                seed=run.seed,
            )
            steps.append(answers.with_columns(instruction))
    records = pl.concat(frames)
    run.write_records(records)
    leave(run, records, layer, config)
    draw(run, records, layer, config)
    if steps:
        followed = pl.concat(steps)
        run.write_records(followed, "steps")
        leave_drift(run, followed, read_layer)


def check(config: Config) -> None:
    """Refuse sizes that no two disjoint extractions can be drawn from."""
    if max(config.n_fit, *config.n_pairs) * 2 > config.n_queries or min(config.n_pairs) < 1:
        raise RunError(
            f"--n-queries {config.n_queries} cannot give two disjoint extractions of --n-fit "
            f"{config.n_fit} or --n-pairs {config.n_pairs}; read twice as many queries or more"
        )
    if config.n_fit < 4 or min(config.requests) < 1:
        raise RunError(
            f"--n-fit {config.n_fit}, --requests {config.requests}: fit 4 pairs or more, and join "
            "1 request or more"
        )


# ------------------------------------------------------------------------------ what is left
def leave(run: ist.Run, records: pl.DataFrame, layer: int, config: Config) -> None:
    """The numbers of one layer, instruction by instruction, and of the tests."""
    run.leave(summary={"layer": layer, "instructions": len(config.instruction)})
    for name, part, series in (
        ("cosine", "cosine", "vector"),
        ("split_half", "seed", "foretold by one"),
        ("seed", "seed", "two extractions"),
        ("seed_norm", "seed_norm", "length beside the mean"),
        ("phrasing", "phrasing", "two phrasings, of all queries"),
        ("base", "base", "base with tuned, of all queries"),
    ):
        here = at(records, part, series, layer)
        run.leave(summary={f"{name}.{instruction}": value for instruction, value in here.items()})
    for (instruction,), rows in records.group_by("instruction", maintain_order=True):
        pairs = numbered(rows, "pairs", ALL_PAIRS)
        run.leave(summary={f"pairs_enough.{instruction}": find_stable_size(pairs) or float("nan")})
        for part, series in (
            ("queries", f"{config.n_fit} pairs"),
            ("requests", ALL_PAIRS),
        ):
            for number, value in numbered(rows, part, series).items():
                run.leave(summary={f"{part}.{number}.{instruction}": value})
        for test in ("p_norm", "p_auroc"):
            p_values = rows.filter(pl.col("part") == test)["value"].to_list()
            run.leave(summary={f"{test}.{instruction}": max(holm(p_values))})
    for series, value in rejections(records, config.copies).items():
        run.leave(summary={f"rejected.{series}": value})


def at(records: pl.DataFrame, part: str, series: str, layer: int) -> dict[str, Interval]:
    """The number of one series at a layer, by instruction."""
    rows = records.filter(
        (pl.col("part") == part) & (pl.col("series") == series) & (pl.col("layer") == layer)
    )
    return {row["instruction"]: Interval.of(row) for row in rows.iter_rows(named=True)}


def numbered(records: pl.DataFrame, part: str, series: str) -> dict[int, Interval]:
    """The numbers of one series along its axis."""
    rows = records.filter((pl.col("part") == part) & (pl.col("series") == series)).sort("at")
    return {row["at"]: Interval.of(row) for row in rows.iter_rows(named=True)}


def rejections(records: pl.DataFrame, copies: int) -> dict[str, Interval]:
    """The share of shuffled copies that each test rejects at 5 %, over all instructions."""
    rows = records.filter((pl.col("part") == "calibration") & (pl.col("at") == 5))
    return {
        str(series): wilson(round(float((each["value"] * copies).sum())), copies * len(each))
        for (series,), each in rows.group_by("series", maintain_order=True)
    }


def leave_drift(run: ist.Run, steps: pl.DataFrame, read_layer: int) -> None:
    """How far projections move within long answers, and their curves."""
    moved = {setting: change(steps, setting, run.seed) for setting in DRIFT}
    run.leave(summary={f"drift.{setting}": value for setting, value in moved.items()})
    said = [f"{value!s} {DRIFT[setting]}" for setting, value in moved.items()]
    for (name,), rows in steps.group_by("instruction", maintain_order=True):
        mean = {
            setting: bootstrap_mean(each["scaled_projection"], each["query"], seed=run.seed)
            for (setting,), each in rows.group_by("setting", maintain_order=True)
        }
        run.leave(
            summary={f"projection.{setting}.{name}": value for setting, value in mean.items()}
        )
        levels = [f"{value!s} {DRIFT[str(setting)]}" for setting, value in mean.items()]
        caption = (
            f"In the mean over its tokens an answer projects {list_words(levels)}. Over all "
            f"instructions it moves by {list_words(said)} from the first to the last third of an "
            "answer. Projection of the residual stream on the direction of "
            f"{short_names([str(name)])[str(name)]} at layer {read_layer}, in answers to "
            f"{rows['query'].n_unique()} requests for long ones: at the last token of the prompt, "
            f"and in the mean over {WINDOW} steps, drawn at the last of them. 0 and 1 are the "
            "means of prompts without and with the instruction. Bands are 95% intervals."
        )
        drawing = figures.step_curves(smoothed(rows), "scaled_projection")
        run.draw(f"drift_{name}", replace(drawing, caption=caption))


# ------------------------------------------------------------------------------ what is drawn
def draw(run: ist.Run, records: pl.DataFrame, layer: int, config: Config) -> None:
    """The figures, each with what it shows at the one layer."""
    names = short_names(list(config.instruction))
    records = records.filter(pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    records = records.with_columns(pl.col("instruction").replace_strict(names).alias("panel"))
    over = (
        f" Of {len(names)} instructions the least and the largest value are told, with the "
        "outermost ends of their intervals."
        if len(names) > 1
        else ""
    )

    def told(part: str, series: str) -> str:
        return _range(list(at(records, part, series, layer).values()))

    def last(part: str, series: str) -> str:
        ends = records.filter(pl.col("at") == max(config.requests))
        return _range(list(at(ends, part, series, layer).values()))

    def curves(
        name: str, caption: str, *, x: str = "layer", y: str = "cosine", chance: str | None = None
    ) -> None:
        rows = records.filter((pl.col("part") == name) & ~pl.col("series").is_in(UNDRAWN))
        if len(rows):
            axis = "requests in a prompt" if x == "at" else x
            drawing = figures.interval_curves(rows, x, axis, y, chance=chance)
            run.draw(name, replace(drawing, caption=caption + over))

    draws = f"{config.n_fit} pairs"
    curves("cosine", (
        f"At layer {layer} the cosine of a vector of {draws} with that of infinitely many such "
        f"pairs is {told('cosine', 'vector')}, and by split halves "
        f"{told('cosine', 'vector, by split halves')}. For shuffled labels it is "
        f"{told('cosine', 'shuffled labels')}, with an interval that begins above 0 in "
        f"{told('taken', 'shuffled labels')} of all copies; the usual reading of a bootstrap, the "
        "cosine of resampled vectors with the vector itself, takes its error for signal and is "
        f"{told('cosine', 'shuffled labels, resampled')} there. Bands are 95% intervals; of "
        f"shuffled labels, the range of 95% of {COPIES} copies."
    ), chance="shuffled labels")  # fmt: skip
    curves("norm", (
        f"At layer {layer} a vector of {draws} is {told('norm', 'vector')} times as long as those "
        f"of the same pairs with their sides swapped at random. Band: the range of 95% of "
        f"{config.draws - 1} swaps."
    ), y="relative length", chance="swapped sides")  # fmt: skip
    curves("auroc", (
        f"At layer {layer} the AUROC of prompts of other queries and other phrasings along the "
        f"vector is {told('auroc', 'vector')}; with sides swapped at random, of those that are "
        f"fitted and those that are held out, {told('auroc', 'swapped sides')}. Bands: 95% "
        f"intervals, and the range of 95% of {config.draws - 1} swaps."
    ), y="AUROC", chance="swapped sides")  # fmt: skip
    curves("seed", (
        f"At layer {layer} two extractions of {draws}, none of them shared, have a cosine of "
        f"{told('seed', 'two extractions')}; the split halves of one foretell "
        f"{told('seed', 'foretold by one')}. Bands: the range of 95% of {config.repeats} couples "
        "of extractions, and the jackknife's 95% interval."
    ))  # fmt: skip
    curves("phrasing", (
        f"At layer {layer} the vectors of two phrasings, each of {config.n_queries // 2} queries "
        f"that the other has not seen, have a cosine of {told('phrasing', 'two phrasings')}; of "
        f"one phrasing, {told('phrasing', 'one phrasing')}. Of infinitely many queries it would "
        f"be {told('phrasing', 'two phrasings, of all queries')}. Means over all couples of "
        f"{config.n_phrasings} phrasings; bands are jackknife 95% intervals over queries, for "
        "these phrasings."
    ))  # fmt: skip
    curves("base", (
        f"At layer {layer} the vectors of {config.base} and {config.model}, of other queries each, "
        f"have a cosine of {told('base', 'base with tuned')}, where the halves of either have "
        f"{told('base', 'each with itself')}; of infinitely many queries it would be "
        f"{told('base', 'base with tuned, of all queries')}. Bands are jackknife 95% intervals; "
        "of the random direction, the range of 95%."
    ), chance="random direction")  # fmt: skip
    curves("requests", (
        f"With {max(config.requests)} requests in a prompt a vector of {draws} has a cosine of "
        f"{last('requests', ALL_PAIRS)} with that of infinitely many such pairs; of infinitely "
        f"many pairs it has {last('requests', SINGLE)} with that of single requests. Layer "
        f"{layer}; bands are 95% intervals."
    ), x="at")  # fmt: skip
    by_number(run, records, "pairs", "pairs", (
        f"Cosines of vectors of N pairs of as many queries, at layer {layer}: with the vector of "
        "infinitely many (measured with that of all other queries), with that of N other pairs, "
        f"and what {draws} foretell. Bands: the range of 95% of {config.repeats} draws of pairs."
    ))  # fmt: skip
    by_number(run, records, "queries", "distinct queries", (
        f"Cosine with the vector of infinitely many queries, at layer {layer}: of {draws}, each "
        "query being said in as many ways as it takes, and of one pair for each query. Bands: the "
        f"range of 95% of {config.repeats} draws of queries."
    ))  # fmt: skip
    rates = [f"{value} by {series}" for series, value in rejections(records, config.copies).items()]
    draw_calibration(run, records, (
        f"Of {config.copies} copies with shuffled labels for each of {len(names)} instructions, "
        f"the permutation test at 5% rejects {list_words(rates)}. Share of copies that are "
        f"rejected at each level, at layer {layer}; bands are Wilson's 95% intervals, by "
        "instruction."
    ))  # fmt: skip


def draw_calibration(run: ist.Run, records: pl.DataFrame, caption: str) -> None:
    """Rejections against the level, with the level itself."""
    rows = records.filter(pl.col("part") == "calibration")
    asked = [(pl.col("at") / 100).alias(column) for column in ("value", "low", "high")]
    first = rows.filter(pl.col("series") == rows["series"][0])
    level = first.with_columns(pl.lit("level").alias("series"), *asked)
    drawing = figures.interval_curves(
        pl.concat([rows, level]), "at", "level (%)", "share rejected", chance="level"
    )
    drawing.figure.update_xaxes(tickvals=LEVELS)
    run.draw("calibration", replace(drawing, caption=caption))


def by_number(run: ist.Run, records: pl.DataFrame, part: str, what: str, about: str) -> None:
    """Cosines against a number that doubles."""
    rows = records.filter(pl.col("part") == part)
    run.draw(part, cosines_by_number(rows, "at", what, about=about))


def _range(found: Sequence[Interval]) -> str:
    """The least and the largest of some estimates, with the outermost ends of their intervals."""
    if not found:
        return "undefined"
    values = [one.value for one in found]
    low, high = min(one.low for one in found), max(one.high for one in found)
    said = " to ".join(dict.fromkeys(f"{end:.3g}" for end in (min(values), max(values))))
    exact = all(one.low == one.value == one.high for one in found)
    return said if exact else f"{said} [{low:.3g}, {high:.3g}]"
