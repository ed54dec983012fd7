"""Contrast sets of languages: what each side says, what is apart, what the papers' code did."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.languages import (
    INSTRUCTIONS,
    Side,
    check_disjoint,
    language_set,
    published_set,
    question_blocks,
)
from interp_steer.contrast.pair import Pair, Prompt
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import ContrastError, ModelError
from interp_steer.models.loading import load
from interp_steer.models.prompts import PromptFormat
from interp_steer.scoring import ifeval
from interp_steer.world.translations import parallel

ITEMS = parallel(60, seed=5)
BY_KEY = {item.key: item for item in ITEMS}
SIZES: dict[str, Any] = {"fit": 6, "select": 3, "test": 4}
codes = st.sampled_from(["en", "it", "fr", "es", "de"])
sides = st.builds(Side, codes, codes)


def turns(prompt: Prompt, role: str) -> list[str]:
    assert not isinstance(prompt, str)
    return [turn["content"] for turn in prompt if turn["role"] == role]


@settings(max_examples=30, deadline=None)
@given(sides, sides, st.integers(0, 5), st.integers(0, 10**6))
def test_no_worked_example_is_asked_about_and_splits_share_nothing(
    negative: Side, positive: Side, shots: int, seed: int
) -> None:
    if negative == positive:
        with pytest.raises(ContrastError, match="both sides are"):
            language_set(ITEMS, negative, positive, **SIZES)
        return
    pairs = language_set(ITEMS, negative, positive, shots=shots, seed=seed, **SIZES)
    assert [len(pairs.fit), len(pairs.select), len(pairs.test)] == [6, 3, 4]
    assert len({plain_text(query) for query in pairs.queries}) == len(pairs)
    for side in (negative, positive):
        asked = {BY_KEY[pair.key].question(side.question) for pair in pairs}
        for pair in pairs:
            shown = turns(pair.present, "user")[:-1]
            assert len(shown) == shots == len(set(shown))
            assert not asked & set(shown)
    again = language_set(ITEMS, negative, positive, shots=shots, seed=seed, **SIZES)
    assert pairs == again


@settings(max_examples=20, deadline=None)
@given(sides, sides, st.integers(1, 3))
def test_sides_that_are_exchanged_exchange_present_and_absent(
    one: Side, other: Side, shots: int
) -> None:
    if one == other:
        return
    forth = language_set(ITEMS, one, other, shots=shots, **SIZES)
    back = language_set(ITEMS, other, one, shots=shots, **SIZES)
    assert forth.fit.present == back.fit.absent and forth.fit.absent == back.fit.present
    assert [pair.key for pair in forth] == [pair.key for pair in back]


def test_each_side_is_in_its_languages() -> None:
    pairs = language_set(ITEMS, "EN-EN", "it-fr", shots=2, **SIZES)
    assert pairs.name == "en-en to it-fr"
    by_question = {(c, i.question(c)): i for i in ITEMS for c in ("en", "it")}
    for pair in pairs.fit:
        item = BY_KEY[pair.key]
        for prompt, asked, answered in ((pair.absent, "en", "en"), (pair.present, "it", "fr")):
            assert turns(prompt, "system") == [INSTRUCTIONS[answered]]
            *shown, last = turns(prompt, "user")
            assert last == item.question(asked)
            examples = [by_question[asked, text] for text in shown]
            assert turns(prompt, "assistant") == [one.answer(answered) for one in examples]
        assert pair.query == item.question("en")
        assert pair.instruction_ids == ("language:response_language",)
        for code, follows in (("fr", True), ("en", False)):
            verdict = ifeval.verify(item.answer(code), pair.instruction_ids, pair.kwargs)
            assert verdict.strict is follows


def test_a_steered_model_is_asked_the_bare_question() -> None:
    pairs = language_set(ITEMS, "it-it", "it-en", shots=3, **SIZES)
    for pair in (*pairs.select, *pairs.test):
        assert pair.absent == pair.query == BY_KEY[pair.key].question("it")
        assert turns(pair.present, "user")[-1] == pair.query
        assert turns(pair.present, "system") == [INSTRUCTIONS["en"]]
    assert all(turns(pair.absent, "system") for pair in pairs.fit)


def test_prompts_without_line_and_examples_are_questions() -> None:
    pairs = language_set(ITEMS, "en-en", "it-it", shots=0, instructions=None, **SIZES)
    for pair in pairs:
        item = BY_KEY[pair.key]
        assert (pair.absent, pair.present) == (item.question("en"), item.question("it"))
    with pytest.raises(ContrastError, match="asks the same on both sides"):
        language_set(ITEMS, shots=0, instructions=None, **SIZES)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ContrastError, match=r"60 items .* at least 62"):
        language_set(ITEMS, shots=4, fit=58, select=0, test=0)
    with pytest.raises(ContrastError, match="instruction line is missing in 'de'"):
        language_set(ITEMS, "en-en", "en-de", instructions={"en": "Answer."}, **SIZES)
    with pytest.raises(ContrastError, match="no question in 'nl'"):
        language_set(ITEMS, "en-en", "nl-en", **SIZES)
    with pytest.raises(ContrastError, match="side 'english' is not two languages"):
        language_set(ITEMS, "english")
    with pytest.raises(ContrastError, match="numbers from 0 up"):
        language_set(ITEMS, shots=-1, **SIZES)


def test_questions_that_are_the_same_are_used_once() -> None:
    twins = [replace(item, key=f"{item.key}/again") for item in ITEMS]
    assert language_set([*ITEMS, *twins], **SIZES) == language_set(ITEMS, **SIZES)
    # Different in English and the same in Italian is the same where Italian is asked.
    other = replace(
        ITEMS[0], key="other", questions={**ITEMS[0].questions, "en": "Who is it, after all?"}
    )
    assert language_set([*ITEMS, other], "en-en", "it-it", **SIZES) == language_set(
        ITEMS, "en-en", "it-it", **SIZES
    )


# ------------------------------------------------------------------ overlap


def test_an_evaluation_that_was_fitted_on_is_refused() -> None:
    pairs = language_set(ITEMS, "en-en", "it-it", shots=2, **SIZES)
    check_disjoint(pairs.fit, pairs.select.queries)
    check_disjoint(pairs.fit, parallel(20, split="train"))
    with pytest.raises(ContrastError, match="'en-en to it-it' is fitted on"):
        check_disjoint(pairs.fit, [BY_KEY[pairs.fit[3].key]])
    shown = turns(pairs.fit[0].present, "user")[0]
    with pytest.raises(ContrastError, match="1 questions of the evaluation"):
        check_disjoint(pairs.fit, ["Who was Collodi?", f"  {shown.upper()}"])


# ------------------------------------------------------------------ the published code


def numbered(n: int) -> list[ParallelItem]:
    return [
        ParallelItem(f"{i:04d}", {"en": f"Q{i}?"}, {"en": f"yes {i}", "it": f"sì {i}"})
        for i in range(n)
    ]


@pytest.mark.parametrize(("asked", "shown"), [(0, 0), (1, 0), (2, 1), (4, 3)])
def test_one_example_fewer_than_asked_for(asked: int, shown: int) -> None:
    pairs = published_set(numbered(60), shots=asked, fit=5, test=3)
    for pair in pairs:
        index = int(pair.key[:4])
        assert (index + 1) % (asked + 1) == 0
        assert turns(pair.present, "user") == [
            *(f"Q{i}?" for i in range(index - asked, index - asked + shown)), f"Q{index}?",
        ]  # fmt: skip
    assert pairs.name == "published en-en to en-it"


def test_blocks_are_drawn_as_pythons_generator_draws_them() -> None:
    random.seed(32)  # how the published code is seeded
    drawn = [random.randint(0, 98) for _ in range(30)]
    pairs = published_set(numbered(499))
    assert [int(pair.key[:4]) for pair in pairs.fit] == [5 * index + 4 for index in drawn]
    left = [index for index in range(99) if index not in drawn]
    assert [int(pair.key) for pair in pairs.test] == [5 * index + 4 for index in left[:50]]


def test_a_block_may_come_again_and_is_never_reported_on() -> None:
    pairs = published_set(numbered(25), fit=30, test=0)
    assert len(set(pairs.queries)) <= 5 and len({pair.key for pair in pairs}) == 30
    assert any(pair.key.endswith("#2") for pair in pairs)
    with pytest.raises(ContrastError, match="are not drawn; test=5 is too many"):
        published_set(numbered(25), fit=30, test=5)
    with pytest.raises(ContrastError, match="4 items are 0 blocks of 5"):
        published_set(numbered(4))


# ------------------------------------------------------------------ the published prompt


def test_the_published_prompt_to_the_letter() -> None:
    [pair] = published_set(numbered(3), shots=2, fit=1, test=0)
    assert question_blocks(pair.present) == (
        "Rispondi alle seguenti domande\nQ:Q0?\nA:sì 0\n\nQ:Q2?\nA:"
    )
    assert question_blocks(pair.query) == "Q:Q2?\nA:"
    begun = [*pair.present, {"role": "assistant", "content": "sì"}]
    assert question_blocks(begun) == f"{question_blocks(pair.present)}sì"
    with pytest.raises(ModelError, match="is not a turn of a chat"):
        question_blocks([{"role": "tool", "content": "x"}])


def test_a_model_reads_it_with_a_bos_before_every_piece() -> None:
    plain = load("burattino-instruct", prompt_format=question_blocks)
    bos, head = str(plain.tokenizer.bos_token), plain.tokenizer.bos_token_id
    assert isinstance(head, int)
    published_too = load("burattino-instruct", prompt_format=partial(question_blocks, bos=bos))
    pair = language_set(ITEMS, shots=2, fit=1, select=0, test=0)[0]
    once, each = (model.tokenize([pair.present])[0] for model in (plain, published_too))
    # The line and its end, three pieces for a question, two for an answer.
    assert each.count(head) == 2 + 3 * 3 + 2 * 2 and each[0] == head
    assert not any(a == b == head for a, b in pairwise(each))
    assert [t for t in once if t != head] == plain.tokenizer(
        question_blocks(pair.present), add_special_tokens=False
    )["input_ids"]
    stopping = PromptFormat("custom", question_blocks, ("Q:",))
    assert stopping.render(plain.tokenizer, pair.present) == plain.render(pair.present)


def test_a_set_survives_its_file(tmp_path: Any) -> None:
    pairs = language_set(ITEMS, shots=1, **SIZES)
    pairs.to_jsonl(tmp_path / "pairs.jsonl")
    again = ContrastSet.from_jsonl(tmp_path / "pairs.jsonl", name=pairs.name)
    assert again == pairs and again.hash == pairs.hash
    assert isinstance(again[0], Pair)
