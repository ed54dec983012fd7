"""What a model can learn from a few examples, by each method, and what that takes.

Whatever a method leaves open is chosen on select examples: the epoch and the learning rate of an
adapter by the loss of their answers, all else by the answers that are generated to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

import torch

import interp_steer as ist
from analyses.languages.adaptation_costs import Count, counted, timed
from analyses.languages.adaptation_models import (
    Adapted,
    Exchange,
    Prefixed,
    Prompted,
    answers_of,
    told,
    worked,
)
from analyses.languages.adaptation_training import Trained, Training, lora, prefix_tuning
from interp_steer.contrast.pair import Pair
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import RunError
from interp_steer.scoring.fluency import REPETITION_THRESHOLD, perplexity, repetition
from interp_steer.scoring.language import detect
from interp_steer.vectors.stepped_vector import SteppedVector
from interp_steer.world.content import check_content


@dataclass(frozen=True)
class Learning:
    """From what and how is learned."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    data: str | None = None
    """Folder of parallel questions and answers (see interp_steer.contrast.parallel.from_files); the world of
    the bundled models when not given. Content and questions of fact are of that world alone."""
    question: str = "en"
    """Language that is asked in (ISO 639-1)."""
    target: str = "it"
    """Language to answer in."""
    max_new_tokens: int = 80
    """Where an answer is cut."""
    batch_size: int = 64
    """Rows decoded together."""
    reference: str = "burattino-base"
    """The model whose perplexity tells garbled answers."""
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
    """Positions of the prefix."""
    prefix_rates: tuple[float, ...] = (0.03, 0.1)
    """Learning rates of prefix tuning, of which the best is chosen."""
    epochs: int = 12
    """Passes over the examples at most."""
    patience: int = 2
    """Passes without a gain on the select examples after which training ends."""
    train_batch: int = 8
    """Examples in a step of training."""
    fit_shots: int = 2
    """Worked examples before each question that the steering vector is fitted on."""
    steps: int = 30
    """Generated steps with a direction of their own, M of paper B."""
    schedules: tuple[str, ...] = ("fixed", "diminishing(30)")
    """Schedules of steering (see interp_steer.interventions.schedules.parse), of which the best is chosen."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    """Strengths of steering, of which the best is chosen; 1 is the vector as it is."""


@dataclass(frozen=True)
class Task:
    """The model as it is, and the examples."""

    config: Learning
    model: ist.HookedLM
    fit: Sequence[ParallelItem]
    """What is learned from; fewer are the first of these."""
    select: Sequence[ParallelItem]
    """What is chosen on."""
    reference: ist.HookedLM
    """Whose perplexity tells what is garbled."""
    seed: int

    @cached_property
    def most(self) -> float:
        """The greatest perplexity of the answers that are given as examples."""
        items = [*self.fit, *self.select]
        values = perplexity(self.reference, [item.answer(self.config.target) for item in items])
        return max((value for value in values if value is not None), default=math.inf)

    def asked(self, items: Sequence[ParallelItem]) -> list[str]:
        """The questions of items."""
        return [item.question(self.config.question) for item in items]

    def exchanges(self, items: Sequence[ParallelItem]) -> list[Exchange]:
        """Questions with their answers in the target language."""
        answers = [item.answer(self.config.target) for item in items]
        return list(zip(self.asked(items), answers, strict=True))

    def copy(self) -> ist.HookedLM:
        """The model once more, to be changed."""
        one = self.model
        return ist.load(self.config.model, dtype=one.dtype, device=one.device, check=False)


@dataclass(frozen=True)
class Learned:
    """An adaptation, and what it took to find."""

    adapted: Adapted
    n: int
    """Examples that it learned from; 0 where none were used."""
    chosen: str
    """What was chosen for it on the select examples."""
    seconds: float
    """To learn and to choose."""
    count: Count
    """To learn and to choose; its memory is that of learning alone."""
    vector: SteppedVector | None = None
    """What was fitted, where it is a vector."""


OUTCOME = "sound"
"""In the target language, and language at all."""

Scores = dict[str, bool | float | None]


def scores(task: Task, items: Sequence[ParallelItem], answers: Sequence[str]) -> list[Scores]:
    """How answers are: a row each, in their order.

    ``in_target``, whether lingua names the target language; ``kept``, whether the content is, null
    where nobody knows what is true; ``fluent``, whether an answer is neither a loop nor harder to
    predict than any of the answers that were given as examples; ``sound``, whether it is in the
    target language and fluent.
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
    """An instruction before the question, in the wording that does best."""
    tried = {
        repr(text): Prompted("system prompt", task.model, before=(told("system", text),))
        for text in task.config.system_prompts
    }
    yield _best(task, 0, tried)


def few_shot(task: Task, n: int) -> Iterator[Learned]:
    """The first of the examples as turns before the question, as many as do best."""
    exchanges = task.exchanges(task.fit[:n])
    tried = {
        f"{k} shots": Prompted("few-shot", task.model, before=worked(exchanges[:k]))
        for k in task.config.shots
        if k <= n
    }
    yield _best(task, n, tried)


def low_rank(task: Task, n: int) -> Iterator[Learned]:
    """A LoRA, at the learning rate that does best."""
    rank = task.config.lora_rank
    yield _trained(task, n, task.config.lora_rates, lambda *a: lora(*a, rank=rank))


def prefix(task: Task, n: int) -> Iterator[Learned]:
    """A tuned prefix, at the learning rate that does best."""
    length = task.config.prefix_length
    yield _trained(task, n, task.config.prefix_rates, lambda *a: prefix_tuning(*a, length=length))


def steering(task: Task, n: int) -> Iterator[Learned]:
    """A vector under the schedule and strength that do best, and a random one in its place."""
    model, config = task.model, task.config
    vector, seconds = timed(lambda: steering_vector(task, n), model.device)
    _, count = counted(lambda: steering_vector(task, n), model.device)
    stored = vector.directions.numel()

    def steered(name: str, along: SteppedVector, schedule: str, strength: float) -> Prompted:
        act = along.shift(strength, ist.schedules.parse(schedule))
        return Prompted(name, model, act, stored=stored, batch_size=config.batch_size)

    cells = {f"{a:g} {how}": (how, a) for how in config.schedules for a in config.strengths}
    tried = {line: steered("steered", vector, *cell) for line, cell in cells.items()}
    best = _best(task, n, tried)
    yield replace(best, seconds=best.seconds + seconds, count=best.count + count, vector=vector)
    control = steered("random", vector.like_random(task.seed), *cells[best.chosen])
    yield Learned(control, n, best.chosen, 0.0, Count())


def steering_vector(task: Task, n: int) -> SteppedVector:
    """A direction for each step (paper B, section 2), fitted while the given answers are said.

    Before each question stand worked examples, drawn from the other ones of the same ``n``, with
    their answers in the target language or in that of the question: without them both sides would
    be the same prompt, and step 0 without a direction.

    Raises:
        RunError: for fewer than two examples.
    """
    items, config = task.fit[:n], task.config
    if n < 2:
        raise RunError(f"a vector cannot be fitted on n={n}; worked examples are drawn from others")
    rng = Random(f"{task.seed}/{n}")
    name = f"{config.question} to {config.target}"
    pairs = []
    for item in items:
        others = [one for one in items if one is not item]
        shown = rng.sample(others, min(config.fit_shots, len(others)))
        question = item.question(config.question)
        present, absent = (
            [
                *worked([(one.question(config.question), one.answer(code)) for one in shown]),
                told("user", question),
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
"""Answers whose operations are counted for those of all that are tried."""


def _best(task: Task, n: int, tried: Mapping[str, Prompted]) -> Learned:
    """The one with most select answers that are sound; of equals, that keep their content."""
    if not tried:
        raise RunError(f"nothing can be tried with {n} examples; give smaller numbers of shots")
    several, limit = list(tried.values()), task.config.max_new_tokens
    several = [replace(one, batch_size=task.config.batch_size) for one in several]
    asked = task.asked(task.select)
    found, seconds = timed(lambda: answers_of(several, asked, limit), task.model.device)

    def rank(at: int) -> tuple[int, ...]:
        rows = scores(task, task.select, found[at])
        return tuple(sum(bool(row[what]) for row in rows) for what in (OUTCOME, "kept"))

    best = max(range(len(several)), key=rank)
    some = flops_of(several[best], asked[:COUNTED], found[best][:COUNTED], task.model.device)
    count = Count(math.fsum(some) / max(len(some), 1)).times(len(several) * len(asked))
    return Learned(several[best], n, list(tried)[best], seconds, count)


def _trained(
    task: Task,
    n: int,
    rates: Sequence[float],
    train: Callable[..., tuple[Prompted | Prefixed, Trained]],
) -> Learned:
    """The adapter of the learning rate with the least loss on the select examples."""
    config, device = task.config, task.model.device
    fit = task.exchanges(task.fit[:n])
    select = task.exchanges(task.select)
    how = Training(rates[0], config.epochs, config.patience, config.train_batch, task.seed)
    tried: dict[float, tuple[Prompted | Prefixed, Trained]] = {}
    seconds, epochs = 0.0, 0
    for rate in rates:
        copy, at = task.copy(), replace(how, rate=rate)
        tried[rate], took = timed(lambda c=copy, a=at: train(c, fit, select, a), device)
        seconds += took
        epochs += len(tried[rate][1].fit_losses)
    rate = min(rates, key=lambda one: tried[one][1].loss)
    adapted, trained = tried[rate]
    copy = task.copy()
    _, count = counted(lambda: train(copy, fit, select, replace(how, epochs=1)), device)
    chosen = f"rate {rate:g}, epoch {trained.best + 1} of {len(trained.fit_losses)}"
    adapted = replace(adapted, batch_size=config.batch_size)
    return Learned(adapted, n, chosen, seconds, count.times(epochs))


def flops_of(
    adapted: Adapted, asked: Sequence[str], answers: Sequence[str], device: torch.device
) -> list[float]:
    """The operations of each answer that is not empty, as one pass over it and its prompt."""
    return [
        counted(lambda q=q, a=a: adapted.logprobs([q], [a]), device)[1].flops
        for q, a in zip(asked, answers, strict=True)
        if a.strip()
    ]
