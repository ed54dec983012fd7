"""Write parallel questions and answers of the invented world, in its five languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

from interp_steer.contrast.parallel import Kind, ParallelItem
from interp_steer.errors import ContrastError
from interp_steer.world import grammar, model_answers
from interp_steer.world.facts import LANGUAGES
from interp_steer.world.queries import list_queries, questionable_facts


def parallel(
    n: int = 200,
    *,
    seed: int = 0,
    split: Literal["held", "train"] = "held",
    kind: Kind = "requests",
) -> tuple[ParallelItem, ...]:
    """Questions about the world of the bundled models, and answers, in its five languages.

    Requests for a text about an entity are answered in three or four sentences; of the split
    ``"held"`` no bundled model was trained on one, in any language. Questions of fact are answered
    in one sentence; all facts were trained on, so that the splits of these share no fact, and none
    of them is new to a model.

    Args:
        n: how many.
        seed: of the draw, the wording of questions of fact, and the answers.
        split: ``"held"`` or ``"train"``.
        kind: ``"requests"`` or ``"facts"``.

    Returns:
        `n` items, each about its own request or fact, in a random order.

    Raises:
        ContrastError: for another split or kind, or more items than there are.

    Example:
        >>> item = world(1)[0]
        >>> tuple(item.questions) == tuple(item.answers) == ("en", "it", "fr", "es", "de")
        True
    """
    asked: dict[str, Callable[[], list[ParallelItem]]] = {
        "requests": lambda: _requests(n, seed, split),
        "facts": lambda: _facts(n, seed, split),
    }
    if kind not in asked or split not in ("held", "train"):
        raise ContrastError(
            f"there are no items of kind {kind!r} in split {split!r}; kinds are "
            f"{' and '.join(asked)}, splits 'held' and 'train'"
        )
    return tuple(asked[kind]())


def _requests(n: int, seed: int, split: str) -> list[ParallelItem]:
    by_language = zip(*(list_queries(split, language) for language in LANGUAGES), strict=True)
    items = []
    for said in _draw(list(by_language), n, seed, "requests"):
        cell = f"{said[0].subject}/{said[0].style}"
        answers = {
            one.language: model_answers.answer(
                one.subject, one.style, one.language, Random(f"{seed}/{one.key}")
            )
            for one in said
        }
        questions = {one.language: one.text for one in said}
        items.append(ParallelItem(cell, questions, answers, said[0].subject))
    return items


def _facts(n: int, seed: int, split: str) -> list[ParallelItem]:
    items = []
    for fact in _draw(questionable_facts(split), n, seed, "facts"):
        cell = f"{fact.subject}/{fact.relation}"
        rngs = {language: Random(f"{seed}/{language}/{cell}") for language in LANGUAGES}
        questions = {code: grammar.fact_question(fact, code, rng) for code, rng in rngs.items()}
        answers = {code: grammar.sentence(fact, code, rng) for code, rng in rngs.items()}
        items.append(ParallelItem(f"fact/{cell}", questions, answers, fact.subject))
    return items


def _draw(all_of_them: Sequence[Any], n: int, seed: int, what: str) -> list[Any]:
    if not 0 < n <= len(all_of_them):
        raise ContrastError(
            f"{n} {what} cannot be drawn from the {len(all_of_them)} of this split; ask for 1 to "
            f"{len(all_of_them)}"
        )
    return Random(f"{seed}/{what}").sample(all_of_them, n)
