"""Build contrast sets: from queries and phrasings, or from the world of the bundled model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, TypeVar

from interp_steer.arguments import check_list
from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.instructions import registry
from interp_steer.contrast.pair import SPLITS, Pair
from interp_steer.errors import ContrastError

_T = TypeVar("_T")


def build(
    name: str,
    queries: Sequence[str],
    phrasings: Sequence[str],
    *,
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int = 48,
    instruction_ids: Sequence[str] = (),
    kwargs: Sequence[Mapping[str, Any]] = (),
) -> ContrastSet:
    """Make pairs from queries and ways to say an instruction (paper A, section 3).

    Queries and phrasings are each dealt to the splits in proportion to their sizes, then combined
    within a split, every query being used before any is used again with another phrasing.

    Args:
        name: what the pairs differ in.
        queries: requests without the instruction; repeated ones are used once.
        phrasings: how the instruction is said: a text with ``{query}`` where the request goes, or
            a sentence that is put after it. At least one for each split.
        seed: of the deal; the same seed makes the same set.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.
        instruction_ids: what answers are verified against.
        kwargs: the arguments of each of ``instruction_ids``.

    Returns:
        A set of ``fit + select + test`` pairs.

    Raises:
        ContrastError: for queries or phrasings that are no texts, or blank, or when there are too
            few of them, saying how many are needed.

    Example:
        >>> pairs = build("case", ["Name a tree.", "Name a bird."], ["No capitals.", "{query} :)"],
        ...               fit=1, select=0, test=1)
        >>> pairs.splits
        ('fit', 'test')
    """
    check_list("instruction_ids", instruction_ids, ContrastError)
    check_list("kwargs", kwargs, ContrastError)
    sizes = _sizes(fit, select, test)
    _check_texts("queries", queries)
    _check_texts("phrasings", phrasings)
    rng = random.Random(f"{name}/{seed}")
    phrasings = _shuffled(phrasings, rng)
    dealt = _deal(phrasings, sizes, "phrasings")
    pairs = [
        Pair(
            query=query,
            present=phrasing.replace("{query}", query)
            if "{query}" in phrasing
            else f"{query} {phrasing}",
            absent=query,
            split=split,
            phrasing=phrasing,
            instruction_ids=tuple(instruction_ids),
            kwargs=tuple(kwargs),
        )
        for split, query, phrasing in _combine(queries, dealt, sizes, rng)
    ]
    return ContrastSet(name, tuple(pairs))


def word(
    text: str,
    queries: Sequence[str],
    *,
    exclude: bool = False,
    seed: int = 0,
    fit: int = 20,
    select: int = 0,
    test: int = 0,
) -> ContrastSet:
    """Make pairs that differ in whether a word is asked for, or forbidden (paper A, words).

    Args:
        text: the word.
        queries: requests that say nothing of it.
        exclude: whether the word is forbidden.
        seed: see :func:`build`.
        fit, select, test: see :func:`build`.

    Returns:
        A set named ``include <word>`` or ``exclude <word>``, with what verifies an answer.

    Raises:
        ContrastError: for a blank word, or as :func:`build`.
    """
    if not text.strip():
        raise ContrastError(f"the word is {text!r}; give one that can be asked for")
    about = registry.FORBIDDEN if exclude else registry.EXISTENCE
    kwargs = {"forbidden_words" if exclude else "keywords": [text]}
    said = [registry.phrase(about, kwargs, index) for index in registry.phrasing_indices("trained")]
    return build(
        f"{'exclude' if exclude else 'include'} {text}",
        queries,
        said,
        seed=seed,
        fit=fit,
        select=select,
        test=test,
        instruction_ids=(about,),
        kwargs=(kwargs,),
    )


def _sizes(fit: int, select: int, test: int) -> dict[str, int]:
    sizes = dict(zip(SPLITS, (fit, select, test), strict=True))
    whole = all(isinstance(size, Integral) for size in sizes.values())
    if not whole or min(sizes.values()) < 0 or not any(sizes.values()):
        raise ContrastError(
            f"sizes {sizes} make no contrast set; give whole numbers from 0 up, one of them above 0"
        )
    return {split: size for split, size in sizes.items() if size}


def _check_texts(what: str, texts: Sequence[str]) -> None:
    check_list(what, texts, ContrastError)
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ContrastError(f"{what}, number {number}, is {text!r:.80}; give texts with words")


def _shuffled(texts: Iterable[str], rng: random.Random) -> list[str]:
    """The texts in a random order, of those that are the same (:func:`_plain`) only the first."""
    once = list({plain_text(text): text for text in reversed(list(texts))}.values())[::-1]
    rng.shuffle(once)
    return once


def _deal(items: Sequence[str], most: Mapping[str, int], what: str) -> dict[str, list[str]]:
    """Deal items to splits in proportion to ``most``, at least one and at most ``most`` to each."""
    if len(items) < len(most):
        raise ContrastError(
            f"{len(items)} {what} cannot serve the {len(most)} splits {', '.join(most)}, which "
            f"must share none; give at least {len(most)}"
        )
    counts = dict.fromkeys(most, 1)
    for _ in range(len(items) - len(most)):
        hungry = max(most, key=lambda split: most[split] / counts[split])
        if counts[hungry] < most[hungry]:
            counts[hungry] += 1
    rest = iter(items)
    return {split: [next(rest) for _ in range(count)] for split, count in counts.items()}


def _combine(
    queries: Iterable[str],
    phrasings: Mapping[str, Sequence[_T]],
    sizes: Mapping[str, int],
    rng: random.Random,
) -> Iterator[tuple[str, str, _T]]:
    """Yield (split, query, phrasing), all different, as many for each split as its size."""
    dealt = _deal(_shuffled(queries, rng), sizes, "queries")
    for split, size in sizes.items():
        asked, said = dealt[split], phrasings[split]
        if size > len(asked) * len(said):
            raise ContrastError(
                f"split {split!r} is to have {size} pairs, but its {len(asked)} queries and "
                f"{len(said)} phrasings make only {len(asked) * len(said)}; give more queries or "
                "phrasings, or ask for fewer pairs"
            )
        for index in range(size):
            turn, which = divmod(index, len(asked))
            yield split, asked[which], said[(which + turn) % len(said)]
