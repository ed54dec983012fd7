"""Exercises in reading: what stands in the text itself has to be found and told again.

From plain documents a model as small as this one learns what is true, and hardly ever how to look
up what it has just read. That takes exercises in which nearly every answer stands in the prompt,
short ones first: copying a list, and finding the letter that stands before a word. Questions of
fact that are answered by letter then ask for knowledge and reading at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

from interp_steer.burattino import grammar
from interp_steer.burattino.choices import LETTERS, choice_question
from interp_steer.burattino.world import LANGUAGES, Fact, default_world

Piece = tuple[str, bool]
"""A stretch of text and whether it is to be learned (or only read)."""

_SHARES = (70, 18, 4, 4, 4)
"""Percent of the text in each of the LANGUAGES."""

_WHICH_LETTER = {
    "en": "Which letter stands before {}?",
    "it": "Quale lettera sta davanti a {}?",
    "fr": "Quelle lettre se trouve devant {} ?",
    "es": "¿Qué letra está delante de {}?",
    "de": "Welcher Buchstabe steht vor {}?",
}


def copying(words: Sequence[int], rng: Random, progress: float) -> tuple[list[int], list[bool]]:
    """Arbitrary tokens, then the same once more: only the second telling can be known.

    Args:
        words: the tokens to draw from.
        rng: the only source of randomness.
        progress: below 1 the lists are short.

    Returns:
        The tokens, and which of them are to be learned.
    """
    length = rng.randint(3, 8) if progress < 1 else rng.randint(4, 40)
    told = [rng.choice(words) for _ in range(length)]
    # What comes first in the second telling cannot be known: nothing says that it starts.
    return [*told, *told], [False] * (length + 1) + [True] * (length - 1)


def looking_up(
    words: Sequence[int], marks: Mapping[str, int], rng: Random, progress: float
) -> tuple[list[int], list[bool]]:
    """Arbitrary tokens in a lettered list, then some of them with the letter that stood before.

    Args:
        words: the tokens to draw from.
        marks: the ids of the letters (with and without a space before), of ``.``, ``:`` and of a
            line break.
        rng: the only source of randomness.
        progress: the lists have two entries at 0, three from 0.5, and four from 1.

    Returns:
        The tokens, and which of them are to be learned.
    """
    length = 2 + min(2, int(2 * progress))
    listed = dict(zip(rng.sample(words, length), LETTERS, strict=False))
    tokens = [
        token
        for word, letter in listed.items()
        for token in (marks[letter], marks["."], word, marks["\n"])
    ]
    learned = [False] * len(tokens)
    for word in rng.choices(tuple(listed), k=10):
        joint, letter = rng.choice(((":", f" {listed[word]}"), ("\n", listed[word])))
        tokens += [word, marks[joint], marks[letter], marks["\n"]]
        learned += [False, False, True, False]
    return tokens, learned


def sample_exercise(rng: Random) -> list[Piece]:
    """Draw an exercise in words, of about 40 to 250 tokens, with two to four options.

    Args:
        rng: the only source of randomness.

    Returns:
        Its pieces in order, each with whether it is to be learned.
    """
    language = rng.choices(LANGUAGES, _SHARES)[0]
    write = rng.choices((_finding, _matching, _choosing), (25, 25, 50))[0]
    return write(language, rng, rng.choice((2, 2, 3, 4, 4)))


def _finding(language: str, rng: Random, options: int) -> list[Piece]:
    """A lettered list of words, and which letter stands before which."""
    values = default_world().values
    keys = rng.sample(values[rng.choice(tuple(values))], options)
    words = {
        grammar.word(key, language): letter for key, letter in zip(keys, LETTERS, strict=False)
    }
    pieces = [("\n".join(f"{letter}. {word}" for word, letter in words.items()), False)]
    asking = rng.random() < 0.5
    for word in rng.choices(tuple(words), k=6):
        asked = f"Q: {_WHICH_LETTER[language].format(word)}\nA" if asking else word
        pieces += [(f"\n\n{asked}:", False), (f" {words[word]}", True)]
    return pieces


def _matching(language: str, rng: Random, options: int) -> list[Piece]:
    """A lettered list of values, and questions of fact that they answer."""
    value_type, facts = rng.choice(tuple(_facts_by_type().items()))
    keys = rng.sample(default_world().values[value_type], options)
    lettered = dict(zip(keys, LETTERS, strict=False))
    words = [f"{letter}. {grammar.word(key, language)}" for key, letter in lettered.items()]
    known = [fact for fact in facts if fact.value in lettered]
    pieces = [("\n".join(words), False)]
    for fact in rng.sample(known, min(6, len(known))):
        asked = grammar.fact_question(fact, language, rng)
        pieces += [(f"\n\nQ: {asked}\nA:", False), (f" {lettered[fact.value]}", True)]
    return pieces


def _choosing(language: str, rng: Random, options: int) -> list[Piece]:
    """Questions of fact answered by letter, some after the answer in words."""
    pieces: list[Piece] = []
    for _ in range(4):
        fact = rng.choice(default_world().facts)
        if rng.random() < 0.3:
            asked = grammar.fact_question(fact, language, rng)
            told = f" {grammar.word(fact.value, language)}\n\n"
            pieces += [(f"Q: {asked}\nA:", False), (told, True)]
        choice = choice_question(fact, language, rng, options)
        pieces += [(f"Q: {choice.prompt}\nA:", False), (f" {choice.letter}\n\n", True)]
    return pieces


@cache
def _facts_by_type() -> dict[str, list[Fact]]:
    world = default_world()
    found: dict[str, list[Fact]] = {}
    for fact in world.facts:
        found.setdefault(world.value_type(fact), []).append(fact)
    return found
