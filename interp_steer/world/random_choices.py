"""Write questions of fact with lettered options, of which one is right."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from interp_steer.errors import ContrastError
from interp_steer.world import grammar
from interp_steer.world.facts import LANGUAGES, Fact, default_world

LETTERS = "ABCD"
"""The letters of a multiple choice."""


@dataclass(frozen=True)
class MultipleChoice:
    """A question of fact with four options, one of them right."""

    prompt: str
    """The question and the lettered options, a line each."""

    options: tuple[str, ...]
    values: tuple[str, ...]
    """The keys of the options."""
    letter: str
    """The right answer."""

    fact: Fact


def choice_question(fact: Fact, language: str, rng: Random) -> MultipleChoice:
    """Write a question of fact with four options, a line each."""
    keys = [fact.value, *default_world().distractors(fact, len(LETTERS) - 1, rng)]
    rng.shuffle(keys)
    words = tuple(grammar.word(key, language) for key in keys)
    lines = [f"{letter}. {word}" for letter, word in zip(LETTERS, words, strict=True)]
    prompt = "\n".join([grammar.fact_question(fact, language, rng), *lines])
    return MultipleChoice(prompt, words, tuple(keys), LETTERS[keys.index(fact.value)], fact)


def multiple_choice(language: str = "en", *, n: int = 200, seed: int = 0) -> list[MultipleChoice]:
    """Write questions about the world, on facts that are drawn evenly.

    Args:
        language: one of :data:`LANGUAGES`.
        n: how many; the facts are distinct while there are enough of them (about 1,200).
        seed: of the draw.

    Returns:
        `n` questions.

    Raises:
        ContrastError: for a language that the world is not told in, or fewer than one question.
    """
    if language not in LANGUAGES or n < 1:
        raise ContrastError(
            f"cannot ask n={n} questions in {language!r}; n is one or more and the languages are "
            f"{', '.join(LANGUAGES)}"
        )
    rng = Random(f"{seed}/{language}")
    facts = default_world().facts
    drawn = [fact for _ in range(-(-n // len(facts))) for fact in rng.sample(facts, len(facts))]
    return [choice_question(fact, language, rng) for fact in drawn[:n]]
