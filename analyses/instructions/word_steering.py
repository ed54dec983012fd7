"""Making an answer use a word, and keeping it from one (Stolfo et al. 2025, word experiments).

Each word has a vector of its own: the difference in means between requests that ask for the word
and the same requests without. To include the word the vector is added; to exclude it, subtracted.
The layer and the weight are chosen on the select split for all words together: of the settings that
leave no more degenerate answers than the plain model gives, the one with most answers that succeed
and are not garbled. The test split has other requests and other words. Subtracting the inclusion
vector is also compared with adding a vector that was fitted on requests that forbid the word.

At the chosen layer the weight is then varied, without and with the text instruction: what it buys
in accuracy, and what it costs in the quality of answers. Last, a word is kept out and a casing is
kept to at once, each by a vector at its own layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions.layer_sweep import choose
from analyses.kit.answer_options import AnswerOptions, asking
from analyses.kit.judges import judge_all, judge_of
from analyses.kit.operations import Steerer
from interp_steer.contrast.instructions.registry import CAPITAL, EXISTENCE, FORBIDDEN
from interp_steer.contrast.pair import Pair
from interp_steer.scoring import ifeval
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import share_of
from interp_steer.sweeps.damage import BROKEN, with_fluency
from interp_steer.sweeps.grid import answer_cells

TASKS = {"inclusion": (EXISTENCE, "keywords"), "exclusion": (FORBIDDEN, "forbidden_words")}
"""The instruction of each task, and the argument that holds its words."""

Vectors = Callable[[str], ist.SteeringVector]
"""From a word to its vector."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """What is tried."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    layers: tuple[int, ...] | None = None
    """Layers to steer at; every other one of the upper half when not given."""
    weights: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Weights of the vectors, in units of their own norm at the layer."""
    n_fit: int = 20
    """Requests that each word's vector is fitted on."""
    n_select: int = 16
    """Prompts, each with a word, that settings are chosen on."""
    n_test: int = 48
    """Prompts that are reported."""
    casing: str = CAPITAL
    """IFEval id of the instruction that is followed while a word is kept out."""
    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer towards the casing; see layer_sweep."""
    judge: str = "world"
    """Who judges the quality of answers; see response_quality."""
    judge_key: str = "OPENAI_API_KEY"
    """The environment variable that holds the key of the judge's endpoint."""
    max_new_tokens: int = 112
    """Where an answer is cut."""


@dataclass(frozen=True)
class Setting:
    """A way to steer by a word's vector."""

    source: str
    """What the vector was fitted on: inclusion or exclusion of the word."""
    layer: int
    weight: float
    """Negative where the vector is subtracted; in units of its norm."""

    @property
    def operation(self) -> str:
        """How figures call it."""
        return f"{'subtract' if self.weight < 0 else 'add'} the vector of {self.source}"


def main(config: Config, run: ist.Run) -> None:
    """Choose a setting for each task on the select split, report it on the test split."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    run.used(model)
    layers = config.layers or tuple(range(model.n_layers // 2, model.n_layers, 2))
    tried, reported, varied = [], [], []
    with asking(config, model, run) as options:
        for task, (instruction, argument) in TASKS.items():
            pairs = one_word(instruction, argument, config, run.seed)
            run.used(pairs)
            vectors = {
                source: fitted(model, pairs.fit.queries, source == "exclusion", config.n_fit)
                for source in (["inclusion"] if task == "inclusion" else ["inclusion", "exclusion"])
            }
            settings = [
                Setting(source, layer, -weight if source != task else weight)
                for source in vectors
                for layer in layers
                for weight in config.weights
            ]
            search = steered_rows(settings, pairs.select, vectors, argument)
            found = answers(model, [*plain_rows(pairs.select), *search], reference, options, task)
            tried.append(found)
            chosen = best(found.filter(pl.col("setting") != "instruction"), settings, task)
            run.leave(summary={f"layer.{task}": chosen.layer, f"weight.{task}": chosen.weight})
            rows = [
                *plain_rows(pairs.test),
                *steered_rows([chosen], pairs.test, vectors, argument),
                *steered_rows([chosen], pairs.test, vectors, argument, instructed=True),
                *steered_rows(
                    [chosen], pairs.test, controls(vectors, run.seed), argument, "random"
                ),
            ]
            reported.append(answers(model, rows, reference, options, task))
            doses = [replace(chosen, weight=sign(chosen) * weight) for weight in config.weights]
            rows = [
                *plain_rows(pairs.test),
                *steered_rows(doses, pairs.test, vectors, argument),
                *steered_rows(doses, pairs.test, vectors, argument, instructed=True),
            ]
            varied.append(answers(model, rows, reference, options, task))
        cased = beside_casing(model, reference, pairs.test, chosen, vectors, config, run, options)
    searched, records = pl.concat(tried), pl.concat(reported)
    weighed, _ = judge_all(
        pl.concat(varied).with_columns(pl.col("strength").fill_null(0.0)),
        judge_of(config, run, model),
    )
    for name, frame in (
        ("", records),
        ("search", searched),
        ("weights", weighed),
        ("casing", cased),
    ):
        run.write_records(frame, *([name] if name else []))
    run.leave(summary=accuracies(records) | both_properties(cased))
    run.draw("accuracy_by_task", figures.instruction_bars(records))
    run.draw("accuracy_against_damage", figures.damage_scatter(searched))
    run.draw("weight_and_quality", figures.weight_curves(weighed))
    run.draw("casing_and_exclusion", figures.instruction_bars(cased))


def one_word(instruction: str, argument: str, config: Config, seed: int) -> ist.ContrastSet:
    """Requests of the world, each with the one word that its instruction is about."""
    wanted = config.n_select + config.n_test
    drawn = ist.world.instruction(
        instruction, seed=seed, fit=config.n_fit, select=3 * config.n_select, test=3 * config.n_test
    )
    single = [pair for pair in drawn if len(pair.kwargs[0][argument]) == 1]
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    kept = [
        pair for split, n in sizes.items() for pair in [p for p in single if p.split == split][:n]
    ]
    if len(kept) < wanted:
        raise ist.errors.ContrastError(f"{len(kept)} requests name one word; ask for fewer")
    return ist.ContrastSet(drawn.name, tuple(kept))


def fitted(model: ist.HookedLM, queries: Sequence[str], exclude: bool, n: int) -> Vectors:
    """The vector of any word, fitted when it is first asked for."""

    @cache
    def vector(word: str) -> ist.SteeringVector:
        return ist.fit(model, ist.contrast.word(word, queries, exclude=exclude, fit=n))

    return vector


def controls(vectors: Mapping[str, Vectors], seed: int) -> dict[str, Vectors]:
    """A random direction of the same norm in place of each word's vector."""

    def control(of: Vectors) -> Vectors:
        return lambda word: of(word).like_random(seed)

    return {source: control(of) for source, of in vectors.items()}


Rows = list[tuple[ist.Cell, Pair]]


def plain_rows(pairs: ist.ContrastSet) -> Rows:
    """Every prompt without and with the text instruction, unsteered."""
    cells = (ist.Cell("none"), ist.Cell("instruction", instructed=True))
    return [(cell, pair) for cell in cells for pair in pairs]


def steered_rows(
    settings: Sequence[Setting],
    pairs: ist.ContrastSet,
    vectors: Mapping[str, Vectors],
    argument: str,
    name: str = "steered",
    instructed: bool = False,
) -> Rows:
    """Every prompt in every setting, each steered by the vector of its own word."""

    def rows() -> Iterator[tuple[ist.Cell, Pair]]:
        for setting in settings:
            for pair in tqdm(pairs, desc="fit words", unit="word", leave=False, disable=None):
                (word,) = pair.kwargs[0][argument]
                direction = vectors[setting.source](word).at(setting.layer)
                yield (
                    ist.Cell(
                        "both" if instructed else name,
                        direction.add(setting.weight * float(direction.vector.norm())),
                        setting.layer,
                        instructed,
                        draw=0 if name == "random" else None,
                        strength=setting.weight,
                        operation=setting.operation,
                    ),
                    pair,
                )

    return list(rows())


def answers(
    model: ist.HookedLM,
    rows: Rows,
    reference: ist.HookedLM,
    options: Mapping[str, Any],
    task: str,
) -> pl.DataFrame:
    """The records of rows, ``instruction`` being the task."""
    records = with_fluency(answer_cells(model, rows, task, **options), reference)
    return records.with_columns(pl.lit(task).alias("instruction"))


def best(found: pl.DataFrame, settings: Sequence[Setting], task: str) -> Setting:
    """The setting with most answers that succeed and are neither degenerate nor garbled.

    Of those that leave no more degenerate answers than the plain model, as in the paper.
    """
    plain = found.filter(pl.col("setting") == "none")["degenerate"].sum()
    scores = (
        found.filter(pl.col("setting") == "steered")
        .group_by("operation", "layer", "strength")
        .agg(
            (pl.col("strict") & ~BROKEN).sum(),
            pl.col("degenerate").sum(),
            BROKEN.sum().alias("broken"),
        )
    )
    by_setting = {row[:3]: row[3:] for row in scores.iter_rows()}

    def score(setting: Setting) -> tuple[bool, int, int]:
        sound, degenerate, unfit = by_setting[setting.operation, setting.layer, setting.weight]
        fluent = degenerate <= plain
        return fluent, sound if fluent else 0, -unfit

    return max(settings, key=score)


def sign(setting: Setting) -> float:
    """1 where the vector is added, -1 where it is subtracted."""
    return 1.0 if setting.weight > 0 else -1.0


def beside_casing(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    pairs: ist.ContrastSet,
    word: Setting,
    vectors: Mapping[str, Vectors],
    config: Config,
    run: ist.Run,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Keep a word out and a casing at once, each by its vector at its own layer.

    The casing's vector acts at the layer, and under the operation, that the select split chooses
    for it. ``strict`` says whether an answer has the property that ``instruction`` names: each
    answer is there twice.
    """
    casing = ist.world.instruction(config.casing, seed=run.seed, select=config.n_select, test=1)
    run.used(casing)
    steerer = Steerer.fit(
        model, casing, config.operations, options=ist.capture.CaptureOptions(checkpoint=run.partial)
    )
    grid = [
        ist.Cell("none"),
        *(
            ist.Cell("steered", steerer.steering(layer, how), layer, operation=how)
            for how in config.operations
            for layer in steerer.layers
        ),
    ]
    searched = with_fluency(ist.sweep(model, grid, casing.select, **options), reference)
    picked = choose(searched)[config.casing, False, "interval"]
    cased = ist.unsteered if picked.layer is None else steerer.steering(*picked.cell)
    steerer.leave(run, "casing")
    run.leave(summary={"layer.casing": picked.layer})
    asked = [
        replace(
            pair,
            present=f"{pair.present} {casing.test[0].instruction_text}",
            instruction_ids=(*pair.instruction_ids, config.casing),
            kwargs=(*pair.kwargs, casing.test[0].kwargs[0]),
        )
        for pair in pairs
    ]
    both = ist.ContrastSet("casing and exclusion", tuple(asked))
    rows = [
        (replace(cell, steering=cell.steering + cased) if cell.steering.edits else cell, pair)
        for cell, pair in [
            *plain_rows(both),
            *steered_rows([word], both, vectors, "forbidden_words"),
            *steered_rows([word], both, vectors, "forbidden_words", instructed=True),
        ]
    ]

    def each(pair: Pair, completion: ist.Completion) -> dict[str, Any]:
        return {
            name: ifeval.verify(completion.text, (known,), (kwargs,)).strict
            for name, known, kwargs in zip(
                ("word left out", "casing"), pair.instruction_ids, pair.kwargs, strict=True
            )
        }

    found = with_fluency(answer_cells(model, rows, both.name, score=each, **options), reference)
    return pl.concat(
        found.with_columns(pl.lit(name).alias("instruction"), pl.col(name).alias("strict"))
        for name in ("word left out", "casing")
    )


def both_properties(records: pl.DataFrame) -> dict[str, object]:
    """How often a word is left out, and the casing kept to, by setting."""
    return {
        f"accuracy.{name}.{setting}": share_of(rows, "strict")
        for (name, setting), rows in records.group_by("instruction", "setting", maintain_order=True)
    }


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Accuracy of each task and setting, its damage, and paired tests."""
    numbers: dict[str, object] = {}
    for (task,), rows in records.group_by("instruction", maintain_order=True):
        of = {
            setting: rows.filter(pl.col("setting") == setting)
            for setting in rows["setting"].unique(maintain_order=True)
        }
        for setting, frame in of.items():
            numbers[f"accuracy.{task}.{setting}"] = share_of(frame, "strict")
            for broken in ("degenerate", "garbled"):
                numbers[f"{broken}.{task}.{setting}"] = share_of(frame, broken)
        for one, other in (("steered", "none"), ("steered", "random"), ("both", "instruction")):
            test = mcnemar(of[one]["strict"].to_list(), of[other]["strict"].to_list())
            numbers[f"mcnemar_p.{task}.{one}_over_{other}"] = test.p_value
    return numbers
