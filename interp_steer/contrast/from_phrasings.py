"""Build contrast sets from queries and phrasings of an instruction."""

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
    """Make pairs from queries and phrasings of an instruction (paper A, section 3).

    Queries and phrasings are each dealt to the splits in proportion to the sizes of the splits.
    Within a split they are combined: every query is used before any query is used again with
    another phrasing. There are nine parameters because the size of each split is one, and because
    an instruction that IFEval verifies is named by its id and its arguments.

    Args:
        name: of the property that the pairs differ in.
        queries: requests without the instruction; a repeated request is used once.
        phrasings: texts that say the instruction: with ``{query}`` where the request goes, or
            without it, to be put after the request. At least one for each split.
        seed: of the deal; the same seed makes the same set.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.
        instruction_ids: the IFEval ids that answers are verified against.
        kwargs: the arguments of each of ``instruction_ids``.

    Returns:
        A set of ``fit + select + test`` pairs.

    Raises:
        ContrastError: for queries or phrasings that are blank or not texts, or when there are too
            few of them, saying how many are needed.

    Example:
        >>> pairs = build("case", ["Name a tree.", "Name a bird."], ["No capitals.", "{query} :)"],
        ...               fit=1, select=0, test=1)
        >>> pairs.splits
        ('fit', 'test')
    """
    check_list("instruction_ids", instruction_ids, ContrastError)
    check_list("kwargs", kwargs, ContrastError)
    sizes = check_sizes(fit, select, test)
    _check_texts("queries", queries)
    _check_texts("phrasings", phrasings)
    rng = random.Random(f"{name}/{seed}")
    phrasings = _shuffle_distinct(phrasings, rng)
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
        for split, query, phrasing in combine_within_splits(queries, dealt, sizes, rng)
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
        queries: requests that do not mention the word.
        exclude: whether the word is forbidden.
        seed: see :func:`build`.
        fit, select, test: see :func:`build`.

    Returns:
        A set named ``include <word>`` or ``exclude <word>``, whose pairs name the IFEval
        instruction that verifies an answer.

    Raises:
        ContrastError: for a blank word, or as :func:`build`.
    """
    if not text.strip():
        raise ContrastError(f"the word is {text!r}; give one that can be asked for")
    about = registry.FORBIDDEN if exclude else registry.EXISTENCE
    kwargs = {"forbidden_words" if exclude else "keywords": [text]}
    phrasings = [
        registry.phrase(about, kwargs, index) for index in registry.phrasing_indices("trained")
    ]
    return build(
        f"{'exclude' if exclude else 'include'} {text}",
        queries,
        phrasings,
        seed=seed,
        fit=fit,
        select=select,
        test=test,
        instruction_ids=(about,),
        kwargs=(kwargs,),
    )


def check_sizes(fit: int, select: int, test: int) -> dict[str, int]:
    """Check the numbers of pairs, and return those above 0 by split.

    Raises:
        ContrastError: for a number that is negative or not whole, or when all are 0.
    """
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


def _shuffle_distinct(texts: Iterable[str], rng: random.Random) -> list[str]:
    """Shuffle the texts; of texts with the same :func:`plain_text` only the first stays."""
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


def combine_within_splits(
    queries: Iterable[str],
    phrasings: Mapping[str, Sequence[_T]],
    sizes: Mapping[str, int],
    rng: random.Random,
) -> Iterator[tuple[str, str, _T]]:
    """Combine queries and phrasings within each split.

    Args:
        queries: requests; of equal texts the first is used.
        phrasings: those of each split.
        sizes: the number of pairs of each split.
        rng: orders the queries before they are dealt to the splits.

    Yields:
        (split, query, phrasing), all different, as many for each split as its size.

    Raises:
        ContrastError: when there are too few queries or phrasings for a size.
    """
    dealt = _deal(_shuffle_distinct(queries, rng), sizes, "queries")
    for split, size in sizes.items():
        asked, known = dealt[split], phrasings[split]
        if size > len(asked) * len(known):
            raise ContrastError(
                f"split {split!r} is to have {size} pairs, but its {len(asked)} queries and "
                f"{len(known)} phrasings make only {len(asked) * len(known)}; give more queries or "
                "phrasings, or ask for fewer pairs"
            )
        for index in range(size):
            turn, which = divmod(index, len(asked))
            yield split, asked[which], known[(which + turn) % len(known)]
