"""How a model is asked the tasks of lm-evaluation-harness, steered and not, a row per question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

import interp_steer as ist
from analyses.kit.answer_options import asking
from analyses.languages import base
from analyses.languages.base import STEPS, LanguageConfig, scheduled, target_of
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import RunError
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.bundled import BUNDLED_NAMES
from interp_steer.statistics.paired import mcnemar, paired_difference
from interp_steer.sweeps.grid import Cell

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

LIKELIHOOD, GENERATED = "log_likelihood", "generation"
"""How a benchmark is asked."""


@dataclass(frozen=True)
class Benchmark:
    """A task of lm-eval, and how it is asked."""

    name: str
    """What figures call it; the same however it is asked."""
    task: str
    """A task or a group of tasks."""
    fewshot: int = 0
    """Worked examples before each question, as the open Italian leaderboard has them."""
    continued: bool = False
    """Whether it is a text to be continued, which is never put into a chat template."""


@dataclass(frozen=True)
class Benchmarked(LanguageConfig):
    """How a model is steered, and how much it is asked of benchmarks."""

    others: tuple[str, ...] = ("en-it",)
    """More contrasts, each with a vector of its own."""
    schedule: str = "diminishing(30)"
    """Schedule of the strength; see interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (1.5,)
    """How many times a vector is added; of several, the best on the select split."""
    rule: str = "sound"
    """What a strength is chosen by; see language_steering."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    tasks: tuple[str, ...] | None = None
    """Tasks or groups of lm-eval; when not given, those about the bundled world for a bundled
    model, and those of the hub for any other."""
    limit: int | None = 50
    """Questions of each task; all when None."""
    template: Literal["generated", "all", "none"] = "generated"
    """Which questions are put by the chat template of a model that has one. Leaderboards do not use
    it with log-likelihoods."""


@dataclass(frozen=True)
class Setting:
    """Something that is asked."""

    name: str
    """Such as original or steered IT-IT."""
    steering: Intervention = ist.unsteered
    """What acts on the model."""
    positive: str | None = None
    """The contrast of the vector, or of the one that a random direction is as long as."""
    strength: float | None = None
    """How many times it is added."""
    draw: int | None = None
    """Which random direction it is."""
    pairs: ist.ContrastSet | None = None
    """What the vector was fitted on; no benchmark may ask it."""


def chosen_benchmarks(
    config: Benchmarked, bundled: Sequence[Benchmark], hub: Sequence[Benchmark]
) -> list[Benchmark]:
    """The benchmarks of a config, those that are known asked as they are known to be.

    Raises:
        RunError: for a task that lm-eval does not know.
    """
    if config.tasks is None:
        return list(bundled if config.model in BUNDLED_NAMES else hub)
    known = {one.task: one for one in (*bundled, *hub)}
    found = [known.get(task, Benchmark(task, task)) for task in config.tasks]
    task_manager(found)
    return found


def settings(config: Benchmarked, model: ist.HookedLM, run: ist.Run) -> list[Setting]:
    """The original model, and each vector beside random directions of its norms."""
    items = base.read_items(config, run.seed)
    found = [Setting("original")]
    for positive in (*config.others, config.positive):
        pairs = base.language_set(config, items, run.seed, positive)
        run.used(model, pairs)
        vector = ist.fit_steps(model, pairs, n_steps=STEPS)
        run.leave(vector, f"{model.name}.{positive}")
        strength = chosen_strength(config, model, vector, pairs, items, run)
        schedule = ist.schedules.parse(config.schedule)
        for draw in range(config.draws):
            control = vector.like_random(run.seed + draw).shift(strength, schedule)
            found.append(Setting("random", control, positive, strength, draw))
        steer = vector.shift(strength, schedule)
        found.append(Setting(f"steered {positive.upper()}", steer, positive, strength, None, pairs))
    return found


def chosen_strength(
    config: Benchmarked,
    model: ist.HookedLM,
    vector: ist.SteppedVector,
    pairs: ist.ContrastSet,
    items: Sequence[ParallelItem],
    run: ist.Run,
) -> float:
    """The only strength of a config, or the best on the select split."""
    if len(config.strengths) == 1:
        return config.strengths[0]
    schedule = ist.schedules.parse(config.schedule)
    grid = [scheduled("steered", vector, strength, schedule) for strength in config.strengths]
    with asking(config, model, run) as options:
        tried = base.recorded(
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
        benchmarks: what is asked.
        config: how many questions, by which template.
        seed: of lm-eval's draws.

    Returns:
        A row for each question and setting: the ``task`` and its ``benchmark``, ``how`` it was
        asked, the ``prompt``, the ``answer`` (of log-likelihoods the likeliest option), whether it
        is ``correct`` (by ``acc_norm`` where a task has it, else ``acc``), ``in_language`` and
        ``parses`` (null where they cannot be told), and what steered it.

    Raises:
        RunError: for tasks that lm-eval does not know, whose data is not at hand, or that have no
            accuracy.
        ContrastError: when a vector was fitted on what a benchmark asks.
    """
    from interp_steer import harness

    steered: Any = harness.SteeredLM  # lm-eval's decorator hides what it takes
    tasks = task_manager(benchmarks)
    rows: list[dict[str, Any]] = []
    for setting in wanted:
        lm = steered(model, setting.steering, batch_size=config.batch_size)
        for benchmark in benchmarks:
            told = {
                "weights": model.name,
                "setting": setting.name,
                "positive": setting.positive,
                "strength": setting.strength,
                "draw": setting.draw,
                "applied": lm.applied,
                "benchmark": benchmark.name,
                "asked_for": benchmark.task,
            }
            samples = _evaluated(lm, benchmark, config, seed, tasks)
            if setting.pairs is not None:
                ist.contrast.languages.check_disjoint(setting.pairs, _texts(samples))
            rows += [told | row for row in _rows(samples)]
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
    """Our tasks, with lm-eval's own where these are asked: to read them all takes seconds.

    Raises:
        RunError: for a task that neither knows.
    """
    wanted = {one.task for one in benchmarks}
    ours = _tasks(with_defaults=False)
    if wanted <= set(ours.all_tasks):
        return ours
    whole = _tasks(with_defaults=True)
    if unknown := sorted(wanted - set(whole.all_tasks)):
        raise RunError(
            f"lm-eval has no task {', '.join(unknown)}; `python -m interp_steer.harness ls tasks` "
            "lists them all"
        )
    return whole


@cache
def _tasks(*, with_defaults: bool) -> TaskManager:
    from lm_eval.tasks import TaskManager

    from interp_steer.harness import TASKS

    return TaskManager(include_path=str(TASKS), include_defaults=with_defaults)


def _evaluated(
    lm: Any, benchmark: Benchmark, config: Benchmarked, seed: int, tasks: TaskManager
) -> Mapping[str, list[dict[str, Any]]]:
    """What lm-eval keeps of every question, by task."""
    import lm_eval

    evaluate: Any = lm_eval.simple_evaluate  # imported when it is called, which hides what it takes
    generated = benchmark.task.endswith("_gen")
    templated = config.template == "all" or (config.template == "generated" and generated)
    has_template = getattr(lm.tokenizer, "chat_template", None) is not None
    try:
        found = evaluate(
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
        raise RunError(
            f"the data of {benchmark.task} is not on this machine ({error}); connect it to the "
            "hub, or give --tasks whose data it has, such as burattino_arc_it"
        ) from error
    return found["samples"]


def _texts(samples: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Whatever documents say in words, the question among it."""
    docs = [sample["doc"] for each in samples.values() for sample in each]
    return [text for doc in docs for text in doc.values() if isinstance(text, str)]


def _rows(samples: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for task, each in samples.items():
        first = each[0]["filter"]  # of several ways to read an answer
        for sample in each:
            if sample["filter"] != first:
                continue
            accuracy = next((name for name in ("acc_norm", "acc") if name in sample), None)
            if accuracy is None:
                raise RunError(
                    f"task {task} has {', '.join(sample['metrics'])} and no accuracy; give tasks "
                    "with acc or acc_norm"
                )
            said = [one[0] for one in sample["resps"]]
            generated = isinstance(said[0], str)
            likeliest = 0 if generated else said.index(max(said))
            key = f"{task}/{sample['doc_id']}"
            yield {
                "task": task,
                "how": GENERATED if generated else LIKELIHOOD,
                "key": key,
                "query": key,
                "prompt": sample["arguments"][0][0],
                "answer": said[0] if generated else sample["arguments"][likeliest][1],
                "correct": bool(sample[accuracy]),
                **{
                    name: None if name not in sample else bool(sample[name])
                    for name in ("in_language", "parses")
                },
            }


def comparisons(rows: pl.DataFrame, column: str, name: str) -> dict[str, object]:
    """What steering and fine-tuning change on the same questions.

    Args:
        rows: of one benchmark.
        column: a boolean that all rows have.
        name: of the outcome, in the summary.

    Returns:
        Differences of shares to the original, and to the first random direction of the vector's
        norms, with the p-values of McNemar's test.
    """
    found: dict[str, object] = {}
    original = rows.filter(pl.col("setting") == "original")
    first = rows.filter((pl.col("setting") == "random") & (pl.col("draw") == 0))
    changed = rows.filter(~pl.col("setting").is_in(["original", "random"]))
    for (setting, positive), each in changed.group_by("setting", "positive", maintain_order=True):
        control = first.filter(pl.col("positive").eq_missing(pl.lit(positive)))
        for over, others in (("", original), ("_over_random", control)):
            paired = others.join(each, on="key", suffix="_changed")
            if len(paired):
                a, b = paired[column].to_list(), paired[f"{column}_changed"].to_list()
                found[f"gain{over}.{name}.{setting}"] = paired_difference(a, b)
                found[f"mcnemar_p{over}.{name}.{setting}"] = mcnemar(a, b).p_value
    return found
