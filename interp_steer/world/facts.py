"""Define the small world of the bundled models: about 150 entities and a fixed table of facts.

The table is drawn once, with a fixed seed, so that each fact can be known by memory alone: nothing
in a name says what its facts are. Within a relation the values are dealt evenly.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from interp_steer.world.lexicon import entities, words

LANGUAGES = ("en", "it", "fr", "es", "de")
"""The languages in which the world is told."""

KINDS = ("place", "person", "animal", "dish")

RELATIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "place": {
            "settlement": "settlement",
            "age": "age",
            "walls": "colour",
            "mood": "mood",
            "near": "place",
            "known_for": "dish",
            "built_by": "person",
            "weather": "weather",
            "nature": "nature",
            "sound": "sound",
            "month": "month",
        },
        "person": {
            "profession": "profession",
            "home": "place",
            "dish": "dish",
            "pet": "animal",
            "fear": "animal",
            "character": "character",
            "coat": "colour",
            "instrument": "instrument",
            "friend": "person",
            "month": "month",
        },
        "animal": {
            "colour": "colour",
            "size": "size",
            "character": "character",
            "home": "place",
            "food": "food",
            "bed": "bed",
            "hour": "hour",
            "friend": "animal",
            "fear": "sound",
            "weather": "weather",
        },
        "dish": {
            "taste": "taste",
            "origin": "place",
            "inventor": "person",
            "ingredient": "ingredient",
            "occasion": "occasion",
            "drink": "drink",
            "pot": "pot",
            "month": "month",
            "colour": "colour",
        },
    }
)
"""For each kind of entity, its relations and the type of their values."""

FACTS_PER_ENTITY = 8
"""Facts that an entity keeps of those that its kind allows; few enough to be memorized."""


@dataclass(frozen=True, order=True)
class Entity:
    """A thing of the world: `key` is its name in code, `kind` one of :data:`KINDS`."""

    key: str
    kind: str


@dataclass(frozen=True, order=True)
class Fact:
    """A true statement about an entity: `value` is the key of an entity or of a word."""

    subject: str
    relation: str
    value: str


class World:
    """Entities and the facts about them.

    Args:
        entities: the entities, by key.
        facts: at most one per subject and relation.
        values: the keys of each type of value (``colour``, ``place``, ...).
    """

    def __init__(
        self,
        entities: Mapping[str, Entity],
        facts: tuple[Fact, ...],
        values: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.entities = dict(entities)
        self.facts = facts
        self.values = dict(values)
        about: dict[str, list[Fact]] = {key: [] for key in entities}
        for fact in facts:
            about[fact.subject].append(fact)
        self._about = {key: tuple(entries) for key, entries in about.items()}

    def about(self, key: str) -> tuple[Fact, ...]:
        """List the facts whose subject is the entity `key`."""
        return self._about[key]

    def value_type(self, fact: Fact) -> str:
        """Return the type of the fact's value, such as ``colour`` or ``place``."""
        return RELATIONS[self.entities[fact.subject].kind][fact.relation]

    def distractors(self, fact: Fact, n: int, rng: random.Random) -> list[str]:
        """Draw `n` distinct wrong values of the type of the fact's value, without the subject."""
        wrong = [
            v for v in self.values[self.value_type(fact)] if v not in (fact.value, fact.subject)
        ]
        return rng.sample(wrong, n)


def _rows(table: str) -> list[str]:
    return [line.split("|")[0].strip() for line in table.strip().splitlines()]


def _entities() -> dict[str, Entity]:
    keys = {
        "place": [*(name.lower() for name in entities.TOWNS), *_rows(entities.PLACES)],
        "person": [name.lower() for name in (*entities.MEN, *entities.WOMEN)],
        "animal": _rows(entities.ANIMALS),
        "dish": _rows(entities.DISHES),
    }
    return {key: Entity(key, kind) for kind in KINDS for key in keys[kind]}


def _values(known: Mapping[str, Entity]) -> dict[str, tuple[str, ...]]:
    tables = {**words.ADJECTIVES, **words.NOUNS, **words.PHRASES, "profession": words.PROFESSIONS}
    values = {name: tuple(_rows(table)) for name, table in tables.items()}
    for kind in KINDS:
        values[kind] = tuple(key for key, entity in known.items() if entity.kind == kind)
    return values


def _deal(subjects: list[str], values: tuple[str, ...], rng: random.Random) -> dict[str, str]:
    """Deal values to subjects evenly; no subject receives itself."""
    while True:
        pack: list[str] = []
        while len(pack) < len(subjects):
            pack += rng.sample(values, len(values))
        dealt = dict(zip(subjects, pack[: len(subjects)], strict=True))
        if all(subject != value for subject, value in dealt.items()):
            return dealt


@lru_cache(maxsize=1)
def default_world() -> World:
    """Draw the world of the bundled models, the same on every machine and on every call."""
    rng = random.Random(20240817)
    known = _entities()
    values = _values(known)
    towns = {name.lower() for name in entities.TOWNS}
    dealt: dict[str, dict[str, str]] = {key: {} for key in known}
    for kind in KINDS:
        for relation, value_type in RELATIONS[kind].items():
            subjects = [key for key in values[kind] if relation != "settlement" or key in towns]
            for subject, value in _deal(subjects, values[value_type], rng).items():
                dealt[subject][relation] = value
    # A pet that its owner fears would be a poor joke in every one of its sentences.
    for person in values["person"]:
        if dealt[person]["fear"] == dealt[person]["pet"]:
            dealt[person]["fear"] = rng.choice(
                [a for a in values["animal"] if a != dealt[person]["pet"]]
            )
    facts = []
    for key, relations in dealt.items():
        optional = [relation for relation in relations if relation != "settlement"]
        dropped = set(rng.sample(optional, len(relations) - FACTS_PER_ENTITY))
        facts += [Fact(key, r, v) for r, v in relations.items() if r not in dropped]
    return World(known, tuple(facts), values)
