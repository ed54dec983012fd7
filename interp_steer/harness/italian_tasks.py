"""Italian benchmarks answered in words: documents of lm-eval's own tasks, asked with letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from lm_eval.tasks.okapi.hellaswag_multilingual.utils import preprocess

from interp_steer.harness.answers import LETTERS


def mmlu(dataset: Dataset) -> Dataset:
    """Documents of ``m_mmlu_it``: a question and four options."""
    return dataset.map(_exam_question)


def arc(dataset: Dataset) -> Dataset:
    """Documents of ``arc_it``: a question and three to five options."""
    return dataset.map(_exam_question)


def hellaswag(dataset: Dataset) -> Dataset:
    """Documents of ``hellaswag_it``: a text, and four ways in which it may go on."""

    def asked(doc: dict[str, Any]) -> dict[str, Any]:
        context = preprocess(f"{doc['activity_label']}: {doc['ctx_a']} {doc['ctx_b'].capitalize()}")
        endings = [preprocess(ending) for ending in doc["endings"]]
        return _lettered("Testo", context, endings, int(doc["label"]))

    return dataset.map(asked)


def _exam_question(doc: dict[str, Any]) -> dict[str, Any]:
    given = [doc.get(f"option_{letter.lower()}") for letter in LETTERS]
    options = [preprocess(option) for option in given if option]
    return _lettered(
        "Domanda", preprocess(doc["instruction"]), options, LETTERS.index(doc["answer"])
    )


def _lettered(what: str, text: str, options: Sequence[str], gold: int) -> dict[str, Any]:
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    query = "\n".join([f"{what}: {text}", *lines, "Risposta:"])
    return {"query": query, "choices": list(options), "gold": gold, "letter": LETTERS[gold]}
