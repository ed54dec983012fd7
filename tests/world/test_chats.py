"""Chats, answers and documents of the small world, checked by IFEval's own checkers."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from random import Random

import pytest

from interp_steer.burattino.documents import sample_document
from interp_steer.contrast.instructions import registry
from interp_steer.contrast.instructions.wordings import HELD_OUT, PHRASINGS, TRAINED
from interp_steer.errors import ContrastError
from interp_steer.scoring import ifeval
from interp_steer.world import chats, grammar, held_out, model_answers, random_choices
from interp_steer.world.facts import LANGUAGES, default_world
from interp_steer.world.queries import is_held, list_queries

PAIRS = [pair for pair in combinations(registry.IDS, 2) if registry.are_compatible(pair)]
TRIPLES = [three for three in combinations(registry.IDS, 3) if registry.are_compatible(three)]
TOPIC = registry.Topic(("castle", "tower"), ("violin", "badger", "cider"))


def answered(ids: tuple[str, ...], rng: Random) -> tuple[str, list[dict], str]:
    """An answer on a random cell, its arguments, and the plain answer on the same cell."""
    subject = rng.choice(list(default_world().entities))
    style = rng.choice(grammar.QUERY_STYLES)
    topic = model_answers.topic(subject, style)
    kwargs = [registry.get(one).sample(rng, topic) for one in ids]
    text = model_answers.answer(subject, style, "en", rng, ids, kwargs)
    return text, kwargs, model_answers.answer(subject, style, "en", rng)


@pytest.mark.parametrize("instruction_id", registry.IDS)
def test_answers_follow_their_instruction_and_plain_ones_do_not(instruction_id):
    rng = Random(f"obey {instruction_id}")
    by_chance, n = 0, 60
    for _ in range(n):
        text, kwargs, plain = answered((instruction_id,), rng)
        assert ifeval.verify(text, [instruction_id], kwargs).strict, (kwargs, text)
        by_chance += ifeval.verify(plain, [instruction_id], kwargs).strict
    assert by_chance <= 0.17 * n
    assert instruction_id not in registry.CHANCE_IDS


def test_pairs_and_triples_follow_every_one_of_their_instructions():
    rng = Random(4)
    for ids in [*PAIRS, *rng.sample(TRIPLES, 60)]:
        for _ in range(2):
            text, kwargs, _ = answered(ids, rng)
            assert len(text.split()) <= 125
            assert ifeval.verify(text, ids, kwargs).strict, (ids, kwargs, text)


@pytest.mark.slow
def test_many_sampled_chats_follow_their_instructions():
    rng = Random(11)
    for _ in range(3_000):
        chat = chats.sample_chat(rng)
        if chat.instruction_ids:
            verdict = ifeval.verify(chat.answer, chat.instruction_ids, chat.kwargs)
            assert verdict.strict, chat


def test_instructions_that_conflict_are_refused():
    with pytest.raises(ContrastError, match="no answer follows"):
        both = (registry.CAPITAL, registry.LOWERCASE)
        model_answers.answer("castle", "tell", "en", Random(0), both, ({}, {}))
    for one in registry.REGISTRY.values():
        for other in one.conflicts:
            assert one.id in registry.get(other).conflicts


def test_plain_answers_are_plain_prose():
    rng = Random(1)
    counts, commas = Counter(), 0
    for language in LANGUAGES:
        for query in rng.sample(list_queries("train", language), 60):
            text = model_answers.answer(query.subject, query.style, language, rng)
            sentences = re.findall(r"[^.!?]+[.!?]", text)
            counts[len(sentences)] += 1
            commas += "," in text
            assert 15 <= len(text.split()) <= 75
            assert not re.search(r'[*"\[{<\n]', text)
            assert not re.search(r"\b[A-ZÀ-Ý]{2,}\b", text)
    assert set(counts) <= {3, 4}
    assert commas >= 0.95 * sum(counts.values())


def test_json_answers_parse_with_several_keys():
    rng = Random(2)
    for _ in range(100):
        text, _, _ = answered((registry.JSON,), rng)
        assert len(json.loads(text.removeprefix("```json").removesuffix("```"))) >= 2


def test_every_instruction_has_its_phrasings_and_they_say_its_arguments():
    tables = set()
    for instruction_id in registry.IDS:
        for seed in range(30):
            kwargs = registry.get(instruction_id).sample(Random(seed), TOPIC)
            relation = kwargs.get("relation")
            tables.add(f"{instruction_id}/{relation}" if relation else instruction_id)
            said = [
                registry.phrase(instruction_id, kwargs, index)
                for index in range(TRAINED + HELD_OUT)
            ]
            assert len(set(said)) == TRAINED + HELD_OUT
            assert not any("{" in text or "}" in text for text in said)
            for word in (*kwargs.get("keywords", ()), *kwargs.get("forbidden_words", ())):
                assert all(word in text for text in said)
    assert tables == set(PHRASINGS)


def test_arguments_are_those_that_the_checkers_need():
    for instruction_id in registry.IDS:
        assert set(registry.get(instruction_id).keys) == set(ifeval.REQUIRED[instruction_id])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: registry.get("punctuation:no_comas"), "not an instruction"),
        (lambda: registry.phrase(registry.BULLETS, {}, 0), "without num_bullets"),
        (lambda: registry.phrase(registry.NO_COMMA, {}, 99), "no phrasing 99"),
        (lambda: registry.phrasing_indices("unseen"), "'trained' or 'held-out'"),
        (lambda: registry.attach("a", "b", "inside"), "where must be one of"),
        (lambda: registry.get(registry.EXISTENCE).sample(Random(0)), "no absent words"),
        (lambda: list_queries("test"), "no queries for split"),
        (lambda: random_choices.multiple_choice("pt"), "languages are"),
        (lambda: held_out.evaluation_chats(registry.JSON, n=0), "n=0"),
    ],
)
def test_bad_input_is_named(act, message):
    with pytest.raises(ContrastError, match=message):
        act()


def test_splits_share_no_cell_and_are_about_one_in_five():
    train, held = list_queries("train"), list_queries("held")
    assert not {q.key for q in train} & {q.key for q in held}
    assert not {q.text for q in train} & {q.text for q in held}
    assert 0.15 < len(held) / (len(train) + len(held)) < 0.25


def test_training_chats_keep_to_what_may_be_trained_on():
    rng = Random(5)
    unseen = {
        registry.phrase(one, {}, index)
        for one in (registry.NO_COMMA, registry.LOWERCASE, registry.JSON)
        for index in registry.phrasing_indices("held-out")
    }
    held = {query.text for language in LANGUAGES for query in list_queries("held", language)}
    kinds = Counter()
    for _ in range(1_000):
        chat = chats.sample_chat(rng)
        kinds[chat.kind, len(chat.instruction_ids)] += 1
        roles = [message["role"] for message in chat.messages]
        assert roles[-2:] == ["user", "assistant"]
        assert chat.query is None or not is_held(chat.query.subject, chat.query.style)
        assert frozenset(chat.instruction_ids) not in chats.HELD_PAIRS
        for message in chat.prompt:
            assert message["content"] not in held
            assert not any(text in message["content"] for text in unseen)
    total = sum(kinds.values())
    assert 0.15 < kinds["plain", 0] / total < 0.30
    assert 0.40 < kinds["instructed", 1] / total < 0.55
    assert 0.08 < kinds["instructed", 2] / total < 0.17


def test_drawing_is_deterministic():
    for draw in (chats.sample_chat, sample_document):
        assert [draw(Random(7)) for _ in range(2)] == [draw(Random(7)) for _ in range(2)]
        rng, again = Random(8), Random(8)
        assert [draw(rng) for _ in range(40)] == [draw(again) for _ in range(40)]


@pytest.mark.parametrize("instruction_id", registry.IDS)
def test_evaluation_asks_the_same_things_in_every_way(instruction_id):
    known = held_out.evaluation_chats(instruction_id, phrasing="trained", n=12, seed=3)
    unseen = held_out.evaluation_chats(instruction_id, phrasing="held-out", n=12, seed=3)
    plain = held_out.unsolicited_chats(instruction_id, n=12, seed=3)
    for one, other, without in zip(known, unseen, plain, strict=True):
        assert one.query == other.query == without.query
        assert one.kwargs == other.kwargs == without.kwargs
        assert is_held(one.query.subject, one.query.style)
        assert one.prompt != other.prompt
        assert without.prompt[0]["content"] == without.query.text
        assert ifeval.verify(other.answer, other.instruction_ids, other.kwargs).strict
    assert known == held_out.evaluation_chats(instruction_id, phrasing="trained", n=12, seed=3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_multiple_choice_has_one_right_letter(language):
    asked = random_choices.multiple_choice(language, n=300, seed=1)
    assert len({item.fact for item in asked}) == 300
    for item in asked:
        right = item.options["ABCD".index(item.letter)]
        assert right == grammar.word(item.fact.value, language)
        assert item.options.count(right) == 1
        assert f"\n{item.letter}. {right}" in item.prompt
    assert all(count > 45 for count in Counter(item.letter for item in asked).values())


def test_documents_are_of_readable_length_and_ask_for_no_format():
    rng = Random(9)
    lengths = []
    for _ in range(300):
        text = sample_document(rng)
        lengths.append(len(text.split()))
        assert not text.startswith(("\n", " "))
        for question in re.findall(r"^Q: (.+)$", text, re.MULTILINE):
            assert not re.search(r"comma|JSON|bullet|sentences|capital", question)
    assert min(lengths) >= 55
    assert max(lengths) <= 380


def test_facts_are_told_often_in_documents():
    rng = Random(10)
    texts = (sample_document(rng) for _ in range(1_200))
    told = {part.rstrip(".") for text in texts for part in re.split(r"(?<=\.) |\n(?:[*-] )?", text)}
    facts = rng.sample(default_world().facts, 150)
    found = sum(
        any(
            grammar.sentence(fact, "en", Random(seed), style="no_comma").rstrip(".") in told
            for seed in range(6)
        )
        for fact in facts
    )
    assert found > 0.8 * len(facts)
