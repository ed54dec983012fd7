"""One text is not a list of texts: every public function that takes a list says so."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl
import pytest

import interp_steer as ist
from interp_steer.arguments import check_list
from interp_steer.contrast import languages, two_lists, words_and_lengths
from interp_steer.contrast.instructions import ifeval_rows, ifeval_sets, stripping
from interp_steer.errors import InterpSteerError, ScoringError
from interp_steer.generation import inputs, teacher_forcing
from interp_steer.geometry.propagation import propagate
from interp_steer.harness.answers import choose_by_words
from interp_steer.scoring import early, fluency, ifeval, judge, language
from interp_steer.statistics import records
from interp_steer.vectors.transfer.paired_activations import capture_pairs
from interp_steer.world import model_answers
from interp_steer.world.chats import instructed_chat
from tests.support.bad_inputs import PHRASINGS, QUERIES
from tests.support.foreign import vector_for
from tests.support.shapes import shapes_unchecked

ROOT = Path(__file__).parents[1]
TEXT = "punctuation:no_comma"
RNG = random.Random(0)


@dataclass(frozen=True)
class World:
    """A model and what there is of it."""

    model: ist.HookedLM
    vector: ist.SteeringVector
    direction: ist.Direction
    pairs: ist.ContrastSet


@cache
def _world(model: ist.HookedLM) -> World:
    vector = vector_for(model)
    pairs = ist.contrast.build("case", QUERIES, PHRASINGS, fit=5, select=2, test=1)
    return World(model, vector, vector.at(1), pairs)


@pytest.fixture
def world(model: ist.HookedLM) -> World:
    return _world(model)


class Asked(judge.AskingJudge):
    """A judge that nobody may ask."""

    def replies(self, prompts):
        raise AssertionError("it was asked")


def _local(world: World) -> judge.LocalJudge:
    return judge.LocalJudge(world.model)


def _remote() -> judge.EndpointJudge:
    return judge.EndpointJudge("http://localhost:1/v1", "m", key_variable=None)


BUILD, WORDS = ist.contrast.build, words_and_lengths
TABLE: dict[str, Callable[[World], object]] = {
    # capture
    "capture_moments prompts": lambda w: ist.capture.capture_moments(w.model, TEXT),
    "capture_moments answers": lambda w: ist.capture.capture_moments(
        w.model, ["a"], positions="generated", answers=TEXT
    ),
    # contrast
    "build queries": lambda w: BUILD("x", TEXT, PHRASINGS),
    "build phrasings": lambda w: BUILD("x", QUERIES, TEXT),
    "build instruction_ids": lambda w: BUILD("x", QUERIES, PHRASINGS, instruction_ids=TEXT),
    "word queries": lambda w: ist.contrast.word("fox", TEXT),
    "word_sets words": lambda w: WORDS.word_sets(TEXT, QUERIES),
    "word_sets queries": lambda w: WORDS.word_sets(["fox"], TEXT),
    "word_pairs queries": lambda w: WORDS.word_pairs(TEXT, ["fox"]),
    "word_pairs words": lambda w: WORDS.word_pairs(QUERIES, TEXT),
    "length_sets queries": lambda w: WORDS.length_sets(TEXT),
    "sentence_sets queries": lambda w: WORDS.sentence_sets(TEXT),
    "from_lists present": lambda w: two_lists.from_lists(TEXT, ["a"], name="x"),
    "from_lists absent": lambda w: two_lists.from_lists(["a"], TEXT, name="x"),
    "format_sets ids": lambda w: ifeval_sets.format_sets([], TEXT),
    "augmented_set queries": lambda w: ifeval_sets.augmented_set(TEXT, TEXT),
    "augmented_sets queries": lambda w: ifeval_sets.augmented_sets(TEXT),
    "augmented_sets ids": lambda w: ifeval_sets.augmented_sets(QUERIES, TEXT),
    "rows_with_one_instruction ids": lambda w: ifeval_rows.rows_with_one_instruction([], TEXT),
    "strip instruction_ids": lambda w: stripping.strip("a", TEXT),
    "strip kwargs": lambda w: stripping.strip("a", [TEXT], TEXT),
    "check_disjoint evaluation": lambda w: languages.check_disjoint(w.pairs, TEXT),
    # generation
    "tokenize prompts": lambda w: w.model.tokenize(TEXT),
    "tokenize_rendered texts": lambda w: w.model.tokenize_rendered(TEXT),
    "generate prompts": lambda w: ist.generate(w.model, TEXT),
    "logprobs prompts": lambda w: ist.logprobs(w.model, TEXT, ["a"]),
    "logprobs answers": lambda w: ist.logprobs(w.model, ["a"], TEXT),
    "divergence prompts": lambda w: ist.divergence(w.model, TEXT, ["a"], w.direction.shift(1.0)),
    "divergence answers": lambda w: ist.divergence(w.model, ["a"], TEXT, w.direction.shift(1.0)),
    "trace prompts": lambda w: ist.trace(w.model, TEXT, ["a"], w.direction.shift(1.0)),
    "trace answers": lambda w: ist.trace(w.model, ["a"], TEXT, w.direction.shift(1.0)),
    "prepare prompts": lambda w: inputs.prepare(w.model, TEXT, ist.unsteered, 1),
    "prepare_answers prompts": lambda w: teacher_forcing.prepare_answers(
        w.model, TEXT, ["a"], ist.unsteered, 1
    ),
    "prepare_answers answers": lambda w: teacher_forcing.prepare_answers(
        w.model, ["a"], TEXT, ist.unsteered, 1
    ),
    "propagate prompts": lambda w: propagate(w.model, TEXT, w.direction, [1.0]),
    "propagate answers": lambda w: propagate(w.model, ["a"], w.direction, [1.0], answers=TEXT),
    # scoring
    "verify instruction_ids": lambda w: ifeval.verify("a", TEXT, [{}]),
    "verify kwargs": lambda w: ifeval.verify("a", [TEXT], TEXT),
    "has_failed instruction_ids": lambda w: early.has_failed("a", TEXT, [{}]),
    "has_failed kwargs": lambda w: early.has_failed("a", [TEXT], TEXT),
    "perplexity texts": lambda w: fluency.perplexity(w.model, TEXT),
    "detect languages": lambda w: language.detect("a", TEXT),
    "detect_all texts": lambda w: language.detect_all(TEXT),
    "detect_all languages": lambda w: language.detect_all(["a"], TEXT),
    "list_questions queries": lambda w: judge.list_questions(Asked(), TEXT),
    "ask_questions queries": lambda w: Asked().ask_questions(TEXT),
    "LocalJudge.replies prompts": lambda w: _local(w).replies(TEXT),
    "EndpointJudge.replies prompts": lambda w: _remote().replies(TEXT),
    "shares by": lambda w: records.shares(pl.DataFrame({"a": [True]}), TEXT, "a"),
    "choose_by_words options": lambda w: choose_by_words("a", TEXT),
    # vectors
    "fit layers": lambda w: ist.fit(w.model, w.pairs, layers="12"),
    "fit_steps answers": lambda w: ist.fit_steps(w.model, w.pairs, answers=TEXT),
    "fit_steps layers": lambda w: ist.fit_steps(w.model, w.pairs, layers="12"),
    "sites layers": lambda w: w.model.sites("resid_post", "12"),
    "Condition.scores prompts": lambda w: ist.conditions.Condition(w.direction, 0.0).scores(
        w.model, TEXT
    ),
    "Condition.fires prompts": lambda w: ist.conditions.Condition(w.direction, 0.0).fires(
        w.model, TEXT
    ),
    "Condition.gate prompts": lambda w: ist.conditions.Condition(w.direction, 0.0).gate(
        w.model, TEXT, w.direction.shift(1.0)
    ),
    "StrengthCalibrator prompts": lambda w: ist.StrengthCalibrator(w.model, w.vector, TEXT),
    "fit_map prompts": lambda w: ist.transfer.fit_map(w.model, w.model, TEXT),
    "map_vector prompts": lambda w: ist.transfer.map_vector(w.vector, w.model, w.model, TEXT),
    "capture_pairs prompts": lambda w: capture_pairs(w.model, w.model, TEXT),
    "capture_pairs answers": lambda w: capture_pairs(w.model, w.model, ["a"], answers=TEXT),
    # world
    "answer instruction_ids": lambda w: model_answers.answer(
        "fox", "describe", "en", RNG, TEXT, [{}]
    ),
    "instructed_chat instruction_ids": lambda w: instructed_chat(
        None, None, TEXT, "trained", "after", RNG
    ),
}


ELSEWHERE = {
    "apply resps": "the harness gives it",
    "combine_within_splits queries": "build gives it",
    "draw_arguments instruction_ids": "instructed_chat gives it",
    "compute_keys choices": "the ledger gives it",
    "draw_uniform applied": "the ledger gives it",
    "fires prompts": "a row of Condition",
    "gate prompts": "a row of Condition",
    "scores prompts": "a row of Condition",
    "replies prompts": "two rows of judges",
    "__init__ prompts": "the row of StrengthCalibrator",
    "__init__ keys": "generate gives it",
    "of prompts": "the rows of capture_pairs",
    "of answers": "the rows of capture_pairs",
    "read_tensors needed": "other modules give it",
    "read_tensors integers": "other modules give it",
    "render_table header": "the cards give it",
    "render_table lines": "the cards give it",
    "stress sentences": "other modules give it",
}
"""Arguments without a row of their own name, and why."""


def _lists_of_texts() -> set[str]:
    """The public functions that take a list of texts, with the argument."""
    rows = set()
    for path in (ROOT / "interp_steer").rglob("*.py"):
        if "burattino" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef) or re.match(r"_(?!_init_)", node.name):
                continue
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                kind = "" if argument.annotation is None else ast.unparse(argument.annotation)
                if re.search(r"(Sequence|Iterable|Collection|list)\[(str|Query|Prompt)\b", kind):
                    rows.add(f"{node.name} {argument.arg}")
    return rows


def test_every_public_list_of_texts_has_a_row() -> None:
    assert _lists_of_texts() - set(TABLE) == set(ELSEWHERE)


@pytest.mark.parametrize("row", TABLE)
def test_a_text_where_a_list_is_meant_is_refused_as_one(row: str, world: World) -> None:
    argument = row.rpartition(" ")[2]
    with (
        shapes_unchecked(),
        pytest.raises(InterpSteerError, match=rf"{argument} is (one text, )?'.*; give a list of"),
    ):
        TABLE[row](world)


def test_a_mapping_where_a_list_is_meant_is_refused_as_one() -> None:
    with pytest.raises(ScoringError, match=r"kwargs is one mapping, \{\}; give a list of"):
        ifeval.verify("a", [TEXT], {})
    with pytest.raises(ScoringError, match=r"kwargs is one mapping"):
        early.has_failed("a", [TEXT], {})


@pytest.mark.parametrize("value", [["a"], ("a",), {"a"}, None, iter("ab"), 3])
def test_anything_else_passes(value: object) -> None:
    check_list("texts", value, ScoringError)


@pytest.mark.parametrize("value", ["a", b"a", {"a": 1}, Path("a")])
def test_what_is_refused_is_shown(value: object) -> None:
    with pytest.raises(ScoringError, match="texts is one"):
        check_list("texts", value, ScoringError)
