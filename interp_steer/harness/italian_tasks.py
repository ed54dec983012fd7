"""Make documents of Italian benchmarks, answered in words: lm-eval's own tasks with letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from lm_eval.tasks.okapi.hellaswag_multilingual.utils import preprocess

from interp_steer.harness.answers import LETTERS


def mmlu(dataset: Dataset) -> Dataset:
    """Make documents of ``m_mmlu_it``: a question and four options."""
    return dataset.map(_make_exam_question)


def arc(dataset: Dataset) -> Dataset:
    """Make documents of ``arc_it``: a question and three to five options."""
    return dataset.map(_make_exam_question)


def hellaswag(dataset: Dataset) -> Dataset:
    """Make documents of ``hellaswag_it``: a text with four continuations."""

    def make_question(doc: dict[str, Any]) -> dict[str, Any]:
        context = preprocess(f"{doc['activity_label']}: {doc['ctx_a']} {doc['ctx_b'].capitalize()}")
        endings = [preprocess(ending) for ending in doc["endings"]]
        return _letter_options("Testo", context, endings, int(doc["label"]))

    return dataset.map(make_question)


def _make_exam_question(doc: dict[str, Any]) -> dict[str, Any]:
    texts = [doc.get(f"option_{letter.lower()}") for letter in LETTERS]
    options = [preprocess(text) for text in texts if text]
    return _letter_options(
        "Domanda", preprocess(doc["instruction"]), options, LETTERS.index(doc["answer"])
    )


def _letter_options(heading: str, text: str, options: Sequence[str], gold: int) -> dict[str, Any]:
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    query = "\n".join([f"{heading}: {text}", *lines, "Risposta:"])
    return {"query": query, "choices": list(options), "gold": gold, "letter": LETTERS[gold]}
