"""Verdicts: lm-eval's own where lm-eval is sound, defined and repeatable where it is not."""

import json
import subprocess
import sys
import time
from pathlib import Path

import langdetect
import nltk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.contrast.instructions.arguments import (
    EXACTLY,
    REQUIRED,
    lm_eval_instructions,
)
from interp_steer.errors import ScoringError
from interp_steer.scoring import sentences
from interp_steer.scoring.ifeval import verify

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "llm-steer-instruct"
needs_published = pytest.mark.skipif(
    not (PUBLISHED / "outputs-phi-3").is_dir(),
    reason=f"the published outputs of paper A are not at {PUBLISHED}",
)

ARGUMENTS = {
    "keywords": ["stone", "bridge"],
    "forbidden_words": ["stone", "bridge"],
    "keyword": "stone",
    "frequency": 2,
    "relation": "at least",
    "letter": "e",
    "let_frequency": 5,
    "let_relation": "less than",
    "language": "en",
    "num_sentences": 3,
    "num_paragraphs": 2,
    "num_words": 12,
    "nth_paragraph": 2,
    "first_word": "the",
    "num_placeholders": 1,
    "postscript_marker": "P.S.",
    "num_bullets": 2,
    "num_highlights": 1,
    "section_spliter": "Section",
    "num_sections": 2,
    "prompt_to_repeat": "Tell me of the bridge.",
    "end_phrase": "Is that all?",
    "capital_frequency": 1,
    "capital_relation": "at least",
}
COMPLETE = {name: {arg: ARGUMENTS[arg] for arg in args} for name, args in REQUIRED.items()}
WHAT_CHECKERS_LOOK_FOR = (
    'the stone BRIDGE is old. | * one\n| - two\n|***|\n\n|<<a title>>|P.S. more|Section 1 |"|, |! |'
    '[name]|*bold*|{"a": 1}|```|My answer is yes.|Is that all?|... |¿Qué tal? |******|42 | |'
    "Section 2 |Tell me of the bridge.|Dr. Who said e.g. so. "
)
PIECES = st.sampled_from(WHAT_CHECKERS_LOOK_FOR.split("|"))
ANSWERS = st.lists(PIECES, max_size=12).map("".join)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def one(answer, instruction_id, **kwargs):
    return verify(answer, [instruction_id], [kwargs])


def test_the_table_of_arguments_is_lm_evals():
    lm_eval_instructions()
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    assert set(REQUIRED) == set(INSTRUCTION_DICT)
    for name, checker in INSTRUCTION_DICT.items():
        built = checker(name)
        built.build_description(**COMPLETE[name])
        assert set(built.get_instruction_args_keys()) == set(REQUIRED[name]), name


@settings(max_examples=60, deadline=None)
@given(answer=ANSWERS)
def test_verdicts_are_lm_evals_own(answer):
    """Every instruction that needs no trained splitter, strict and loose, against lm-eval."""
    lm_eval_instructions()
    from lm_eval.tasks.ifeval import utils

    names = [
        name
        for name in REQUIRED
        if sentences.splitter() == "punkt_tab"
        or name not in ("length_constraints:number_sentences", "change_case:capital_word_frequency")
    ]
    kwargs = [COMPLETE[name] for name in names]
    example = utils.InputExample(key=0, instruction_id_list=names, prompt="", kwargs=kwargs)
    langdetect.DetectorFactory.seed = 0
    try:
        strict = utils.test_instruction_following_strict(example, answer)
        loose = utils.test_instruction_following_loose(example, answer)
    finally:
        langdetect.DetectorFactory.seed = None
    verdict = verify(answer, names, kwargs)
    assert list(verdict.each_strict) == strict.follow_instruction_list
    assert list(verdict.each_loose) == loose.follow_instruction_list
    assert verdict.strict == strict.follow_all_instructions
    assert verdict.loose == loose.follow_all_instructions


@settings(max_examples=30, deadline=None)
@given(answer=st.text(max_size=80))
def test_strict_implies_loose(answer):
    names = [name for name in REQUIRED if not name.startswith("language")]
    verdict = verify(answer, names, [COMPLETE[name] for name in names])
    assert all(
        loose or not strict
        for strict, loose in zip(verdict.each_strict, verdict.each_loose, strict=True)
    )


@pytest.mark.parametrize("blank", ["", " ", "\n\n", "\t \n"])
def test_a_blank_answer_follows_nothing(blank):
    verdict = verify(blank, list(REQUIRED), list(COMPLETE.values()))
    assert not any(verdict.each_strict) and not any(verdict.each_loose)


def test_loose_forgives_a_preface_and_asterisks():
    verdict = one("Sure, here it is:\nno commas at all", "punctuation:no_comma")
    assert (verdict.strict, verdict.loose) == (False, True)
    verdict = one('*"quoted"*', "startend:quotation")
    assert (verdict.strict, verdict.loose) == (False, True)


@pytest.mark.parametrize("name", [name for name, args in REQUIRED.items() if args])
def test_a_missing_argument_is_named_and_never_drawn(name):
    for missing in REQUIRED[name]:
        kwargs = {key: value for key, value in COMPLETE[name].items() if key != missing}
        for given_kwargs in (kwargs, {**kwargs, missing: None}):
            with pytest.raises(ScoringError, match=missing):
                one("an answer", name, **given_kwargs)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("length_constraints:number_words", {"num_words": -1}, "negative"),
        ("length_constraints:number_words", {"num_words": 2.5}, "whole number"),
        ("length_constraints:number_words", {"num_words": float("nan")}, "whole number"),
        ("length_constraints:number_words", {"num_words": True}, "whole number"),
        ("length_constraints:number_words", {"num_words": "12"}, "whole number"),
        ("length_constraints:number_words", {"relation": "at most"}, "exactly"),
        ("keywords:frequency", {"relation": "exactly"}, "'less than', 'at least'"),
        ("length_constraints:nth_paragraph_first_word", {"nth_paragraph": 3}, "1..num_paragraphs"),
        ("keywords:existence", {"keywords": []}, "non-empty list"),
        ("keywords:existence", {"keywords": "stone"}, "non-empty list"),
        ("keywords:existence", {"keywords": ["C++("]}, "regular expression"),
        ("keywords:letter_frequency", {"letter": "ee"}, "single character"),
        ("startend:end_checker", {"end_phrase": "  "}, "non-empty text"),
        ("language:response_language", {"language": "tlh"}, "language code"),
        ("punctuation:no_comma", {"num_words": 3}, "does not take num_words"),
    ],
)
def test_impossible_arguments_are_refused(name, changes, says):
    with pytest.raises(ScoringError, match=says):
        one("an answer", name, **{**COMPLETE[name], **changes})


def test_unknown_instructions_name_the_nearest():
    with pytest.raises(ScoringError, match="change_case:english_lowercase"):
        one("x", "change_case:lowercase")
    with pytest.raises(ScoringError, match="length_constraints:number_words"):
        one("x", "length_constraint:number_word")


def test_mismatched_or_no_instructions_are_refused():
    with pytest.raises(ScoringError, match="no instruction"):
        verify("x", [], [])
    with pytest.raises(ScoringError, match="one per instruction"):
        verify("x", ["punctuation:no_comma"], [])


def test_none_entries_and_whole_floats_of_the_dataset_are_accepted():
    padded = dict.fromkeys(ARGUMENTS) | {"num_words": 3.0, "relation": "at least"}
    assert one("one two three", "length_constraints:number_words", **padded).strict
    counted = {"num_words": np.int64(3), "relation": "less than"}
    assert not one("one two three", "length_constraints:number_words", **counted).strict


def test_a_threshold_of_zero_is_a_threshold():
    """lm-eval's own loop drops falsy arguments, and draws a random number for this one."""
    for _ in range(20):
        assert one("x", "keywords:frequency", keyword="y", frequency=0, relation="at least").strict


def test_letters_beyond_the_alphabet_are_counted():
    marks = {"letter": "!", "let_frequency": 3, "let_relation": "at least"}
    assert one("oh! oh! oh!", "keywords:letter_frequency", **marks).strict
    assert not one("oh! oh!", "keywords:letter_frequency", **marks).strict


@pytest.mark.parametrize("name", EXACTLY)
def test_exactly_is_at_least_and_not_one_more(name):
    answer = "One sentence here. Another one there! And a third?"
    count_of = {"length_constraints:number_sentences": 3, "length_constraints:number_words": 9}[
        name
    ]
    argument = REQUIRED[name][0]
    for count in range(12):
        exact = one(answer, name, **{argument: count, "relation": "exactly"}).strict
        reached = one(answer, name, **{argument: count, "relation": "at least"}).strict
        passed = one(answer, name, **{argument: count + 1, "relation": "at least"}).strict
        assert exact == (count == count_of) == (reached and not passed)


def test_repeat_prompt_falls_back_on_the_prompt():
    name = "combination:repeat_prompt"
    assert verify("Who? Me.", [name], [{}], prompt="Who?").strict
    assert not verify("Who? Me.", [name], [{"prompt_to_repeat": "What?"}], prompt="Who?").strict
    with pytest.raises(ScoringError, match="prompt_to_repeat"):
        verify("Who? Me.", [name], [{}])


def test_a_verdict_depends_on_nothing_scored_before():
    """Short mixed texts, whose language langdetect changes from call to call when unseeded."""
    texts = [
        "no via lo so la",
        "the casa is mia",
        "tak to je a no",
        "ja to nie on",
        "a la carte no",
    ]
    name = "language:response_language"
    codes = ["en", "it", "pt", "pl", "fr", "es", "de"]

    def scores(order):
        return {t: tuple(one(t, name, language=c).strict for c in codes) for t in order}

    langdetect.DetectorFactory.seed = 1234
    try:
        first = scores(texts)
        langdetect.DetectorFactory.seed = None
        for text in texts * 3:
            langdetect.detect(text)
        assert scores(texts[::-1]) == first == scores(texts)
        assert langdetect.DetectorFactory.seed is None
    finally:
        langdetect.DetectorFactory.seed = None


def test_a_run_of_brackets_is_no_json_and_no_crash():
    assert not one("[" * 200_000, "detectable_format:json_format").loose


def test_nltk_is_left_as_it_was():
    find, download = nltk.data.find, nltk.download
    lm_eval_instructions.cache_clear()
    assert lm_eval_instructions().__name__ == "lm_eval.tasks.ifeval.instructions"
    assert (nltk.data.find, nltk.download) == (find, download)


ALONE = """
import random, socket, sys
import nltk, numpy as np
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.getaddrinfo = nltk.download = refuse
from interp_steer.scoring.ifeval import REQUIRED, verify
import interp_steer
print("lm_eval" in sys.modules, interp_steer.scoring.ifeval.verify is verify)
verify("warm up", ["punctuation:no_comma"], [{}])
random.seed(5), np.random.seed(5)
before = random.getstate(), np.random.get_state()[1].tolist()
kwargs = {"num_sentences": 2, "relation": "exactly"}
names = ["length_constraints:number_sentences", "language:response_language"]
verdict = verify("Go home. Stay there.", names, [kwargs, {"language": "en"}])
print((random.getstate(), np.random.get_state()[1].tolist()) == before)
print(verdict.each_strict[0], verdict.splitter)
"""


def test_a_first_verdict_asks_no_network_and_draws_nothing():
    """In a process of its own: the import matters, and the tests' type checks draw numbers."""
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, cwd=here)
    assert done.stdout.split() == ["False", "True", "True", "True", sentences.splitter()], (
        done.stderr
    )
    assert "network" not in done.stderr and "nltk_data" not in done.stderr


def test_five_thousand_verdicts_take_seconds():
    names = ["punctuation:no_comma", "length_constraints:number_sentences", "startend:quotation"]
    kwargs = [COMPLETE[name] for name in names]
    answers = [
        f"The bridge of stone is {i} years old. It stands, *still*.\nSo?" for i in range(5000)
    ]
    started = time.process_time()
    for answer in answers:
        verify(answer, names, kwargs)
    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("no full stop", 1),
        ("Dr. Smith met Mrs. Jones at 5 p.m. on Monday.", 1),
        ("It costs 3.50 euros. Visit www.example.com now!", 2),
        ("Wow!!! Really?! Yes...", 3),
        ("Well... maybe not.", 1),
        ("Bring apples, pears, etc. The rest is here.", 2),
        ('He said "Go." Then he left.', 2),
        ("One line\nand another", 1),
        ("all in lowercase. still two sentences.", 2),
        ("J. R. R. Tolkien wrote it.", 1),
    ],
)
def test_sentences_are_counted_as_a_reader_would(text, count):
    assert sentences.count_sentences(text) == count


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="aB .!?\n,'\"", max_size=60))
def test_sentence_counts_are_bounded(text):
    count = sentences.count_sentences(text)
    assert (count == 0) == (not text.strip())
    assert count <= 1 + sum(text.count(mark) for mark in ".!?")


def test_capital_words_are_counted_as_words():
    kwargs = {"capital_frequency": 3, "capital_relation": "at least"}
    name = "change_case:capital_word_frequency"
    assert one("NASA and the WELL-KNOWN FBI. no more", name, **kwargs).strict
    assert not one("NASA and the F-b-I", name, **kwargs).strict


@needs_published
@pytest.mark.parametrize(
    ("file", "accuracy"),
    [
        ("no_instr.jsonl", 0.110),
        ("adjust_rs_-1_perplexity.jsonl", 0.307),
        ("standard.jsonl", 0.699),
        ("instr_plus_adjust_rs_-1_perplexity.jsonl", 0.773),
    ],
)
def test_published_format_accuracies(file, accuracy):
    """Paper A, format experiment, Phi-3: loose accuracy on the 163 single-instruction prompts."""
    keys = {row["key"] for row in lines(PUBLISHED / "ifeval_single_instr_format.jsonl")}
    rows = [
        row for row in lines(PUBLISHED / "outputs-phi-3" / "format" / file) if row["key"] in keys
    ]
    assert len(rows) == 163
    loose = [
        verify(row["response"], row["instruction_id_list"], row["kwargs"]).loose for row in rows
    ]
    assert abs(sum(loose) - 163 * accuracy) <= 1


@needs_published
@pytest.mark.parametrize(
    ("file", "accuracies"),
    [
        ("no_steering_exactly.jsonl", [0.78, 0.68, 0.70, 0.66, 0.67]),
        ("exactly_instr_plus_add_vector_length_specific_12.jsonl", [0.92, 0.89, 0.84, 0.82, 0.77]),
    ],
)
def test_published_sentence_counts(file, accuracies):
    """Paper A, exactly k sentences, Phi-3: the splitter is within one answer in a hundred."""
    rows = lines(PUBLISHED / "outputs-phi-3" / "length" / file)
    for index, accuracy in enumerate(accuracies):
        answers = [row["response"] for row in rows if row["length_constraint"] == index]
        kwargs = {"num_sentences": index + 1, "relation": "exactly"}
        name = "length_constraints:number_sentences"
        hits = [one(answer, name, **kwargs).strict for answer in answers]
        assert abs(sum(hits) - len(answers) * accuracy) <= 1.01
