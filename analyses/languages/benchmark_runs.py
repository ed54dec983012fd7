"""Ask a model, steered and not, the tasks of lm-evaluation-harness; record a row per question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

import interp_steer as ist
from analyses.kit.answer_options import open_sweep_options
from analyses.languages import base
from analyses.languages.base import STEPS, LanguageConfig, scheduled_cell, target_of
from interp_steer.contrast import ParallelItem
from interp_steer.errors import OptionError
from interp_steer.interventions import Intervention
from interp_steer.models import BUNDLED_NAMES
from interp_steer.statistics import mcnemar, paired_difference
from interp_steer.sweeps import Cell

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

LIKELIHOOD, GENERATED = "log_likelihood", "generation"
"""The ways to ask a benchmark."""


@dataclass(frozen=True)
class Benchmark:
    """Task of lm-eval, and the way to ask it."""

    name: str
    """Its name in figures, the same for every way to ask it."""
    task: str
    """A task or a group of tasks."""
    fewshot: int = 0
    """Number of worked examples before each question, as on the open Italian leaderboard."""
    continued: bool = False
    """Whether the task is a text to continue, which is never put into a chat template."""


@dataclass(frozen=True)
class Benchmarked(LanguageConfig):
    """Options of steering a model and of asking it benchmarks."""

    others: tuple[str, ...] = ("en-it",)
    """More contrasts, each with its own vector."""
    schedule: str = "diminishing(30)"
    """Schedule of the strength; see interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (1.5,)
    """Strengths, in multiples of the vector. If several are given, the best on the select split is
    taken."""
    rule: str = "sound"
    """Rule that chooses a strength; see language_steering."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    tasks: tuple[str, ...] | None = None
    """Tasks or groups of lm-eval. Default: tasks about the bundled world for a bundled model, and
    tasks of the hub for any other."""
    limit: int | None = 50
    """Number of questions of each task; all when None."""
    template: Literal["generated", "all", "none"] = "generated"
    """Questions to put into the chat template of a model that has one: those answered by
    generation, all, or none. Leaderboards do not use the template with log-likelihoods."""


@dataclass(frozen=True)
class Setting:
    """Model under one intervention, to be asked."""

    name: str
    """Name, such as original or steered IT-IT."""
    steering: Intervention = ist.unsteered
    """The intervention."""
    positive: str | None = None
    """The contrast of the vector, or of the vector whose norms a random direction has."""
    strength: float | None = None
    """The strength, in multiples of the vector."""
    draw: int | None = None
    """The number of the random direction."""
    pairs: ist.ContrastSet | None = None
    """The pairs on which the vector was fitted; no benchmark may ask them."""


def choose_benchmarks(
    config: Benchmarked, bundled: Sequence[Benchmark], hub: Sequence[Benchmark]
) -> list[Benchmark]:
    """Return the benchmarks of a config; known tasks are asked in the known way.

    Raises:
        OptionError: for a task that lm-eval does not know.
    """
    if config.tasks is None:
        return list(bundled if config.model in BUNDLED_NAMES else hub)
    known = {one.task: one for one in (*bundled, *hub)}
    benchmarks = [known.get(task, Benchmark(task, task)) for task in config.tasks]
    task_manager(benchmarks)
    return benchmarks


def settings(config: Benchmarked, model: ist.HookedLM, run: ist.Run) -> list[Setting]:
    """Return the original model, and each vector with random directions of the same norms."""
    items = base.read_items(config, run.seed)
    wanted = [Setting("original")]
    for positive in (*config.others, config.positive):
        pairs = base.language_set(config, items, run.seed, positive)
        run.used(model, pairs)
        vector = ist.fit_steps(model, pairs, n_steps=STEPS)
        run.leave(vector, f"{model.name}.{positive}")
        strength = choose_strength(config, model, vector, pairs, items, run)
        schedule = ist.schedules.parse(config.schedule)
        for draw in range(config.draws):
            control = vector.like_random(run.seed + draw).shift(strength, schedule)
            wanted.append(Setting("random", control, positive, strength, draw))
        steer = vector.shift(strength, schedule)
        wanted.append(
            Setting(f"steered {positive.upper()}", steer, positive, strength, None, pairs)
        )
    return wanted


def choose_strength(
    config: Benchmarked,
    model: ist.HookedLM,
    vector: ist.SteppedVector,
    pairs: ist.ContrastSet,
    items: Sequence[ParallelItem],
    run: ist.Run,
) -> float:
    """Return the only strength of a config, or the best on the select split."""
    if len(config.strengths) == 1:
        return config.strengths[0]
    schedule = ist.schedules.parse(config.schedule)
    grid = [scheduled_cell("steered", vector, strength, schedule) for strength in config.strengths]
    with open_sweep_options(config, model, run) as options:
        tried = base.record_answers(
            model,
            [Cell("none"), *grid],
            pairs.select,
            target_of(config.positive),
            items,
            ist.load(config.reference),
            **options,
        )
    return base.best_cell(tried, config.rule)[1]


def ask(
    model: ist.HookedLM,
    wanted: Sequence[Setting],
    benchmarks: Sequence[Benchmark],
    config: Benchmarked,
    seed: int,
) -> pl.DataFrame:
    """Ask benchmarks of a model in several settings.

    Args:
        model: the model.
        wanted: the settings.
        benchmarks: the benchmarks.
        config: the number of questions, and the template.
        seed: seed of lm-eval's draws.

    Returns:
        A row for each question and setting: the ``task`` and its ``benchmark``, ``how`` it was
        asked, the ``prompt``, the ``answer`` (for log-likelihoods the most likely option), whether
        it is ``correct`` (by ``acc_norm`` where a task has it, else ``acc``), ``in_language`` and
        ``parses`` (null where they cannot be determined), and the intervention.

    Raises:
        OptionError: for tasks that lm-eval does not know, whose data is not on this machine, or
            that have no accuracy.
        ContrastError: when a vector was fitted on a question of a benchmark.
    """
    from interp_steer import harness

    steered: Any = harness.SteeredLM  # lm-eval's decorator hides its arguments
    tasks = task_manager(benchmarks)
    rows: list[dict[str, Any]] = []
    for setting in wanted:
        lm = steered(model, setting.steering, batch_size=config.batch_size)
        for benchmark in benchmarks:
            columns = {
                "weights": model.name,
                "setting": setting.name,
                "positive": setting.positive,
                "strength": setting.strength,
                "draw": setting.draw,
                "applied": lm.applied,
                "benchmark": benchmark.name,
                "asked_for": benchmark.task,
            }
            samples = _evaluate(lm, benchmark, config, seed, tasks)
            if setting.pairs is not None:
                ist.contrast.languages.check_disjoint(setting.pairs, _texts(samples))
            rows += [columns | row for row in _rows(samples)]
    return pl.DataFrame(rows, schema=SCHEMA)


SCHEMA = {
    "weights": pl.String,
    "setting": pl.String,
    "positive": pl.String,
    "strength": pl.Float64,
    "draw": pl.Int64,
    "benchmark": pl.String,
    "asked_for": pl.String,
    "task": pl.String,
    "how": pl.String,
    "key": pl.String,
    "query": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "correct": pl.Boolean,
    "in_language": pl.Boolean,
    "parses": pl.Boolean,
    "applied": pl.String,
}
"""The columns of the records of :func:`ask`."""


def task_manager(benchmarks: Sequence[Benchmark]) -> TaskManager:
    """Load our tasks, and lm-eval's own only where they are asked: to read them takes seconds.

    Raises:
        OptionError: for an unknown task.
    """
    wanted = {one.task for one in benchmarks}
    ours = _tasks(with_defaults=False)
    if wanted <= set(ours.all_tasks):
        return ours
    whole = _tasks(with_defaults=True)
    if unknown := sorted(wanted - set(whole.all_tasks)):
        raise OptionError(
            f"lm-eval has no task {', '.join(unknown)}; `python -m interp_steer.harness ls tasks` "
            "lists them all"
        )
    return whole


@cache
def _tasks(*, with_defaults: bool) -> TaskManager:
    from lm_eval.tasks import TaskManager

    from interp_steer.harness import TASKS

    return TaskManager(include_path=str(TASKS), include_defaults=with_defaults)


def _evaluate(
    lm: Any, benchmark: Benchmark, config: Benchmarked, seed: int, tasks: TaskManager
) -> Mapping[str, list[dict[str, Any]]]:
    """Run a benchmark, and return what lm-eval stores of every question, by task."""
    import lm_eval

    evaluate: Any = lm_eval.simple_evaluate  # imported lazily, which hides its arguments
    generated = benchmark.task.endswith("_gen")
    templated = config.template == "all" or (config.template == "generated" and generated)
    has_template = getattr(lm.tokenizer, "chat_template", None) is not None
    try:
        results = evaluate(
            model=lm,
            tasks=[benchmark.task],
            task_manager=tasks,
            num_fewshot=benchmark.fewshot,
            apply_chat_template=templated and has_template and not benchmark.continued,
            limit=config.limit,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except ConnectionError as error:
        raise OptionError(
            f"the data of {benchmark.task} is not on this machine ({error}); connect it to the "
            "hub, or give --tasks whose data it has, such as burattino_arc_it"
        ) from error
    return results["samples"]


def _texts(samples: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """List all texts of the documents, including the question."""
    docs = [sample["doc"] for task_samples in samples.values() for sample in task_samples]
    return [text for doc in docs for text in doc.values() if isinstance(text, str)]


def _rows(samples: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the row of each question."""
    for task, task_samples in samples.items():
        first = task_samples[0]["filter"]  # only the first way to read an answer counts
        for sample in task_samples:
            if sample["filter"] != first:
                continue
            accuracy = next((name for name in ("acc_norm", "acc") if name in sample), None)
            if accuracy is None:
                raise OptionError(
                    f"task {task} has {', '.join(sample['metrics'])} and no accuracy; give tasks "
                    "with acc or acc_norm"
                )
            responses = [one[0] for one in sample["resps"]]
            generated = isinstance(responses[0], str)
            likeliest = 0 if generated else responses.index(max(responses))
            key = f"{task}/{sample['doc_id']}"
            yield {
                "task": task,
                "how": GENERATED if generated else LIKELIHOOD,
                "key": key,
                "query": key,
                "prompt": sample["arguments"][0][0],
                "answer": responses[0] if generated else sample["arguments"][likeliest][1],
                "correct": bool(sample[accuracy]),
                **{
                    name: None if name not in sample else bool(sample[name])
                    for name in ("in_language", "parses")
                },
            }


def comparisons(rows: pl.DataFrame, column: str, name: str) -> dict[str, object]:
    """Measure the change by steering and fine-tuning on the same questions.

    Args:
        rows: records of one benchmark.
        column: a boolean column without nulls.
        name: the name of the outcome in the summary.

    Returns:
        Differences of shares to the original, and to the first random direction of the vector's
        norms, with the p-values of McNemar's test.
    """
    summary: dict[str, object] = {}
    original = rows.filter(pl.col("setting") == "original")
    first = rows.filter((pl.col("setting") == "random") & (pl.col("draw") == 0))
    changed = rows.filter(~pl.col("setting").is_in(["original", "random"]))
    for (setting, positive), steered in changed.group_by(
        "setting", "positive", maintain_order=True
    ):
        control = first.filter(pl.col("positive").eq_missing(pl.lit(positive)))
        for over, others in (("", original), ("_over_random", control)):
            paired = others.join(steered, on="key", suffix="_changed")
            if len(paired):
                a, b = paired[column].to_list(), paired[f"{column}_changed"].to_list()
                summary[f"gain{over}.{name}.{setting}"] = paired_difference(a, b)
                summary[f"mcnemar_p{over}.{name}.{setting}"] = mcnemar(a, b).p_value
    return summary
