"""Make questions about the world of the bundled models, as datasets of lm-eval."""

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
"""The number of entities that only the few-shot examples are about."""

CONTEXT_SENTENCES = 3
"""The number of sentences of a text that is to be continued."""


def questions(
    language: str, n: int = 200, seed: int = 0, answers: str | None = None, **_: Any
) -> DatasetDict:
    """Make questions of fact with four options.

    Args:
        language: a language of :data:`interp_steer.world.facts.LANGUAGES`.
        n: the number of test questions.
        seed: the seed of the draw.
        answers: the language of the options; by default the language of the questions.

    Returns:
        The splits ``test``, and ``train`` for few-shot examples: no entity occurs in both. Each
        document has the ``question``; the options as ``choices``, sentences that differ in the
        option alone, and as ``words``, the forms of the bare option; the number of the right
        option, ``gold``; and keys of
        the world: the ``subject``, the ``relation`` and the ``values``.
    """

    def question(fact: Fact, rng: Random) -> dict[str, Any]:
        return {
            "question": grammar.fact_question(fact, language, rng),
            **_make_options(fact, answers or language, rng),
        }

    return _make_splits(question, n, seed)


def continuations(language: str, n: int = 200, seed: int = 0, **_: Any) -> DatasetDict:
    """Make texts about an entity, each with four next sentences of which one is true.

    Args:
        language: as for :func:`questions`.
        n: the number of test texts.
        seed: the seed of the draw.

    Returns:
        Splits as of :func:`questions`. In place of the question each document has the text as
        ``context``, the words that all four sentences begin with as ``begun``, and the ``rest`` of
        the true sentence.
    """
    return _make_splits(partial(_make_continuation, language), n, seed)


def _make_splits(make: Callable[[Fact, Random], dict[str, Any]], n: int, seed: int) -> DatasetDict:
    """Make documents; the facts do not depend on the language."""
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


def _make_continuation(language: str, fact: Fact, rng: Random) -> dict[str, Any]:
    others = [other for other in default_world().about(fact.subject) if other != fact]
    sentences = [
        grammar.sentence(other, language, rng, style="no_comma")
        for other in rng.sample(others, CONTEXT_SENTENCES)
    ]
    options = _make_options(fact, language, rng)
    begun = _common_words(options["choices"])
    right = options["choices"][options["gold"]]
    return {
        "context": " ".join(sentences),
        "begun": begun and f" {begun}",
        "rest": right[len(begun) :].strip(),
        **options,
    }


def _common_words(texts: Sequence[str]) -> str:
    """Return the words that all texts begin with."""
    columns = zip(*(text.split(" ") for text in texts), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns))


def _make_options(fact: Fact, language: str, rng: Random) -> dict[str, Any]:
    """Return four options in words and in sentences, and the number of the right option."""
    values = [fact.value, *default_world().distractors(fact, len(LETTERS) - 1, rng)]
    rng.shuffle(values)
    draw = rng.random()
    return {
        "choices": [
            # The draws are the same, so that the sentences differ in the option alone.
            grammar.sentence(
                Fact(fact.subject, fact.relation, value), language, Random(draw), style="no_comma"
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
