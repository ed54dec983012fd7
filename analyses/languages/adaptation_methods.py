"""Learn from a few examples by each method, and measure the cost of learning.

Open choices of a method are made on the select examples. The epoch and the learning rate of an
adapter are chosen by the loss on these examples, everything else by the answers generated to their
questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

import torch

import interp_steer as ist
from analyses.languages.adaptation_costs import Count, count_work, time_work
from analyses.languages.adaptation_models import (
    Adapted,
    Exchange,
    Prefixed,
    Prompted,
    answers_of,
    chat_turn,
    worked_examples,
)
from analyses.languages.adaptation_training import Trained, Training, lora, prefix_tuning
from interp_steer.contrast import Pair, ParallelItem
from interp_steer.errors import OptionError
from interp_steer.scoring import REPETITION_THRESHOLD, detect, perplexity, repetition
from interp_steer.vectors import SteppedVector
from interp_steer.world import check_content


@dataclass(frozen=True)
class Learning:
    """Options of learning, for all methods."""

    model: str = "burattino-instruct"
    """Model to adapt: a bundled model, a Hugging Face name, or a folder."""
    data: str | None = None
    """Folder of parallel questions and answers (see interp_steer.contrast.parallel.from_files).
    Default: the world of the bundled models. Content and questions of fact are measured in that
    world only."""
    question: str = "en"
    """Language of the questions (ISO 639-1)."""
    target: str = "it"
    """Language to answer in."""
    max_new_tokens: int = 80
    """Maximum number of new tokens per answer."""
    batch_size: int = 64
    """Number of rows decoded together."""
    reference: str = "burattino-base"
    """Model whose perplexity shows which answers are garbled."""
    system_prompts: tuple[str, ...] = (
        "Answer in Italian.",
        "Rispondi in italiano.",
        "Rispondi alle seguenti domande",
    )
    """Wordings of the system prompt, of which the best is chosen."""
    shots: tuple[int, ...] = (1, 2, 4)
    """Numbers of worked examples, of which the best is chosen."""
    lora_rank: int = 8
    """Rank of LoRA's update of every linear layer."""
    lora_rates: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates of LoRA, of which the best is chosen."""
    prefix_length: int = 8
    """Number of positions of the prefix."""
    prefix_rates: tuple[float, ...] = (0.03, 0.1)
    """Learning rates of prefix tuning, of which the best is chosen."""
    epochs: int = 12
    """Maximum number of passes over the examples."""
    patience: int = 2
    """Number of passes without a gain on the select examples after which training ends."""
    train_batch: int = 8
    """Number of examples in a step of training."""
    fit_shots: int = 2
    """Number of worked examples before each question on which the steering vector is fitted."""
    steps: int = 30
    """Number of generated steps that have their own direction; M of paper B."""
    schedules: tuple[str, ...] = ("fixed", "diminishing(30)")
    """Schedules of steering (see interp_steer.interventions.schedules.parse), of which the best is
    chosen."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    """Strengths of steering, of which the best is chosen; strength 1 adds the vector as it is."""


@dataclass(frozen=True)
class Task:
    """The original model, and the examples."""

    config: Learning
    model: ist.HookedLM
    fit: Sequence[ParallelItem]
    """The examples to learn from. A smaller number takes the first of these."""
    select: Sequence[ParallelItem]
    """The examples on which open choices are made."""
    reference: ist.HookedLM
    """The model whose perplexity shows which answers are garbled."""
    seed: int

    @cached_property
    def most(self) -> float:
        """Return the greatest perplexity of the answers given as examples."""
        items = [*self.fit, *self.select]
        values = perplexity(self.reference, [item.answer(self.config.target) for item in items])
        return max((value for value in values if value is not None), default=math.inf)

    def questions(self, items: Sequence[ParallelItem]) -> list[str]:
        """Return the questions of items."""
        return [item.question(self.config.question) for item in items]

    def exchanges(self, items: Sequence[ParallelItem]) -> list[Exchange]:
        """Return questions with their answers in the target language."""
        answers = [item.answer(self.config.target) for item in items]
        return list(zip(self.questions(items), answers, strict=True))

    def copy(self) -> ist.HookedLM:
        """Load another copy of the model, whose weights may be changed."""
        own = self.model
        return ist.load(self.config.model, dtype=own.dtype, device=own.device, check=False)


@dataclass(frozen=True)
class Learned:
    """Adaptation of a model, with the cost of finding it."""

    adapted: Adapted
    n: int
    """Number of examples; 0 where the method uses none."""
    chosen: str
    """The choices made on the select examples."""
    seconds: float
    """Time to learn and to choose."""
    count: Count
    """Operations to learn and to choose; the memory is that of learning alone."""
    vector: SteppedVector | None = None
    """The fitted vector, if the method fits one."""


OUTCOME = "sound"
"""In the target language, and language at all."""

Scores = dict[str, bool | float | None]


def score_answers(
    task: Task, items: Sequence[ParallelItem], answers: Sequence[str]
) -> list[Scores]:
    """Score answers: one row for each answer, in their order.

    ``in_target``: whether lingua detects the target language. ``kept``: whether the content is
    kept; null where the truth is unknown. ``fluent``: whether an answer is neither repetitive nor
    harder to predict than any of the answers given as examples. ``sound``: whether an answer is in
    the target language and fluent.
    """
    rows: list[Scores] = []
    surprise = perplexity(task.reference, list(answers))
    for item, answer, value in zip(items, answers, surprise, strict=True):
        in_target = detect(answer) == task.config.target
        loops = repetition(answer)
        fluent = value is not None and value <= task.most and loops <= REPETITION_THRESHOLD
        known = item.subject is not None and task.config.data is None
        rows.append(
            {
                "in_target": in_target,
                "kept": check_content(answer, str(item.subject)).is_preserved if known else None,
                "fluent": fluent,
                OUTCOME: in_target and fluent,
                "perplexity": value,
                "repetition": loops,
            }
        )
    return rows


def system_prompt(task: Task, n: int) -> Iterator[Learned]:
    """Put an instruction before the question, in the wording that does best."""
    tried = {
        repr(text): Prompted("system prompt", task.model, before=(chat_turn("system", text),))
        for text in task.config.system_prompts
    }
    yield _choose_best(task, 0, tried)


def few_shot(task: Task, n: int) -> Iterator[Learned]:
    """Put the first examples before the question as turns, as many as do best."""
    exchanges = task.exchanges(task.fit[:n])
    tried = {
        f"{k} shots": Prompted("few-shot", task.model, before=worked_examples(exchanges[:k]))
        for k in task.config.shots
        if k <= n
    }
    yield _choose_best(task, n, tried)


def low_rank(task: Task, n: int) -> Iterator[Learned]:
    """Train a LoRA, at the learning rate that does best."""
    rank = task.config.lora_rank
    yield _train_at_best_rate(task, n, task.config.lora_rates, lambda *a: lora(*a, rank=rank))


def prefix(task: Task, n: int) -> Iterator[Learned]:
    """Train a prefix, at the learning rate that does best."""
    length = task.config.prefix_length
    yield _train_at_best_rate(
        task, n, task.config.prefix_rates, lambda *a: prefix_tuning(*a, length=length)
    )


def steering(task: Task, n: int) -> Iterator[Learned]:
    """Steer by a vector under the schedule and strength that do best, and by a random direction."""
    model, config = task.model, task.config
    vector, seconds = time_work(lambda: steering_vector(task, n), model.device)
    _, count = count_work(lambda: steering_vector(task, n), model.device)
    stored = vector.directions.numel()

    def steer(name: str, along: SteppedVector, schedule: str, strength: float) -> Prompted:
        act = along.shift(strength, ist.schedules.parse(schedule))
        return Prompted(name, model, act, stored=stored, batch_size=config.batch_size)

    cells = {f"{a:g} {how}": (how, a) for how in config.schedules for a in config.strengths}
    tried = {line: steer("steered", vector, *cell) for line, cell in cells.items()}
    best = _choose_best(task, n, tried)
    yield replace(best, seconds=best.seconds + seconds, count=best.count + count, vector=vector)
    control = steer("random", vector.like_random(task.seed), *cells[best.chosen])
    yield Learned(control, n, best.chosen, 0.0, Count())


def steering_vector(task: Task, n: int) -> SteppedVector:
    """Fit a direction for each step (paper B, section 2), while the given answers are read.

    Worked examples stand before each question. They are drawn from the other examples among the
    same ``n``, with answers in the target language on one side and in the language of the question
    on the other. Without them both sides would have the same prompt, and step 0 would have no
    direction.

    Raises:
        OptionError: for fewer than two examples.
    """
    items, config = task.fit[:n], task.config
    if n < 2:
        raise OptionError(
            f"a vector cannot be fitted on n={n}, because worked examples are drawn from the other "
            "examples; give n of 2 or more"
        )
    rng = Random(f"{task.seed}/{n}")
    name = f"{config.question} to {config.target}"
    pairs = []
    for item in items:
        others = [other for other in items if other is not item]
        shown = rng.sample(others, min(config.fit_shots, len(others)))
        question = item.question(config.question)
        present, absent = (
            [
                *worked_examples(
                    [(one.question(config.question), one.answer(code)) for one in shown]
                ),
                chat_turn("user", question),
            ]
            for code in (config.target, config.question)
        )
        pairs.append(Pair(question, present, absent, phrasing=name, key=item.key))
    target, plain = (
        [item.answer(code) for item in items] for code in (config.target, config.question)
    )
    return ist.fit_steps(
        task.model,
        ist.ContrastSet(name, tuple(pairs)),
        n_steps=config.steps,
        answers=(target, plain),
    )


LEARNERS: Mapping[str, Callable[[Task, int], Iterator[Learned]]] = {
    "system prompt": system_prompt,
    "few-shot": few_shot,
    "lora": low_rank,
    "prefix tuning": prefix,
    "steered": steering,
}


COUNTED = 4
"""Number of answers whose operations are counted, as a sample of all that are tried."""


def _choose_best(task: Task, n: int, tried: Mapping[str, Prompted]) -> Learned:
    """Return the candidate with the most sound select answers.

    Of equals, the one that keeps the most content is chosen.
    """
    if not tried:
        raise OptionError(f"no candidate can be tried with {n} examples; give smaller --shots")
    candidates, limit = list(tried.values()), task.config.max_new_tokens
    candidates = [replace(one, batch_size=task.config.batch_size) for one in candidates]
    asked = task.questions(task.select)
    answers, seconds = time_work(lambda: answers_of(candidates, asked, limit), task.model.device)

    def rank(at: int) -> tuple[int, ...]:
        rows = score_answers(task, task.select, answers[at])
        return tuple(sum(bool(row[what]) for row in rows) for what in (OUTCOME, "kept"))

    best = max(range(len(candidates)), key=rank)
    flops = flops_of(candidates[best], asked[:COUNTED], answers[best][:COUNTED], task.model.device)
    count = Count(math.fsum(flops) / max(len(flops), 1)).times(len(candidates) * len(asked))
    return Learned(candidates[best], n, list(tried)[best], seconds, count)


def _train_at_best_rate(
    task: Task,
    n: int,
    rates: Sequence[float],
    train: Callable[..., tuple[Prompted | Prefixed, Trained]],
) -> Learned:
    """Return the adapter of the learning rate with the lowest loss on the select examples."""
    config, device = task.config, task.model.device
    fit = task.exchanges(task.fit[:n])
    select = task.exchanges(task.select)
    how = Training(rates[0], config.epochs, config.patience, config.train_batch, task.seed)
    tried: dict[float, tuple[Prompted | Prefixed, Trained]] = {}
    seconds, epochs = 0.0, 0
    for rate in rates:
        copy, at = task.copy(), replace(how, rate=rate)
        tried[rate], rate_seconds = time_work(lambda c=copy, a=at: train(c, fit, select, a), device)
        seconds += rate_seconds
        epochs += len(tried[rate][1].fit_losses)
    rate = min(rates, key=lambda one: tried[one][1].loss)
    adapted, trained = tried[rate]
    copy = task.copy()
    _, count = count_work(lambda: train(copy, fit, select, replace(how, epochs=1)), device)
    chosen = f"rate {rate:g}, epoch {trained.best + 1} of {len(trained.fit_losses)}"
    adapted = replace(adapted, batch_size=config.batch_size)
    return Learned(adapted, n, chosen, seconds, count.times(epochs))


def flops_of(
    adapted: Adapted, asked: Sequence[str], answers: Sequence[str], device: torch.device
) -> list[float]:
    """Count the operations of each non-empty answer, as one pass over prompt and answer."""
    return [
        count_work(lambda q=q, a=a: adapted.logprobs([q], [a]), device)[1].flops
        for q, a in zip(asked, answers, strict=True)
        if a.strip()
    ]
