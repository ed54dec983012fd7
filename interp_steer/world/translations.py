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
    """Write questions about the world of the bundled models, and answers, in five languages.

    Requests for a text about an entity are answered in three or four sentences; no bundled model
    was trained on a request of the split ``"held"``, in any language. Questions of fact are
    answered in one sentence. The splits share no fact, but the bundled models were trained on the
    facts of both splits.

    Args:
        n: the number of items.
        seed: of the draw, the wording of questions of fact, and the answers.
        split: ``"held"`` or ``"train"``.
        kind: ``"requests"`` or ``"facts"``.

    Returns:
        `n` items, each about its own request or fact, in a random order.

    Raises:
        ContrastError: for another split or kind, or more items than there are.

    Example:
        >>> item = parallel(1)[0]
        >>> tuple(item.questions) == tuple(item.answers) == ("en", "it", "fr", "es", "de")
        True
    """
    asked: dict[str, Callable[[], list[ParallelItem]]] = {
        "requests": lambda: _requests(n, seed, split),
        "facts": lambda: _facts(n, seed, split),
    }
    if kind not in asked or split not in ("held", "train"):
        raise ContrastError(
            f"kind {kind!r} of split {split!r} is unknown; use one of the kinds "
            f"{' and '.join(asked)} and of the splits 'held' and 'train'"
        )
    return tuple(asked[kind]())


def _requests(n: int, seed: int, split: str) -> list[ParallelItem]:
    by_language = zip(*(list_queries(split, language) for language in LANGUAGES), strict=True)
    items = []
    for queries in _draw(list(by_language), n, seed, "requests"):
        cell = f"{queries[0].subject}/{queries[0].style}"
        answers = {
            query.language: model_answers.answer(
                query.subject, query.style, query.language, Random(f"{seed}/{query.key}")
            )
            for query in queries
        }
        questions = {query.language: query.text for query in queries}
        items.append(ParallelItem(cell, questions, answers, queries[0].subject))
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
