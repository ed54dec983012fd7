"""The world's facts, and their telling in five languages."""

from __future__ import annotations

import collections
import random
import re

import langdetect
import pytest

from interp_steer.world import grammar
from interp_steer.world.facts import KINDS, LANGUAGES, RELATIONS, Fact, default_world
from interp_steer.world.lexicon import de, en, es, fr, it, nouns

LEXICA = {"en": en, "it": it, "fr": fr, "es": es, "de": de}
WORLD = default_world()
_FORBIDDEN = re.compile(r'["\[\]*{}<>|_0-9]')


def _check_sentence(text: str) -> None:
    assert text.endswith(".") and not re.search(r"[.!?;:]", text[:-1]), text
    assert text[0].isupper(), text
    assert not _FORBIDDEN.search(text) and "  " not in text and text == text.strip(), text
    assert not re.search(r"\b[A-ZÀ-Ý]{2,}\b", text), text


def test_the_world_is_a_table() -> None:
    assert len(WORLD.entities) == 150
    assert len(WORLD.facts) == 1200
    assert len({(fact.subject, fact.relation) for fact in WORLD.facts}) == len(WORLD.facts)
    for key, entity in WORLD.entities.items():
        assert 6 <= len(WORLD.about(key)) <= 9
        assert all(fact.relation in RELATIONS[entity.kind] for fact in WORLD.about(key))
        assert all(fact.value in WORLD.values[WORLD.value_type(fact)] for fact in WORLD.about(key))
        assert all(fact.value != key for fact in WORLD.about(key))


def test_keys_name_one_thing() -> None:
    keys = [key for values in WORLD.values.values() for key in values]
    assert len(keys) == len(set(keys))


def test_the_world_is_always_the_same() -> None:
    first = WORLD.facts
    default_world.cache_clear()
    assert default_world().facts == first


def test_values_are_well_spread() -> None:
    values = collections.defaultdict(collections.Counter)
    for fact in WORLD.facts:
        values[WORLD.entities[fact.subject].kind, fact.relation][fact.value] += 1
    for relation, counts in values.items():
        assert max(counts.values()) <= 0.25 * sum(counts.values()), (relation, counts)


def test_distractors_are_wrong_and_of_the_same_type() -> None:
    rng = random.Random(0)
    for fact in WORLD.facts:
        wrong = WORLD.distractors(fact, 3, rng)
        assert len(set(wrong)) == 3 and fact.value not in wrong and fact.subject not in wrong
        assert set(wrong) <= set(WORLD.values[WORLD.value_type(fact)])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_relation_has_frames_and_questions(language: str) -> None:
    relations = {f"{kind}.{relation}" for kind in KINDS for relation in RELATIONS[kind]}
    assert set(LEXICA[language].FRAMES) == relations
    assert set(LEXICA[language].QUESTIONS) == relations
    fewest = 4 if language == "en" else 3
    assert all(len(set(found)) >= fewest for found in LEXICA[language].FRAMES.values())
    assert set(LEXICA[language].QUERIES) == set(grammar.QUERY_STYLES)
    if language == "de":
        assert all(any(f.startswith("{s} ") for f in found) for found in de.FRAMES.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fact_is_told(language: str) -> None:
    rng = random.Random(1)
    for fact in WORLD.facts:
        told = set()
        for style in (None, "no_comma", "no_comma", "comma", "letter"):
            text = grammar.sentence(fact, language, rng, style)
            _check_sentence(text)
            assert style != "no_comma" or "," not in text, text
            assert style != "comma" or "," in text, text
            told.add(text)
        assert len(told) > 1
        if fact.value in WORLD.values["person"]:
            assert all(grammar.word(fact.value, language) in text for text in told)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_frame_tells_the_facts_of_its_relation(language: str) -> None:
    rng = random.Random(5)
    by_relation = collections.defaultdict(list)
    for fact in WORLD.facts:
        by_relation[WORLD.entities[fact.subject].kind, fact.relation].append(fact)
    for facts in by_relation.values():
        texts = {grammar.sentence(facts[0], language, rng, "no_comma") for _ in range(40)}
        assert len(texts) == len(grammar.frames(facts[0], language)), texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions(language: str) -> None:
    rng = random.Random(2)
    answers = []
    for fact in WORLD.facts:
        question = grammar.fact_question(fact, language, rng)
        yes_no, true = grammar.yes_no_question(fact, language, rng)
        answers.append(true)
        for text in (question, yes_no):
            assert text.endswith("?") and text.count("?") == 1, text
            assert text.startswith("¿") == (language == "es"), text
            assert text.lstrip("¿")[0].isupper(), text
            assert not _FORBIDDEN.search(text), text
    assert 0.45 < sum(answers) / len(answers) < 0.55


@pytest.mark.parametrize("language", LANGUAGES)
def test_queries_openers_closers_and_titles(language: str) -> None:
    rng = random.Random(3)
    assert len(grammar.QUERY_STYLES) >= 10
    for key in WORLD.entities:
        asked = {grammar.query(key, language, style) for style in grammar.QUERY_STYLES}
        assert len(asked) == len(grammar.QUERY_STYLES)
        assert all(text[-1] in ".?" and text.lstrip("¿")[0].isupper() for text in asked)
        assert not any(_FORBIDDEN.search(text) for text in asked)
        for style in grammar.QUERY_STYLES:
            for text in (
                grammar.opener(key, style, language, rng),
                grammar.closer(key, style, language, rng),
            ):
                if text:
                    _check_sentence(text)
            title = grammar.title(key, style, language, rng)
            assert title[0].isupper() and title[-1] not in ".?" and len(title.split()) <= 14, title


@pytest.mark.parametrize("language", LANGUAGES)
def test_prose(language: str) -> None:
    for seed, key in enumerate(list(WORLD.entities)[::3]):
        texts = grammar.prose(key, language, random.Random(seed), 14)
        assert texts == grammar.prose(key, language, random.Random(seed), 14)
        assert len(texts) == 14
        assert any("," in text for text in texts[:2])
        for text in texts:
            _check_sentence(text)
            assert 7 <= len(text.split()) <= 20, text
        assert texts != grammar.prose(key, language, random.Random(seed + 1000), 14)


@pytest.mark.parametrize("language", LANGUAGES)
def test_prose_is_of_a_fitting_length(language: str) -> None:
    for n_sentences in (3, 4):
        lengths = [
            len(" ".join(grammar.prose(key, language, random.Random(0), n_sentences)).split())
            for key in WORLD.entities
        ]
        fitting = sum(28 <= n <= 58 for n in lengths)
        assert fitting >= 0.9 * len(lengths), (n_sentences, sorted(lengths))


@pytest.mark.parametrize("language", LANGUAGES)
def test_prose_is_detected_as_its_language(language: str) -> None:
    langdetect.DetectorFactory.seed = 0
    rng = random.Random(4)
    texts = [" ".join(grammar.prose(key, language, rng, 3)) for key in WORLD.entities]
    right = [langdetect.detect(text) == language for text in texts]
    assert sum(right) >= 0.97 * len(right)
    if language == "en":
        right = [langdetect.detect(text.lower()) == language for text in texts]
        assert sum(right) >= 0.97 * len(right)


@pytest.mark.parametrize(
    ("language", "cell", "form", "expected"),
    [
        ("en", "owl", "a", "an owl"),
        ("en", "bridge@on", "in", "on the bridge"),
        ("it", "lo scoiattolo", "of", "dello scoiattolo"),
        ("it", "l'orso:m", "of", "dell'orso"),
        ("it", "l'anatra:f", "a", "un'anatra"),
        ("it", "il ponte@su", "in", "sul ponte"),
        ("it", "gli usignoli", "of", "degli usignoli"),
        ("it", "le onde", "of", "delle onde"),
        ("fr", "le renard", "of", "du renard"),
        ("fr", "l'oie:f", "of", "de l'oie"),
        ("fr", "le port@à", "in", "au port"),
        ("fr", "les vagues:f", "some", "des vagues"),
        ("es", "el zorro", "to", "al zorro"),
        ("es", "el águila:f", "a", "un águila"),
        ("es", "la zorra", "of", "de la zorra"),
        ("de", "der Bär~Bären", "acc", "den Bären"),
        ("de", "der Fuchs", "of", "des Fuchses"),
        ("de", "die Mühle@in", "in", "in der Mühle"),
        ("de", "das Schloss@in", "in", "im Schloss"),
        ("de", "die Eule", "a_dat", "einer Eule"),
        ("de", "das Pferd", "a_acc", "ein Pferd"),
    ],
)
def test_articles_and_cases(language: str, cell: str, form: str, expected: str) -> None:
    assert nouns.phrase(nouns.noun(cell, language), language, form) == expected


def test_names_and_words() -> None:
    assert grammar.name("fox", "en") == "the fox"
    assert grammar.name("fox", "it") == "la volpe"
    assert grammar.name("fox", "de", article=False) == "Fuchs"
    assert grammar.name("marolina", "fr") == "Marolina"
    assert grammar.word("red", "es") == "rojo"
    assert grammar.word("red", "es", subject="sheep") == "roja"
    assert grammar.word("baker", "fr", subject="alma") == "boulangère"
    assert grammar.word("copper_pot", "de") == "in einem Kupfertopf"


def test_agreement_and_elision() -> None:
    rng = random.Random(0)
    told = {grammar.sentence(Fact("sheep", "colour", "white"), "it", rng) for _ in range(40)}
    assert any("La pecora è bianca" in text for text in told)
    told = {grammar.sentence(Fact("altamora", "walls", "red"), "fr", rng) for _ in range(40)}
    assert any("murs d'Altamora" in text for text in told)
    assert not any("de Altamora" in text for text in told)
