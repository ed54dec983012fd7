"""Tell the world in five languages: sentences, prose, questions and queries from frames.

A frame is a sentence without its capital and full stop, with slots:

- ``{s}`` the subject and ``{v}`` the value, with an optional form after a colon. Nouns take the
  forms of :func:`interp_steer.world.lexicon.nouns.phrase` (``{s:of}``, ``{v:a}``, ...).
  Adjectives agree with the subject, or take ``m``, ``f``, ``mp``, ``fp``, or a German ending
  (``{v:en}``).
- ``{p:he|she|it}`` chooses by the gender of the subject (masculine, feminine, neuter) and
  ``{q:...}`` by the gender of the value.

A frame that begins with ``{s}`` has its verb as the second word: there the subject may become a
pronoun, and in German verb and subject change places after a lead-in and in questions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from interp_steer.world.facts import KINDS, LANGUAGES, RELATIONS, Fact, default_world
from interp_steer.world.lexicon import de, en, entities, es, fr, it, words
from interp_steer.world.lexicon.nouns import Noun, noun, phrase, proper

_FRAMES: dict[str, ModuleType] = {"en": en, "it": it, "fr": fr, "es": es, "de": de}

QUERY_STYLES: tuple[str, ...] = tuple(en.QUERIES)
"""The ways in which a user asks about an entity; each has a template in every language."""

_LEAD_GROUPS = {
    "letter": "personal", "advice": "personal", "child": "personal",
    "story": "story",
    "reasons": "persuasive", "special": "persuasive", "speech": "persuasive",
}  # fmt: skip
_WORDS_PER_SENTENCE = (8, 16)
_PRONOUNS = {
    "en": ("he", "she", "it"),
    "fr": ("il", "elle", "il"),
    "de": ("er", "sie", "es"),
    "it": ("", "", ""),
    "es": ("", "", ""),
}
_SLOT = re.compile(r"\{([svpq])(?::([^}]*))?\}")
_VOWEL = "aeiouàâéèêîôûœAEIOUÉÈÊ"


@dataclass(frozen=True)
class _Word:
    """A value that is not a noun: its forms and its type."""

    forms: tuple[str, ...]
    value_type: str


@cache
def _vocabulary(language: str) -> dict[str, Noun | _Word]:
    """Collect all names and words of a language, by key."""
    column = 1 + LANGUAGES.index(language)
    by_key: dict[str, Noun | _Word] = {}
    town_gender = {"en": "n", "de": "n"}.get(language, "f")
    for names, gender in (
        (entities.TOWNS, town_gender),
        (entities.MEN, "m"),
        (entities.WOMEN, "f"),
    ):
        by_key.update({name.lower(): proper(name, gender) for name in names})
    nouns = {
        "place": entities.PLACES,
        "animal": entities.ANIMALS,
        "dish": entities.DISHES,
        **words.NOUNS,
    }
    for value_type, table in nouns.items():
        for cells in _cells(table):
            plural = value_type in ("sound", "food")
            by_key[cells[0]] = noun(cells[column], language, plural)
    tables = {**words.ADJECTIVES, **words.PHRASES, "profession": words.PROFESSIONS}
    for value_type, table in tables.items():
        for cells in _cells(table):
            by_key[cells[0]] = _Word(tuple(cells[column].split("/")), value_type)
    return by_key


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def name(key: str, language: str, article: bool = True) -> str:
    """Return the name of an entity, such as "the fox"; proper names take no article."""
    return _form(key, language, "" if article else "bare", key)


def word(key: str, language: str, subject: str | None = None) -> str:
    """Return a value, entity or word, as a bare answer: "fox", "red", "in a hollow tree".

    Adjectives and professions agree with the entity `subject`, or are masculine without one.
    """
    return _form(key, language, "bare", subject or key)


def _gender(key: str, language: str) -> int:
    item = _vocabulary(language)[key]
    return "mfn".index(item.gender) if isinstance(item, Noun) else 0


def _form(key: str, language: str, form: str, subject: str) -> str:
    """Return the form of an entity or word in a sentence about `subject`."""
    item = _vocabulary(language)[key]
    if isinstance(item, Noun):
        return phrase(item, language, form)
    if language == "de" and item.value_type not in ("profession",):
        return item.forms[0] + (form if form != "bare" else "")
    if form in ("m", "f", "mp", "fp"):
        index = ("m", "f", "mp", "fp").index(form)
    else:
        index = 0 if form == "bare" and subject == key else min(_gender(subject, language), 1)
    # An adjective of one form is the same everywhere; one of two has no plural of its own.
    text = item.forms[index % len(item.forms)]
    if form == "a":
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
    return text


@cache
def _slots(frame: str) -> tuple[tuple[str, str, str], ...]:
    """Split a frame into pieces: the text before a slot, the kind of the slot, and its form."""
    # Split by three groups: text, who, form, text, who, form, ..., text.
    pieces = [piece or "" for piece in _SLOT.split(frame)] + ["", ""]
    return tuple(zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True))


def _fill(frame: str, fact: Fact, language: str) -> str:
    parts: list[str] = []
    for text, who, form in _slots(frame):
        parts.append(text)
        key = fact.subject if who in "sp" else fact.value
        if who in ("p", "q"):
            choices = form.split("|")
            parts.append(choices[min(_gender(key, language), len(choices) - 1)])
        elif who:
            parts.append(_form(key, language, form, fact.subject))
    return _contract("".join(parts), language)


def _contract(text: str, language: str) -> str:
    """Shorten words before certain words, as in "d'un"."""
    if language == "fr":
        text = re.sub(rf"\b([Qq]u|[Ll]orsqu|[Pp]uisqu|[Jj]usqu|[Dd])e (?=[{_VOWEL}])", r"\1'", text)
        text = re.sub(r"\b([Ss])i (?=ils?\b)", r"\1'", text)
        text = re.sub(r" \?", " ?", text)
    elif language == "es":
        text = re.sub(r"\by (?=[iI])", "e ", text)
        text = re.sub(r"\bo (?=[oO])", "u ", text)
    elif language == "it":
        text = re.sub(r"\be (?=[eEèÈ])", "ed ", text)
    return text


def _clause(
    frame: str, fact: Fact, language: str, pronoun: bool = False, inverted: bool = False
) -> str:
    if frame.startswith("{s} "):
        rest = frame[len("{s} ") :]
        subject = "{s}"
        if pronoun:
            subject = _PRONOUNS[language][_gender(fact.subject, language)]
        if inverted:
            verb, _, tail = rest.partition(" ")
            frame = f"{verb} {subject} {tail}"
        else:
            frame = f"{subject} {rest}".lstrip()
    return _fill(frame, fact, language)


def _finish(text: str, mark: str = ".") -> str:
    text = text.rstrip(".") + mark if mark else text
    start = 1 if text.startswith("¿") else 0
    return text[:start] + text[start].upper() + text[start + 1 :]


def frames(fact: Fact, language: str) -> tuple[str, ...]:
    """List the frames of a fact's relation; each is a paraphrase."""
    kind = default_world().entities[fact.subject].kind
    return _FRAMES[language].FRAMES[f"{kind}.{fact.relation}"]


def sentence(fact: Fact, language: str, rng: random.Random, style: str | None = None) -> str:
    """Write one full sentence that tells a fact.

    Args:
        fact: the fact.
        language: one of :data:`LANGUAGES`.
        rng: chooses among the paraphrases.
        style: "no_comma" for a sentence without commas, "comma" for one with at least one, one of
            :data:`QUERY_STYLES` for the tone of that style, or None for any.

    Returns:
        A capitalised sentence with a full stop at its end and nowhere else.
    """
    comma = {"no_comma": False, "comma": True}.get(style or "")
    return _tell(fact, language, rng, _Tone(style, comma))


@dataclass
class _Tone:
    """The manner of a passage: its style, its need of a comma, the lead-ins already used."""

    style: str | None
    comma: bool | None
    used: tuple[str, ...] = ()

    def fresh(self, table: dict[str, tuple[str, ...]], rng: random.Random) -> str:
        """Choose a lead-in or tail in the tone of the style, not yet used if possible."""
        choices = table[_LEAD_GROUPS.get(self.style or "", "plain")]
        if rng.random() < 0.25:
            choices = table["plain"]
        chosen = rng.choice([c for c in choices if c.strip(", ") not in self.used] or choices)
        self.used += (chosen.strip(", "),)
        return chosen


def _tell(
    fact: Fact,
    language: str,
    rng: random.Random,
    tone: _Tone,
    pronoun: bool = False,
    long: bool = False,
) -> str:
    """Write a sentence; `long` asks for a lead-in or tail unless the tone forbids commas."""
    forms = _FRAMES[language]
    frame = rng.choice(frames(fact, language))
    plain = tone.comma is False or (tone.comma is None and not long and rng.random() < 0.4)
    if plain:
        return _finish(_clause(frame, fact, language, pronoun))
    movable = language != "de" or frame.startswith("{s} ")
    if movable and rng.random() < 0.65:
        lead = tone.fresh(forms.LEADS, rng)
        return _finish(lead + _clause(frame, fact, language, pronoun, inverted=language == "de"))
    return _finish(_clause(frame, fact, language, pronoun) + tone.fresh(forms.TAILS, rng))


def _tell_two_facts(first: Fact, second: Fact, language: str, rng: random.Random) -> str:
    """Tell two facts of a subject in one sentence, the second with a pronoun; "" if impossible."""
    heads = [frame for frame in frames(first, language) if frame.startswith("{s} ")]
    tails = [frame for frame in frames(second, language) if frame.startswith("{s} ")]
    if not heads or not tails:
        return ""
    head = _clause(rng.choice(heads), first, language)
    tail = _clause(rng.choice(tails), second, language, pronoun=True)
    return _finish(_contract(head + _FRAMES[language].AND + tail, language))


def prose(
    subject: str, language: str, rng: random.Random, n_sentences: int, style: str | None = None
) -> list[str]:
    """Write sentences about an entity, then about related entities when its facts run out.

    Args:
        subject: key of an entity.
        language: one of :data:`LANGUAGES`.
        rng: chooses facts and paraphrases.
        n_sentences: how many; up to about 14 read well.
        style: one of :data:`QUERY_STYLES`, for its tone, or None.

    Returns:
        `n_sentences` sentences of about 8 to 16 words, each telling other facts. One of the first
        two has a comma.
    """
    facts = _wander(subject, rng)
    waiting = next(facts)
    written: list[str] = []
    about, used = "", ()
    while len(written) < n_sentences:
        fact, waiting = waiting, next(facts)
        wanted = True if len(written) < 2 and not any("," in text for text in written) else None
        tone = _Tone(style, wanted, used)
        pair = ""
        if waiting.subject == fact.subject and rng.random() < 0.25:
            pair = _tell_two_facts(fact, waiting, language, rng)
        if pair and len(pair.split()) <= _WORDS_PER_SENTENCE[1]:
            written.append(pair)
            waiting = next(facts)
        else:
            written.append(
                _tell_at_length(
                    fact, language, rng, tone, fact.subject == about and rng.random() < 0.5
                )
            )
            used = tone.used
        about = fact.subject
    return written


def _wander(subject: str, rng: random.Random) -> Iterator[Fact]:
    """Yield the facts of the subject in random order, then the facts of the related entities."""
    world = default_world()
    queue, seen = [subject], {subject}
    while queue:
        facts = list(world.about(queue.pop(0)))
        rng.shuffle(facts)
        yield from facts
        met = [
            fact.value for fact in facts if fact.value in world.entities and fact.value not in seen
        ]
        seen.update(met)
        queue += met


def _tell_at_length(
    fact: Fact, language: str, rng: random.Random, tone: _Tone, pronoun: bool
) -> str:
    """Write a sentence of a fitting length in a few tries; lengthen a short one by a lead-in."""
    low, high = _WORDS_PER_SENTENCE
    used, long, text = tone.used, False, ""
    for _ in range(8):
        tone.used = used
        text = _tell(fact, language, rng, tone, pronoun, long)
        n_words = len(text.split())
        if low <= n_words <= high:
            break
        long = n_words < low
    return text


def fact_question(fact: Fact, language: str, rng: random.Random) -> str:
    """Write a question that the fact's value answers, such as "What colour is the fox?"."""
    kind = default_world().entities[fact.subject].kind
    return _finish(
        _fill(rng.choice(_FRAMES[language].QUESTIONS[f"{kind}.{fact.relation}"]), fact, language),
        "",
    )


def yes_no_question(fact: Fact, language: str, rng: random.Random) -> tuple[str, bool]:
    """Write a yes-or-no question, in half of the draws with a wrong value; return the verdict."""
    true = rng.random() < 0.5
    asked = fact
    if not true:
        wrong = default_world().distractors(fact, 1, rng)[0]
        asked = Fact(fact.subject, fact.relation, wrong)
    frame = rng.choice(
        [f for f in frames(fact, language) if language != "de" or f.startswith("{s} ")]
    )
    clause = _clause(frame, asked, language, inverted=language == "de")
    return _finish(_contract(_FRAMES[language].YES_NO.format(clause=clause), language), ""), true


def _fill_styled(table: dict, subject: str, style: str, language: str, rng: random.Random) -> str:
    choices = table.get(style, ())
    return _fill(rng.choice(choices), Fact(subject, "", subject), language) if choices else ""


def query(subject: str, language: str, style: str) -> str:
    """Write a user's request about an entity, in one of :data:`QUERY_STYLES`, without a format."""
    by_kind = _FRAMES[language].QUERIES[style]
    frame = by_kind.get(default_world().entities[subject].kind, by_kind.get("any"))
    return _finish(_fill(frame, Fact(subject, "", subject), language), "")


def opener(subject: str, style: str, language: str, rng: random.Random) -> str:
    """Write a first sentence that suits the style, or "" for styles without one."""
    text = _fill_styled(_FRAMES[language].OPENERS, subject, style, language, rng)
    return _finish(text) if text else ""


def closer(subject: str, style: str, language: str, rng: random.Random) -> str:
    """Write a last sentence that suits the style, or "" for styles without one."""
    text = _fill_styled(_FRAMES[language].CLOSERS, subject, style, language, rng)
    return _finish(text) if text else ""


def title(subject: str, style: str, language: str, rng: random.Random) -> str:
    """Write a short title, such as "The Secret of the Fox"."""
    table = _FRAMES[language].TITLES
    text = _finish(
        _fill_styled(table, subject, style if style in table else "any", language, rng), ""
    )
    if language != "en":
        return text
    small = ("the", "a", "an", "of", "with", "about", "in", "for")
    cased = [w if w in small and i else w[0].upper() + w[1:] for i, w in enumerate(text.split())]
    return " ".join(cased)


__all__ = [
    "KINDS", "LANGUAGES", "QUERY_STYLES", "RELATIONS", "closer", "fact_question", "frames", "name",
    "opener", "prose", "query", "sentence", "title", "word", "yes_no_question",
]  # fmt: skip
