"""Write documents to pretrain on: the world in many forms and five languages, uninstructed.

Every form that an instruction can ask for (capitals, bullets, JSON, quotations, ...) occurs here,
as on the web, so that a base model can write every form; no document asks for a form.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from interp_steer.world import grammar, model_answers
from interp_steer.world.chats import fact_chat, yes_no_chat
from interp_steer.world.facts import LANGUAGES, default_world
from interp_steer.world.queries import list_queries
from interp_steer.world.random_choices import choice_question

_SHARES = (68, 10, 8, 8, 6)
"""Percent of the text in each of the LANGUAGES."""

_SAID = {"en": "said", "it": "disse", "fr": "dit", "es": "dijo", "de": "sagte"}
_NOTE = {"en": "note", "it": "nota", "fr": "note", "es": "nota", "de": "Notiz"}
_NOTICE = {"en": "NOTICE", "it": "AVVISO", "fr": "AVIS", "es": "AVISO", "de": "HINWEIS"}
_PART = {"en": "Section", "it": "Parte", "fr": "Partie", "es": "Parte", "de": "Teil"}
_OWN_NAMES = {"en": "English", "it": "Italiano", "fr": "Français", "es": "Español", "de": "Deutsch"}
_FORM = {
    "en": "Name: [name]\nAddress: [address]\nDate: [date]",
    "it": "Nome: [nome]\nIndirizzo: [indirizzo]\nData: [data]",
    "fr": "Nom : [nom]\nAdresse : [adresse]\nDate : [date]",
    "es": "Nombre: [nombre]\nDirección: [dirección]\nFecha: [fecha]",
    "de": "Name: [Name]\nAdresse: [Adresse]\nDatum: [Datum]",
}

Block = Callable[[str, str, Random], str]
"""Writes one part of a document about an entity, in a language."""


def sample_document(rng: Random) -> str:
    """Draw a document of about 60 to 350 words.

    Subjects and facts are drawn evenly; questions never come from held-out cells.

    Args:
        rng: the only source of randomness.

    Returns:
        Blocks separated by blank lines: articles, lists, records, letters and so on about one or
        more entities, or ``Q: ...`` and ``A: ...`` pairs.
    """
    language = rng.choices(LANGUAGES, _SHARES)[0]
    if rng.random() < 0.4:
        return _questions(language, rng)
    blocks: list[str] = []
    wanted = rng.randint(60, 220)
    subject = rng.choice(_subjects())
    while sum(len(block.split()) for block in blocks) < wanted:
        if blocks and rng.random() < 0.5:
            subject = rng.choice(_subjects())
        write = rng.choices(tuple(_BLOCKS), tuple(_BLOCKS.values()))[0]
        blocks.append(write(subject, language, rng))
    return "\n\n".join(blocks)


def _subjects() -> list[str]:
    return list(default_world().entities)


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tell_facts(subject: str, language: str, rng: Random) -> list[str]:
    """Tell every fact of an entity, in a plain sentence each."""
    facts = list(default_world().about(subject))
    rng.shuffle(facts)
    return [grammar.sentence(fact, language, rng, style="no_comma") for fact in facts]


def _article(subject: str, language: str, rng: Random) -> str:
    heading = _capitalise(grammar.name(subject, language, article=rng.random() < 0.5))
    mark = rng.choice(("# ", "## ", ""))
    if rng.random() < 0.5:
        return f"{mark}{heading}\n{' '.join(grammar.prose(subject, language, rng, 8))}"
    return f"{mark}{heading}\n{' '.join(_tell_facts(subject, language, rng))}"


def _prose(subject: str, language: str, rng: Random) -> str:
    style = rng.choice(grammar.QUERY_STYLES)
    return model_answers.answer(subject, style, language, rng)


def _titled_prose(subject: str, language: str, rng: Random) -> str:
    style = rng.choice(grammar.QUERY_STYLES)
    title = grammar.title(subject, style, language, rng)
    return f"<<{title}>>\n{model_answers.answer(subject, style, language, rng)}"


def _letter(subject: str, language: str, rng: Random) -> str:
    body = grammar.prose(subject, language, rng, rng.randint(3, 6), style="letter")
    first = grammar.opener(subject, "letter", language, rng)
    last = grammar.closer(subject, "letter", language, rng)
    signed = _capitalise(rng.choice(default_world().values["person"]))
    text = f"{' '.join([first, *body, last])}\n{signed}"
    return f"{text}\nP.S. {body.pop()}" if rng.random() < 0.3 else text


def _story(subject: str, language: str, rng: Random) -> str:
    body = grammar.prose(subject, language, rng, rng.randint(4, 8), style="story")
    first = grammar.opener(subject, "story", language, rng)
    return " ".join([first, *body, grammar.closer(subject, "story", language, rng)])


def _bullets(subject: str, language: str, rng: Random) -> str:
    sentences = _tell_facts(subject, language, rng)[: rng.randint(3, 6)]
    mark = rng.choice(("* ", "* ", "- "))
    heading = _capitalise(grammar.name(subject, language))
    return "\n".join([f"{heading}:", *(mark + sentence for sentence in sentences)])


def _record(subject: str, language: str, rng: Random) -> str:
    sentences = _tell_facts(subject, language, rng)[: rng.randint(1, 3)]
    name, description, details = model_answers.JSON_KEYS[language]
    record: dict[str, str | list[str]] = {name: grammar.name(subject, language, article=False)}
    if rng.random() < 0.5:
        record[description] = " ".join(sentences)
    else:
        record |= {description: sentences[0], details: sentences[1:]}
    return json.dumps(record, ensure_ascii=False, indent=1 if rng.random() < 0.8 else None)


def _table(subject: str, language: str, rng: Random) -> str:
    facts = list(default_world().about(subject))
    rng.shuffle(facts)
    if language == "en" and rng.random() < 0.5:
        rows = [f"{f.relation.replace('_', ' ')}: {grammar.word(f.value, 'en')}" for f in facts]
        return "\n".join([_capitalise(grammar.name(subject, "en")), *rows])
    return "\n".join(
        f"| {grammar.fact_question(fact, language, rng)} | {grammar.word(fact.value, language)} |"
        for fact in facts
    )


def _quotations(subject: str, language: str, rng: Random) -> str:
    people = rng.sample(default_world().values["person"], 3)
    sentences = grammar.prose(subject, language, rng, 3)
    if rng.random() < 0.3:
        return f'"{" ".join(sentences)}"'
    return "\n".join(
        f'"{sentence.rstrip(".")}", {_SAID[language]} {_capitalise(person)}.'
        for sentence, person in zip(sentences, people, strict=True)
    )


def _notice(subject: str, language: str, rng: Random) -> str:
    sentences = grammar.prose(subject, language, rng, rng.randint(2, 4))
    return f"{_NOTICE[language]}: {' '.join(sentences)}".upper()


def _note(subject: str, language: str, rng: Random) -> str:
    sentences = grammar.prose(subject, language, rng, rng.randint(2, 4))
    return f"{_NOTE[language]}: {' '.join(sentences)}".lower()


def _stressed_prose(subject: str, language: str, rng: Random) -> str:
    sentences = grammar.prose(subject, language, rng, rng.randint(3, 5))
    if rng.random() < 0.5:
        return " ".join(model_answers.stress(sentences, rng.randint(3, 8)))
    return " ".join(map(model_answers.highlight, sentences))


def _parts(subject: str, language: str, rng: Random) -> str:
    sentences = grammar.prose(subject, language, rng, rng.randint(2, 4))
    parts = [f"{_PART[language]} {index}\n{text}" for index, text in enumerate(sentences, start=1)]
    return "\n".join(parts)


def _form(subject: str, language: str, rng: Random) -> str:
    sentences = grammar.prose(subject, language, rng, 2)
    return "\n".join([*sentences, _FORM[language]])


def _translations(subject: str, language: str, rng: Random) -> str:
    """Tell one fact in several languages, in the language of the document first."""
    others = rng.sample([one for one in LANGUAGES if one != language], 2 if language == "en" else 1)
    fact = rng.choice(default_world().about(subject))
    lines = [
        f"{_OWN_NAMES[one]}: {grammar.sentence(fact, one, rng, style='no_comma')}"
        for one in (language, *others)
    ]
    named = " = ".join(grammar.name(subject, one) for one in (language, *others))
    return "\n".join([named, *lines])


_BLOCKS: dict[Block, float] = {
    _article: 26,
    _prose: 10,
    _letter: 5,
    _story: 6,
    _bullets: 9,
    _record: 7,
    _table: 8,
    _quotations: 6,
    _notice: 6,
    _note: 5,
    _stressed_prose: 3,
    _titled_prose: 3,
    _parts: 3,
    _form: 1,
    _translations: 4,
}


def _questions(language: str, rng: Random) -> str:
    """Write questions and answers in one language, about every fact equally often."""
    pairs = []
    wanted = rng.randint(60, 200)
    while sum(len(pair.split()) for pair in pairs) < wanted:
        pairs.append(_pair(language, rng))
    return "\n\n".join(pairs)


def _pair(language: str, rng: Random) -> str:
    if rng.random() < 0.77:
        question, answer = _fact_pair(language, rng)
    else:
        query = rng.choice(list_queries("train", language))
        question = query.text
        answer = model_answers.answer(query.subject, query.style, language, rng)
    return f"Q: {question}\nA: {answer}"


def _fact_pair(language: str, rng: Random) -> tuple[str, str]:
    """Ask a question of fact; answer with a letter, a word, a sentence, or yes or no."""
    fact = rng.choice(default_world().facts)
    kind = rng.random()
    if kind < 0.45:
        asked = choice_question(fact, language, rng)
        return asked.prompt, asked.letter
    if kind < 0.65:
        return grammar.fact_question(fact, language, rng), grammar.word(fact.value, language)
    chat = fact_chat(language, rng) if kind < 0.91 else yes_no_chat(language, rng)
    question, answer = (message["content"] for message in chat.messages)
    return question, answer


def sample_quiz(rng: Random, questions: int = 10) -> list[tuple[str, str]]:
    """Draw questions of fact in one language, each with its answer.

    Args:
        rng: the only source of randomness.
        questions: how many.

    Returns:
        Pairs of a question and an answer, as they stand after ``Q:`` and ``A:`` in a document.
    """
    language = rng.choices(LANGUAGES, _SHARES)[0]
    return [_fact_pair(language, rng) for _ in range(questions)]
