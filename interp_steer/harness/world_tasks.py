"""Questions about the world of the bundled models, as lm-eval's datasets; made when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from random import Random
from typing import Any

from datasets import Dataset, DatasetDict

from interp_steer.world import grammar
from interp_steer.world.facts import Fact, default_world
from interp_steer.world.random_choices import LETTERS

SHOT_ENTITIES = 20
"""Entities that only the few-shot examples are about."""

CONTEXT_SENTENCES = 3
"""Sentences of a text that is to be continued."""


def questions(
    language: str, n: int = 200, seed: int = 0, answers: str | None = None, **_: Any
) -> DatasetDict:
    """Questions of fact with four options.

    Args:
        language: of :data:`interp_steer.world.facts.LANGUAGES`.
        n: how many are tested.
        seed: of the draw.
        answers: the language of the options, where it is another.

    Returns:
        ``test``, and ``train`` for few-shot examples: no entity is in both. Each document has the
        ``question``; the options as ``choices``, sentences that differ in the option alone, and as
        ``words``, the forms of the bare option; the number of the right one, ``gold``; and keys of
        the world: the ``subject``, the ``relation`` and the ``values``.
    """

    def question(fact: Fact, rng: Random) -> dict[str, Any]:
        asked = grammar.fact_question(fact, language, rng)
        return {"question": asked, **_options(fact, answers or language, rng)}

    return _splits(question, n, seed)


def continuations(language: str, n: int = 200, seed: int = 0, **_: Any) -> DatasetDict:
    """Texts about an entity, each with four next sentences of which one is true.

    Args:
        language: as for :func:`questions`.
        n: how many are tested.
        seed: of the draw.

    Returns:
        as :func:`questions`, but in place of the question the text as ``context``, the words that
        all four sentences begin with, ``begun``, and the ``rest`` of the true one.
    """
    return _splits(partial(_continuation, language), n, seed)


def _splits(make: Callable[[Fact, Random], dict[str, Any]], n: int, seed: int) -> DatasetDict:
    """Documents of the same facts, whatever the language."""
    world, rng = default_world(), Random(f"harness/{seed}")
    entities = rng.sample(sorted(world.entities), len(world.entities))
    shots = set(entities[:SHOT_ENTITIES])
    facts = rng.sample(world.facts, len(world.facts))
    drawn = {
        "train": [fact for fact in facts if fact.subject in shots],
        "test": [fact for fact in facts if fact.subject not in shots][:n],
    }
    return DatasetDict(
        {
            split: Dataset.from_list([make(fact, Random(f"{seed}/{fact}")) for fact in chosen])
            for split, chosen in drawn.items()
        }
    )


def _continuation(language: str, fact: Fact, rng: Random) -> dict[str, Any]:
    others = [other for other in default_world().about(fact.subject) if other != fact]
    told = [
        grammar.sentence(other, language, rng, style="no_comma")
        for other in rng.sample(others, CONTEXT_SENTENCES)
    ]
    options = _options(fact, language, rng)
    begun = _common_words(options["choices"])
    right = options["choices"][options["gold"]]
    return {
        "context": " ".join(told),
        "begun": begun and f" {begun}",
        "rest": right[len(begun) :].strip(),
        **options,
    }


def _common_words(texts: Sequence[str]) -> str:
    """The words that all texts begin with."""
    columns = zip(*(text.split(" ") for text in texts), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns))


def _options(fact: Fact, language: str, rng: Random) -> dict[str, Any]:
    """Four options in words and in sentences, and which is right."""
    values = [fact.value, *default_world().distractors(fact, len(LETTERS) - 1, rng)]
    rng.shuffle(values)
    told = rng.random()
    return {
        "choices": [
            # The same draws for each, so that the sentences differ in the option alone.
            grammar.sentence(
                Fact(fact.subject, fact.relation, value), language, Random(told), style="no_comma"
            )
            for value in values
        ],
        "words": [
            list(
                dict.fromkeys(
                    [grammar.word(value, language), grammar.word(value, language, fact.subject)]
                )
            )
            for value in values
        ],
        "gold": values.index(fact.value),
        "subject": fact.subject,
        "relation": fact.relation,
        "values": values,
    }
