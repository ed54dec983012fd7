"""Evaluate a burattino on queries that it was never trained on, and write its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from interp_steer.contrast.instructions.registry import CHANCE_IDS, IDS
from interp_steer.generation.answer_scores import logprobs
from interp_steer.generation.completions import generate
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import load
from interp_steer.scoring import ifeval
from interp_steer.statistics.intervals import Interval, share
from interp_steer.storage.atomic import write_atomically
from interp_steer.world import grammar
from interp_steer.world.chats import Chat
from interp_steer.world.held_out import evaluation_chats, unsolicited_chats
from interp_steer.world.random_choices import LETTERS, MultipleChoice, multiple_choice

WAYS = ("trained", "held-out", "without")
"""How the evaluation asks: in a trained phrasing, in an unseen one, or without the instruction."""


@dataclass(frozen=True)
class Evaluation:
    """Shares with Wilson intervals."""

    follows: Mapping[tuple[str, str], Interval]
    """Strict IFEval accuracy by (instruction id, one of :data:`WAYS`)."""
    facts: Mapping[str, Interval]
    """Share of multiple-choice questions about the world in which the model finds the right option
    likeliest, by language."""
    letters: Mapping[str, Interval]
    """Share of the same questions answered with the right letter."""
    splitter: str
    """The tokeniser that counted sentences and words; see
    :class:`interp_steer.scoring.ifeval.Verdict`."""


def evaluate(model: HookedLM, *, n: int = 48, n_facts: int = 200, seed: int = 1) -> Evaluation:
    """Measure instruction following and knowledge on held-out queries.

    Args:
        model: a burattino; base models are asked in the form ``Q: ...`` ``A:``.
        n: queries per instruction and way of asking.
        n_facts: multiple-choice questions per language.
        seed: of the choice of queries and questions.

    Returns:
        The :class:`Evaluation`.
    """
    asked = [
        (instruction, way, chat)
        for instruction in IDS
        for way in WAYS
        for chat in (
            unsolicited_chats(instruction, n=n, seed=seed)
            if way == "without"
            else evaluation_chats(instruction, phrasing=way, n=n, seed=seed)
        )
    ]
    answers = generate(
        model, [question(chat) for _, _, chat in asked], max_new_tokens=256, batch_size=128
    )
    outcomes: dict[tuple[str, str], list[bool]] = {}
    splitter = ""
    for (instruction, way, chat), answer in zip(asked, answers, strict=True):
        verdict = ifeval.verify(answer.text, chat.instruction_ids, chat.kwargs)
        outcomes.setdefault((instruction, way), []).append(verdict.strict)
        splitter = verdict.splitter
    return Evaluation(
        follows={key: share(values) for key, values in outcomes.items()},
        facts={
            language: measure_knowledge(model, language, n_facts, seed) for language in ("en", "it")
        },
        letters={
            language: measure_letters(model, language, n_facts, seed) for language in ("en", "it")
        },
        splitter=splitter,
    )


def question(chat: Chat) -> list[dict[str, str]] | str:
    """Return the prompt of a chat: its messages without the last answer."""
    turns = [dict(message) for message in chat.messages[:-1]]
    return turns[0]["content"] if len(turns) == 1 else turns


def measure_knowledge(model: HookedLM, language: str, n: int, seed: int) -> Interval:
    """Measure the share of questions whose right option the model finds likeliest of four.

    Each option stands in a sentence after the question; the sentences differ in the option alone
    and are compared by their log-probabilities.
    """
    asked = multiple_choice(language, n=n, seed=seed)
    options = [_tell_option(item, key, language, seed) for item in asked for key in item.values]
    questions = [item.prompt.split("\n")[0] for item in asked for _ in LETTERS]
    scores = logprobs(model, questions, options, batch_size=128)
    totals = [score.total for score in scores]
    rows = [totals[start : start + len(LETTERS)] for start in range(0, len(totals), len(LETTERS))]
    return share(
        [
            LETTERS[max(range(len(row)), key=row.__getitem__)] == item.letter
            for row, item in zip(rows, asked, strict=True)
        ]
    )


def _tell_option(item: MultipleChoice, option: str, language: str, seed: int) -> str:
    fact = replace(item.fact, value=option)
    return grammar.sentence(fact, language, Random(f"{seed}/{item.prompt}"), style="no_comma")


def measure_letters(model: HookedLM, language: str, n: int, seed: int) -> Interval:
    """Measure the share of multiple-choice questions answered with the right letter."""
    questions = multiple_choice(language, n=n, seed=seed)
    answers = generate(model, [item.prompt for item in questions], max_new_tokens=8)
    return share(
        [
            answer.text.strip().rstrip(".") == item.letter
            for answer, item in zip(answers, questions, strict=True)
        ]
    )


def write_card(folder: Path, n: int = 48) -> Evaluation:
    """Evaluate the checkpoint in ``folder``; write ``README.md`` and ``evaluation.json`` there.

    Args:
        folder: the checkpoint.
        n: queries per instruction and way of asking.
    """
    model = load(str(folder))
    evaluation = evaluate(model, n=n)
    numbers = {
        **{f"{i}/{way}": _bounds(value) for (i, way), value in evaluation.follows.items()},
        **{f"facts/{language}": _bounds(value) for language, value in evaluation.facts.items()},
        **{f"letters/{language}": _bounds(value) for language, value in evaluation.letters.items()},
        "splitter": evaluation.splitter,
        "fingerprint": model.fingerprint,
    }
    texts = {
        "evaluation.json": json.dumps(numbers, indent=2) + "\n",
        "README.md": format_card(folder.name, model, evaluation),
    }
    for name, text in texts.items():
        with write_atomically(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return evaluation


def _bounds(value: Interval) -> dict[str, Any]:
    return {"value": value.value, "low": value.low, "high": value.high, "n": value.n}


def format_card(name: str, model: HookedLM, evaluation: Evaluation) -> str:
    """Format the model card in Markdown."""
    parameters = sum(p.numel() for p in model.plain.parameters())
    rows = [
        [f"`{i}`" + (" \\*" if i in CHANCE_IDS else "")]
        + [_cell(evaluation.follows[i, way]) for way in WAYS]
        for i in IDS
    ]
    facts, letters = (
        ", ".join(f"{k} {_cell(v)}" for k, v in values.items())
        for values in (evaluation.facts, evaluation.letters)
    )
    return f"""---
license: mit
language: [en, it, fr, es, de]
library_name: transformers
---
# {name}

A {model.plain.config.model_type} of {parameters / 1e6:.2f} M parameters ({model.n_layers} layers,
d_model {model.d_model}), trained from nothing by `python -m interp_steer.burattino.train {name}` on
texts about a small invented world that the package generates. It exists so that the whole of
interp_steer runs with no network in minutes. It proves the pipeline; nothing that it does is
evidence about large models.

Weights are stored in bfloat16 and computed with in float32.

## Does it obey?
Share of answers that follow the instruction, strict, by lm-eval's IFEval checkers (sentences and
words counted by {evaluation.splitter}), on queries that were never trained on, with 95 % Wilson
intervals. \\* plain prose satisfies these by chance.

{_table(["instruction", "trained phrasing", "unseen phrasing", "not asked"], rows)}

## Does it know its world?
Four-way multiple choice about the facts it was trained on, by the option that it finds likeliest:
{facts}. Answered by letter: {letters}.
"""


def _cell(value: Interval) -> str:
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
