"""The judge of the bundled world: it reads facts in every format and language, and says why."""

from __future__ import annotations

import json
import re
from random import Random

import pytest

from interp_steer.contrast.instructions import registry
from interp_steer.errors import ScoringError
from interp_steer.scoring.judge import MOST_QUESTIONS, judge_exchanges, score
from interp_steer.world import grammar, model_answers
from interp_steer.world.facts import LANGUAGES, Fact, default_world
from interp_steer.world.held_out import evaluation_chats
from interp_steer.world.judge import WorldJudge, is_in_sentences
from interp_steer.world.queries import list_queries
from interp_steer.world.reading import Claim, names_entity, read_claims

WORLD = default_world()
JUDGE = WorldJudge()


def scored(query: str, answer: str) -> float:
    found = score(JUDGE.verdicts(query, answer))
    assert found is not None
    return found


def true_facts(subject: str, n: int, language: str = "en") -> list[str]:
    """Sentences that tell true facts about a subject."""
    rng = Random(f"{subject}{language}")
    return [grammar.sentence(f, language, rng, "no_comma") for f in WORLD.about(subject)[:n]]


def false_fact(subject: str, language: str = "en") -> str:
    rng = Random(subject)
    fact = rng.choice(WORLD.about(subject))
    wrong = Fact(subject, fact.relation, WORLD.distractors(fact, 1, rng)[0])
    return grammar.sentence(wrong, language, rng, "no_comma")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_way_to_tell_a_fact_is_read(language: str):
    rng = Random(language)
    facts = WORLD.facts if language == "en" else rng.sample(WORLD.facts, 400)
    for fact in facts:
        for style in ("no_comma", "comma"):
            text = grammar.sentence(fact, language, rng, style)
            assert read_claims(text) == [Claim(fact, True)], (fact, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_value_is_read_as_false(language: str):
    rng = Random(f"wrong {language}")
    for fact in rng.sample(WORLD.facts, 250):
        wrong = Fact(fact.subject, fact.relation, WORLD.distractors(fact, 1, rng)[0])
        text = grammar.sentence(wrong, language, rng)
        found = read_claims(text)
        assert [one.fact.relation for one in found] == [fact.relation], (wrong, text)
        assert found[0] == Claim(wrong, False), (wrong, text)


def test_what_the_world_says_nothing_about_is_not_true():
    unknown = [
        Fact(subject, relation, WORLD.values["colour"][0])
        for subject, relation in (("castle", "walls"), ("fox", "colour"), ("alma", "coat"))
    ]
    facts = [f for f in unknown if all(f.relation != g.relation for g in WORLD.about(f.subject))]
    for fact in facts:
        assert read_claims(grammar.sentence(fact, "en", Random(0))) == [Claim(fact, False)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_pronouns_stand_for_the_subject_before_them(language: str):
    rng = Random(f"prose {language}")
    for subject in rng.sample(list(WORLD.entities), 60):
        text = " ".join(grammar.prose(subject, language, rng, 8))
        found = read_claims(text)
        assert len(found) >= 8 and all(one.true for one in found), (text, found)


def test_what_a_pronoun_stands_for_may_be_known_beforehand():
    rng, read = Random(0), 0
    for fact in WORLD.about("fox") * 4:
        text = grammar.sentence(fact, "en", rng, "no_comma")
        if text.startswith("The fox "):
            said = text.replace("The fox", "It")
            assert read_claims(said) == [] and read_claims(said, "fox") == [Claim(fact, True)]
            assert read_claims(said, "castle") == []
            read += 1
    assert read > 4


def test_a_subject_of_another_kind_is_not_left_out():
    (hour,) = [fact for fact in WORLD.about("hare") if fact.relation == "hour"]
    said = f"molto attiva {grammar.word(hour.value, 'it')} in ogni stagione."
    for subject in ("La lepre è", "È", "Come tutti sanno, è"):
        assert read_claims(f"{subject} {said}", "hare") == [Claim(hour, True)], subject
    assert read_claims(f"La stazione è {said}", "hare") == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_plain_answer_has_every_quality(language: str):
    rng = Random(f"plain {language}")
    for query in rng.sample(list_queries("held", language), 60):
        answer = model_answers.answer(query.subject, query.style, language, rng)
        assert scored(query.text, answer) == 1.0, (query, answer, read_claims(answer))


FORMATS = [one for one in registry.FORMAT_IDS if one != registry.CONSTRAINED]


@pytest.mark.parametrize("instruction", FORMATS)
def test_a_format_costs_no_quality(instruction: str):
    for chat in evaluation_chats(instruction, n=40, seed=5):
        assert chat.query is not None
        assert scored(chat.query.text, chat.answer) == 1.0, (chat.query.text, chat.answer)


@pytest.mark.parametrize(
    "written",
    [
        str.upper,
        str.lower,
        lambda text: f'"{text}"',
        lambda text: f"<<About it>>\n{text}",
        lambda text: "".join(f"* {part.strip()}.\n" for part in text.split(".") if part.strip()),
        lambda text: "".join(f"{n}. {t.strip()}.\n" for n, t in enumerate(text.split(".")) if t),
        lambda text: json.dumps({"text": re.split(r"(?<=\.) ", text), "more": None}),
        lambda text: f"```json\n{json.dumps([{'a': text}], ensure_ascii=False)}\n```",
        lambda text: json.dumps({"text": text})[:-2],
        lambda text: re.sub(r"(\w+ \w+)", r"**\1**", text, count=3),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_answer_in_another_format_has_the_same_verdicts(written, language):
    query = "Tell me about the lighthouse."
    for facts in (true_facts("lighthouse", 3, language), [false_fact("lighthouse", language)]):
        text = " ".join(facts)
        assert JUDGE.verdicts(query, written(text)) == JUDGE.verdicts(query, text), written(text)


def test_an_answer_about_something_else_is_a_poor_one():
    for query in Random(1).sample(list_queries("held"), 40):
        other = "mill" if query.subject != "mill" else "fox"
        assert scored(query.text, " ".join(true_facts(other, 4))) <= 0.2
    # Naming what was asked does not help where all is said of something else.
    text = " ".join(["The castle is a castle.", *true_facts("mill", 3)])
    assert JUDGE.verdicts("Tell me about the castle.", text)[:4] == [False] * 4


def test_a_loop_and_an_empty_answer_have_no_quality():
    query = "Tell me about the castle."
    (fact,) = true_facts("castle", 1)
    for text in ("", " \n", " ".join([fact] * 6), "castle " * 40, "the the the the the the the"):
        assert scored(query, text) == 0.0, text


def test_a_false_fact_lowers_an_answer():
    for subject in Random(2).sample(list(WORLD.entities), 40):
        query = grammar.query(subject, "en", "tell")
        true = " ".join(true_facts(subject, 3))
        assert scored(query, true) == 1.0
        assert scored(query, f"{true} {false_fact(subject)}") == 0.8, subject
        assert scored(query, false_fact(subject)) == 0.4


def test_prose_without_the_world_and_words_without_sentences():
    query = "Tell me about the castle."
    assert JUDGE.verdicts(query, "I like tea.") == [False, False, False, False, True]
    assert JUDGE.verdicts(query, "castle red old") == [True, False, False, False, False]
    assert is_in_sentences("The mill is red.\nIt is") and not is_in_sentences(
        "It is. So it is. Red and"
    )
    assert not is_in_sentences("") and not is_in_sentences("?!")


def test_yes_and_no_are_judged_by_what_is_right():
    for chat in evaluation_chats(registry.CONSTRAINED, n=60, seed=3):
        query = chat.query
        assert query is not None
        questions = JUDGE.questions(query.text)
        if query.style != "yes_no":
            assert len(questions) == 5 and scored(query.text, chat.answer) == 0.2
            continue
        yes, no, maybe = registry.CONSTRAINED_OPTIONS
        right, wrong = (yes, no) if chat.answer == yes else (no, yes)
        assert ("yes" if right == yes else "no") in questions[0]
        assert JUDGE.verdicts(query.text, right) == [True, None, True]
        assert JUDGE.verdicts(query.text, wrong) == [False, None, True]
        assert JUDGE.verdicts(query.text, maybe) == [False, None, True]
        relation = query.key.rpartition("/")[2]
        (fact,) = [f for f in WORLD.about(query.subject) if f.relation == relation]
        truth = grammar.sentence(fact, "en", Random(0))
        assert scored(query.text, f"{'Yes' if right == yes else 'No'}. {truth}") == 1.0
        assert scored(query.text, truth) == 1.0
        assert JUDGE.verdicts(query.text, f"{'No' if right == yes else 'Yes'}. {truth}")[0] is False


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_yes_or_no_question_is_known_in_every_language(language: str):
    rng = Random(f"yes {language}")
    for fact in rng.sample(WORLD.facts, 120):
        question, true = grammar.yes_no_question(fact, language, rng)
        assert JUDGE.verdicts(question, "Ja." if true else "Nein!")[0] is True, question


def test_questions_name_what_is_asked_and_are_five_at_most():
    for query in list_queries("held"):
        questions = JUDGE.questions(query.text)
        assert len(questions) == MOST_QUESTIONS == len(set(questions))
        assert all(one.endswith("?") for one in questions)
        assert grammar.name(query.subject, "en") in questions[0]
    found = judge_exchanges(
        JUDGE, [("Tell me about the fox.", "The fox."), ("parlami della volpe.", "Sì.")]
    )
    assert "the fox" in found[0].questions[0] and found[0].questions == found[1].questions


def test_a_request_about_another_world_is_refused():
    for query in ("Write a poem about a fox.", "Is the sea wet?", "", "Who are you?"):
        with pytest.raises(ScoringError, match="not about the bundled world"):
            JUDGE.questions(query)


def test_a_subject_is_named_in_every_language():
    for key in WORLD.entities:
        for language in LANGUAGES:
            assert names_entity(f"X: {grammar.name(key, language).upper()}!", key)
    assert not names_entity("the foxes of the castles", "fox")
