"""Make answers include or exclude a word (Stolfo et al. 2025, word experiments).

Each word has its own vector: the difference in means between requests that ask for the word and the
same requests without. The vector is added to include the word, and subtracted to exclude it. The
layer and the weight are chosen on the select split, for all words together. Candidates are the
settings that leave no more degenerate answers than the unsteered model gives. The candidate with
the most answers that succeed and are not garbled is chosen. The test split has other requests and
other words. Subtracting the inclusion vector is also compared with adding a vector that was fitted
on requests that forbid the word.

At the chosen layer the weight is then varied, without and with the text instruction, to measure the
gain in accuracy and the cost in answer quality. Last, answers are steered to exclude a word and to
follow a casing at the same time, each vector at its own layer.
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
from analyses.instructions.layer_search import choose_layers
from analyses.kit.answer_options import AnswerOptions, open_sweep_options
from analyses.kit.judges import judge_all, make_judge
from analyses.kit.operations import Steerer
from interp_steer.contrast import Pair
from interp_steer.contrast.instructions import CAPITAL, EXISTENCE, FORBIDDEN
from interp_steer.scoring import ifeval
from interp_steer.statistics import mcnemar, share_of
from interp_steer.sweeps import BROKEN, answer_cells, with_fluency

TASKS = {"inclusion": (EXISTENCE, "keywords"), "exclusion": (FORBIDDEN, "forbidden_words")}
"""The instruction of each task, and the argument that holds its words."""

Vectors = Callable[[str], ist.SteeringVector]
"""A function from a word to its vector."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """Options of the word experiments."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    layers: tuple[int, ...] | None = None
    """Layers to steer at. Default: every second layer of the upper half."""
    weights: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Weights of the vectors, in units of their own norm at the layer."""
    n_fit: int = 20
    """Requests on which each word's vector is fitted."""
    n_select: int = 16
    """Prompts, each with a word, on which settings are chosen."""
    n_test: int = 48
    """Prompts in the test split, on which results are reported."""
    casing: str = CAPITAL
    """IFEval id of the casing instruction to follow while a word is excluded."""
    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer towards the casing, of which the best is chosen; see layer_sweep."""
    judge: str = "world"
    """Judge of the quality of answers; see response_quality."""
    judge_key: str = "OPENAI_API_KEY"
    """Environment variable that holds the key of the judge's endpoint."""
    max_new_tokens: int = 112
    """Maximum number of new tokens per answer."""


@dataclass(frozen=True)
class Setting:
    """A way to steer by a word's vector."""

    source: str
    """The task on which the vector was fitted: inclusion or exclusion of the word."""
    layer: int
    weight: float
    """Weight in units of the norm of the vector; negative where the vector is subtracted."""

    @property
    def operation(self) -> str:
        """Return the name of the setting in figures."""
        return f"{'subtract' if self.weight < 0 else 'add'} the vector of {self.source}"


@dataclass(frozen=True, eq=False)
class WordSetup:
    """The models, the options and the run of the word experiments."""

    model: ist.HookedLM
    reference: ist.HookedLM
    """The model whose perplexity shows which answers are degenerate."""
    config: Config
    run: ist.Run
    options: Mapping[str, Any]
    """Options of :func:`interp_steer.sweep`."""


def main(config: Config, run: ist.Run) -> None:
    """Choose a setting for each task on the select split, and report it on the test split."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    run.used(model)
    tried, reported, varied = [], [], []
    with open_sweep_options(config, model, run) as options:
        setup = WordSetup(model, reference, config, run, options)
        for task in TASKS:
            chosen, vectors, pairs, searched = choose_setting(setup, task)
            tried.append(searched)
            run.leave(summary={f"layer.{task}": chosen.layer, f"weight.{task}": chosen.weight})
            reported.append(answer_test_split(setup, task, pairs, chosen, vectors))
            varied.append(vary_weight(setup, task, pairs, chosen, vectors))
        cased = combine_with_casing(setup, pairs.test, chosen, vectors)
    searched, records = pl.concat(tried), pl.concat(reported)
    weighed, _ = judge_all(
        pl.concat(varied).with_columns(pl.col("strength").fill_null(0.0)),
        make_judge(config, run, model),
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


def choose_setting(
    setup: WordSetup, task: str
) -> tuple[Setting, dict[str, Vectors], ist.ContrastSet, pl.DataFrame]:
    """Choose the setting of a task on the select split.

    Returns:
        The setting, the vectors by the task that they are fitted on, the contrast set of the task,
        and the records of the search.
    """
    config, (instruction, argument) = setup.config, TASKS[task]
    layers = config.layers or tuple(range(setup.model.n_layers // 2, setup.model.n_layers, 2))
    pairs = draw_single_word_requests(instruction, argument, config, setup.run.seed)
    setup.run.used(pairs)
    vectors = {
        source: fit_when_asked(setup.model, pairs.fit.queries, source == "exclusion", config.n_fit)
        for source in (["inclusion"] if task == "inclusion" else ["inclusion", "exclusion"])
    }
    settings = [
        Setting(source, layer, -weight if source != task else weight)
        for source in vectors
        for layer in layers
        for weight in config.weights
    ]
    search = steered_rows(settings, pairs.select, vectors, argument)
    records = answer_rows(setup, [*plain_rows(pairs.select), *search], task)
    candidates = records.filter(pl.col("setting") != "instruction")
    return best_setting(candidates, settings), vectors, pairs, records


def answer_test_split(
    setup: WordSetup,
    task: str,
    pairs: ist.ContrastSet,
    chosen: Setting,
    vectors: Mapping[str, Vectors],
) -> pl.DataFrame:
    """Answer the test split unsteered, in the chosen setting, and along random directions."""
    argument = TASKS[task][1]
    random = random_vectors(vectors, setup.run.seed)
    rows = [
        *plain_rows(pairs.test),
        *steered_rows([chosen], pairs.test, vectors, argument),
        *steered_rows([chosen], pairs.test, vectors, argument, instructed=True),
        *steered_rows([chosen], pairs.test, random, argument, "random"),
    ]
    return answer_rows(setup, rows, task)


def vary_weight(
    setup: WordSetup,
    task: str,
    pairs: ist.ContrastSet,
    chosen: Setting,
    vectors: Mapping[str, Vectors],
) -> pl.DataFrame:
    """Answer the test split at the chosen layer under every weight, without and with the text."""
    argument = TASKS[task][1]
    doses = [replace(chosen, weight=sign(chosen) * weight) for weight in setup.config.weights]
    rows = [
        *plain_rows(pairs.test),
        *steered_rows(doses, pairs.test, vectors, argument),
        *steered_rows(doses, pairs.test, vectors, argument, instructed=True),
    ]
    return answer_rows(setup, rows, task)


def draw_single_word_requests(
    instruction: str, argument: str, config: Config, seed: int
) -> ist.ContrastSet:
    """Draw requests from the bundled world, each about a single word."""
    wanted = config.n_select + config.n_test
    requests = ist.world.instruction(
        instruction, seed=seed, fit=config.n_fit, select=3 * config.n_select, test=3 * config.n_test
    )
    single = [pair for pair in requests if len(pair.kwargs[0][argument]) == 1]
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    selected = [
        pair for split, n in sizes.items() for pair in [p for p in single if p.split == split][:n]
    ]
    if len(selected) < wanted:
        raise ist.errors.ContrastError(f"{len(selected)} requests name one word; ask for fewer")
    return ist.ContrastSet(requests.name, tuple(selected))


def fit_when_asked(model: ist.HookedLM, queries: Sequence[str], exclude: bool, n: int) -> Vectors:
    """Return a function that fits the vector of a word when it is first asked for."""

    @cache
    def vector(word: str) -> ist.SteeringVector:
        return ist.fit(model, ist.contrast.word(word, queries, exclude=exclude, fit=n))

    return vector


def random_vectors(vectors: Mapping[str, Vectors], seed: int) -> dict[str, Vectors]:
    """Replace each word's vector by a random direction of the same norm."""

    def control(of: Vectors) -> Vectors:
        return lambda word: of(word).like_random(seed)

    return {source: control(of) for source, of in vectors.items()}


Rows = list[tuple[ist.Cell, Pair]]


def plain_rows(pairs: ist.ContrastSet) -> Rows:
    """Return every prompt without and with the text instruction, unsteered."""
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
    """Return every prompt in every setting, each steered by the vector of its own word."""

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


def answer_rows(setup: WordSetup, rows: Rows, task: str) -> pl.DataFrame:
    """Answer the rows and return their records; the column ``instruction`` holds the task."""
    answers = answer_cells(setup.model, rows, task, **setup.options)
    records = with_fluency(answers, setup.reference)
    return records.with_columns(pl.lit(task).alias("instruction"))


def best_setting(records: pl.DataFrame, settings: Sequence[Setting]) -> Setting:
    """Return the setting with the most answers that succeed and are neither degenerate nor garbled.

    As in the paper, only settings that leave no more degenerate answers than the unsteered model
    are candidates.
    """
    plain = records.filter(pl.col("setting") == "none")["degenerate"].sum()
    scores = (
        records.filter(pl.col("setting") == "steered")
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
    """Return 1 where the vector is added, and -1 where it is subtracted."""
    return 1.0 if setting.weight > 0 else -1.0


def combine_with_casing(
    setup: WordSetup, pairs: ist.ContrastSet, word: Setting, vectors: Mapping[str, Vectors]
) -> pl.DataFrame:
    """Exclude a word and follow a casing at once, each by its vector at its own layer.

    ``strict`` says whether an answer has the property that ``instruction`` names. Each answer
    occurs twice, once for each property.
    """
    casing, cased = choose_casing(setup)
    asked = [
        replace(
            pair,
            present=f"{pair.present} {casing.test[0].instruction_text}",
            instruction_ids=(*pair.instruction_ids, setup.config.casing),
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

    def check_both(pair: Pair, completion: ist.Completion) -> dict[str, Any]:
        return {
            name: ifeval.verify(completion.text, (known,), (kwargs,)).strict
            for name, known, kwargs in zip(
                ("word left out", "casing"), pair.instruction_ids, pair.kwargs, strict=True
            )
        }

    answers = answer_cells(setup.model, rows, both.name, score=check_both, **setup.options)
    records = with_fluency(answers, setup.reference)
    return pl.concat(
        records.with_columns(pl.lit(name).alias("instruction"), pl.col(name).alias("strict"))
        for name in ("word left out", "casing")
    )


def choose_casing(setup: WordSetup) -> tuple[ist.ContrastSet, ist.Intervention]:
    """Fit the vector of the casing, and choose its layer and operation on the select split.

    Returns:
        The contrast set of the casing, and the intervention that was chosen.
    """
    config, run = setup.config, setup.run
    casing = ist.world.instruction(config.casing, seed=run.seed, select=config.n_select, test=1)
    run.used(casing)
    steerer = Steerer.fit(
        setup.model,
        casing,
        config.operations,
        options=ist.capture.CaptureOptions(checkpoint=run.partial),
    )
    grid = [
        ist.Cell("none"),
        *(
            ist.Cell("steered", steerer.steering(layer, operation), layer, operation=operation)
            for operation in config.operations
            for layer in steerer.layers
        ),
    ]
    searched = with_fluency(
        ist.sweep(setup.model, grid, casing.select, **setup.options), setup.reference
    )
    picked = choose_layers(searched)[config.casing, False, "interval"]
    cased = ist.unsteered if picked.layer is None else steerer.steering(*picked.cell)
    steerer.leave(run, "casing")
    run.leave(summary={"layer.casing": picked.layer})
    return casing, cased


def both_properties(records: pl.DataFrame) -> dict[str, object]:
    """Return how often answers leave the word out, and follow the casing, by setting."""
    return {
        f"accuracy.{name}.{setting}": share_of(rows, "strict")
        for (name, setting), rows in records.group_by("instruction", "setting", maintain_order=True)
    }


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Return the accuracy of each task and setting, its damage, and paired tests."""
    numbers: dict[str, object] = {}
    for (task,), rows in records.group_by("instruction", maintain_order=True):
        by_setting = {
            setting: rows.filter(pl.col("setting") == setting)
            for setting in rows["setting"].unique(maintain_order=True)
        }
        for setting, frame in by_setting.items():
            numbers[f"accuracy.{task}.{setting}"] = share_of(frame, "strict")
            for broken in ("degenerate", "garbled"):
                numbers[f"{broken}.{task}.{setting}"] = share_of(frame, broken)
        for first, second in (("steered", "none"), ("steered", "random"), ("both", "instruction")):
            test = mcnemar(
                by_setting[first]["strict"].to_list(), by_setting[second]["strict"].to_list()
            )
            numbers[f"mcnemar_p.{task}.{first}_over_{second}"] = test.p_value
    return numbers
