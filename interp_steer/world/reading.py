"""Read the statements of a text about the world, in any of the five languages and any format.

This is the reverse of :mod:`interp_steer.world.grammar`: each frame becomes a pattern over plain
words. Case, punctuation, marks of layout, articles and the words around a statement do not matter,
so that capitals, bullets, JSON, titles and quotations are read alike. Statements in other words
than the grammar's are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from interp_steer.world import grammar
from interp_steer.world.facts import KINDS, LANGUAGES, RELATIONS, Fact, default_world
from interp_steer.world.lexicon import entities, words
from interp_steer.world.lexicon.nouns import noun

_NOUNS = {
    "place": entities.PLACES,
    "animal": entities.ANIMALS,
    "dish": entities.DISHES,
    **words.NOUNS,
}
_OTHERS = {**words.ADJECTIVES, **words.PHRASES, "profession": words.PROFESSIONS}
_PROPER = {"place": entities.TOWNS, "person": (*entities.MEN, *entities.WOMEN)}

_PRONOUNS = {"en": "he|she|it", "fr": "il|elle", "de": "er|sie|es"}
"""Pronouns that may replace a subject; Italian and Spanish leave the subject out."""

_ARTICLES = """
a ad agli ai al all alla alle allo am an at au auf aus aux beim d da dagli dai dal dall dalla
dalle dallo dans das de degli dei del dell della delle dello dem den der des di die du ein eine
einem einen einer el en from für gli i il im in into l la las le les lo los nach negli nei nel
nell nella nelle nello of on over su sugli sui sul sull sulla sulle sullo sur the to um un una
une uno vom von zu zum zur à über
"""
_BEFORE = rf"(?:(?:{'|'.join(_ARTICLES.split())}) ){{0,3}}"
"""Articles and prepositions, of which at most three stand before a noun."""

_ENDINGS = {"de": "(?:e[mnrs]?|n|s)?"}
"""Endings of nouns and adjectives, in addition to the forms that the vocabulary gives."""

_SLOT = re.compile(r"\{([svpq])(?::([^}]*))?\}")
_WORD = re.compile(r"[^\W_]+|[.!?]")
_SAME = {
    "d": "de", "qu": "que", "jusqu": "jusque", "lorsqu": "lorsque", "puisqu": "puisque",
    "ed": "e", "y": "e", "u": "o",
}  # fmt: skip
"""Words that take another shape before a vowel."""


@dataclass(frozen=True)
class Claim:
    """A statement about the world."""

    fact: Fact
    """The statement: its subject, relation and value."""
    true: bool
    """Whether the table of the world has the fact; any other statement counts as false."""


def read_claims(text: str, about: str | None = None) -> list[Claim]:
    """Read the statements of a text, in order.

    Args:
        text: an answer, in any format and any of the world's languages.
        about: the entity of a pronoun, when no entity of its kind was a subject before.

    Returns:
        The statements, without those whose subject cannot be determined.

    Example:
        >>> claims = read_claims("* THE MILL IS ONLY A SHORT WALK FROM THE INN.")
        >>> [claim.fact.subject for claim in claims]
        ['mill']
    """
    words_of_text = plain_words(unwrap(text))
    matches = sorted(
        (
            (match.start(), match, pattern)
            for language in LANGUAGES
            for pattern in _patterns(language)
            if pattern.anchor in words_of_text
            for match in _compiled(pattern.source).finditer(words_of_text)
        ),
        key=lambda entry: entry[0],
    )
    statements: list[Claim] = []
    last = about
    for _, match, pattern in matches:
        subject = _subject(match, pattern, last, about)
        if subject is not None:
            values = _keys_by_form(pattern.value_type, pattern.language)[match["v"]]
            statements.append(_make_claim(subject, pattern.relation, values))
            last = subject
    return statements


def _subject(
    match: re.Match[str], pattern: _Pattern, last: str | None, about: str | None
) -> str | None:
    """Determine the subject of a statement: the name, or the subject before; None if unknown."""
    name = match["s"]
    if name is not None:
        keys = _keys_by_form(pattern.kind, pattern.language)[name]
        return about if about in keys else min(keys)
    before = match.string[: match.start()]
    if pattern.language not in _PRONOUNS and _name_at_end_pattern(pattern.language).search(before):
        return None  # the statement has a subject, of another kind
    known = default_world().entities
    fitting = (key for key in (last, about) if key and known[key].kind == pattern.kind)
    return next(fitting, None)


def _make_claim(subject: str, relation: str, values: frozenset[str]) -> Claim:
    """Make the statement; of several meanings of a word the true one is taken."""
    meanings = [Fact(subject, relation, value) for value in sorted(values)]
    true = [fact for fact in meanings if fact in default_world().about(subject)]
    return Claim((true or meanings)[0], bool(true))


def names_entity(text: str, key: str) -> bool:
    """Check whether a text names an entity, in any of the languages."""
    return _name_pattern(key).search(plain_words(unwrap(text))) is not None


def plain_words(text: str) -> str:
    """Reduce a text to lowercase words and the marks that end sentences, between single spaces."""
    parts: list[str] = _WORD.findall(text.casefold())
    return " ".join(_SAME.get(word, word) for word in parts)


def unwrap(text: str) -> str:
    """Take the texts out of a JSON document, a line each; return any other text unchanged."""
    inner = re.sub(r"^\s*```\w*|```\s*$", "", text).strip()
    if not inner.startswith(("{", "[")):
        return text
    try:
        return "\n".join(_texts(json.loads(inner)))
    except (ValueError, RecursionError):  # cut off, or broken: its letters can still be read
        inner = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), inner)
        return inner.replace("\\n", " ").replace('\\"', '"')


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _texts(part)


@dataclass(frozen=True)
class _Pattern:
    """A frame as a regular expression with the groups ``s`` and ``v``."""

    language: str
    kind: str
    relation: str
    value_type: str
    source: str
    anchor: str
    """Words of every match, which are searched for first."""


_compiled = cache(re.compile)


@cache
def _patterns(language: str) -> tuple[_Pattern, ...]:
    world = default_world()
    return tuple(
        _Pattern(
            language, kind, relation, value_type, *_source(words, free, kind, value_type, language)
        )
        for kind, relations in RELATIONS.items()
        for relation, value_type in relations.items()
        for frame in grammar.frames(Fact(world.values[kind][0], relation, ""), language)
        for words, free in _word_orders(frame, language)
    )


def _word_orders(frame: str, language: str) -> Iterator[tuple[str, bool]]:
    """Yield the word orders of a frame, each with whether a pronoun may replace the subject."""
    first = frame.startswith("{s} ")
    yield frame, first
    if first and language == "de":  # after a lead-in, and in questions
        verb, _, rest = frame.removeprefix("{s} ").partition(" ")
        yield f"{verb} {{s}} {rest}", True


def _source(frame: str, free: bool, kind: str, value_type: str, language: str) -> tuple[str, str]:
    """Write the regular expression of a frame, and its anchor."""
    parts: list[str] = []
    anchor = ""
    pieces = [*(piece or "" for piece in _SLOT.split(frame)), "", ""]
    for text, who, form in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=True):
        literal = plain_words(text)
        anchor = max(anchor, literal, key=len)
        slot = {
            "": "",
            "s": _slot("s", kind, language),
            "v": _slot("v", value_type, language),
        }.get(who, f"(?:{'|'.join(map(plain_words, form.split('|')))})")
        if who == "s" and free and language in _PRONOUNS:
            slot = f"(?:{slot}|{_PRONOUNS[language]})"
        parts += filter(None, (re.escape(literal), slot))
    source = " ".join(parts)
    if free and language not in _PRONOUNS:
        source = f"(?:{parts[0]} )?{' '.join(parts[1:])}"
    return rf"(?<!\S){source}(?!\S)", anchor


@cache
def _slot(group: str, value_type: str, language: str) -> str:
    """Match any value of a type, in any of its forms, with articles and prepositions before it."""
    longest_first = sorted(_keys_by_form(value_type, language), key=len, reverse=True)
    known = "|".join(map(re.escape, longest_first))
    return f"{_BEFORE}(?P<{group}>{known}){_ENDINGS.get(language, '')}"


@cache
def _keys_by_form(value_type: str, language: str) -> Mapping[str, frozenset[str]]:
    """Map each form of the names of a type to the keys that it names."""
    keys_of: dict[str, set[str]] = {}
    for name in _PROPER.get(value_type, ()):
        keys_of.setdefault(plain_words(name), set()).add(name.lower())
    column = 1 + LANGUAGES.index(language)
    for line in (_NOUNS | _OTHERS).get(value_type, "").strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        forms = cells[column].split("/")
        if value_type in _NOUNS:
            parsed = noun(cells[column], language)
            forms = [parsed.text, parsed.oblique]
        for form in forms:
            keys_of.setdefault(plain_words(form), set()).add(cells[0])
    return {form: frozenset(keys) for form, keys in keys_of.items()}


@cache
def _name_at_end_pattern(language: str) -> re.Pattern[str]:
    every = {form for kind in KINDS for form in _keys_by_form(kind, language)}
    return re.compile(rf"(?<!\S)(?:{'|'.join(sorted(map(re.escape, every)))}) $")


@cache
def _name_pattern(key: str) -> re.Pattern[str]:
    kind = default_world().entities[key].kind
    forms = {
        f"{re.escape(form)}{_ENDINGS.get(language, '')}"
        for language in LANGUAGES
        for form, keys in _keys_by_form(kind, language).items()
        if key in keys
    }
    return re.compile(rf"(?<!\S)(?:{'|'.join(sorted(forms))})(?!\S)")
