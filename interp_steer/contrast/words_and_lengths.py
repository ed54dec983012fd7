"""Build contrast sets of words, lengths, sentence counts and casings (paper A, sections 4 and 5).

Each set is built from any queries: IFEval's without their instructions, queries about the bundled
models' world, or other texts. Sets that are compared with each other are dealt the same queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Literal

from interp_steer.arguments import check_list
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.contrast.from_phrasings import build
from interp_steer.contrast.instructions.ifeval_sets import ask_for
from interp_steer.contrast.instructions.phrasings import (
    AT_MOST,
    EXCLUDE,
    INCLUDE,
    LENGTHS,
    list_phrasings,
    say,
)
from interp_steer.contrast.instructions.registry import (
    EXISTENCE,
    FORBIDDEN,
    LOWERCASE,
    SENTENCES,
    phrase,
)
from interp_steer.contrast.instructions.wordings import PHRASINGS
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ContrastError

LENGTH_CLASSES: tuple[str, ...] = tuple(LENGTHS)
"""The five lengths, the shortest first."""

CONCISENESS, VERBOSITY = LENGTH_CLASSES[0], LENGTH_CLASSES[-1]
"""The two classes whose vectors the paper steers with."""


def word_sets(
    words: Sequence[str],
    queries: Sequence[str],
    *,
    exclude: bool = False,
    seed: int = 0,
    fit: int = 20,
    select: int = 0,
    test: int = 0,
) -> dict[str, ContrastSet]:
    """Build a set for each word, whose pairs ask for the word or forbid it (paper A, words).

    Args:
        words: the words; a vector is fitted for each.
        queries: requests that do not mention the words; all words are dealt the same queries.
        exclude: whether the words are forbidden.
        seed: see :func:`interp_steer.contrast.from_phrasings.build`.
        fit, select, test: the number of pairs in each split; 20 in the paper (10 for validation).

    Returns:
        The sets by word, named ``include <word>`` or ``exclude <word>``.

    Raises:
        ContrastError: as :func:`interp_steer.contrast.from_phrasings.build`.
    """
    check_list("words", words, ContrastError)
    check_list("queries", queries, ContrastError)
    task, phrasings = ("exclude", EXCLUDE) if exclude else ("include", INCLUDE)
    pairs = build(task, queries, phrasings, seed=seed, fit=fit, select=select, test=test)
    return {
        word: ContrastSet(f"{task} {word}", tuple(_ask_for_word(p, word, exclude) for p in pairs))
        for word in words
    }


def word_pairs(
    queries: Sequence[str],
    words: Sequence[str],
    *,
    exclude: bool = False,
    seed: int = 0,
    fit: int = 0,
    select: int = 24,
    test: int = 48,
) -> ContrastSet:
    """Build one set in which each pair asks for another word, or forbids it (paper A, words).

    Args:
        queries: requests.
        words: the words; splits share no word, and the pairs of a split use its words in turn.
        exclude: whether the words are forbidden.
        seed: of the deal.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.

    Raises:
        ContrastError: when there are fewer words than splits, or as
            :func:`interp_steer.contrast.from_phrasings.build`.
    """
    check_list("queries", queries, ContrastError)
    check_list("words", words, ContrastError)
    name, phrasings = ("exclude words", EXCLUDE) if exclude else ("include words", INCLUDE)
    pairs = build(name, queries, phrasings, seed=seed, fit=fit, select=select, test=test)
    dealt = _deal(words, pairs.splits, "words", Random(f"{name}/{seed}/words"))
    asked = [
        _ask_for_word(pair, dealt[split][index % len(dealt[split])], exclude)
        for split in pairs.splits
        for index, pair in enumerate(p for p in pairs if p.split == split)
    ]
    return ContrastSet(name, tuple(asked))


def length_sets(
    queries: Sequence[str], *, seed: int = 0, fit: int = 50, select: int = 0, test: int = 0
) -> dict[str, ContrastSet]:
    """Build a set for each of :data:`LENGTH_CLASSES`, on the same queries (paper A, length).

    Args:
        queries: requests that ask for no length.
        seed: see :func:`interp_steer.contrast.from_phrasings.build`.
        fit, select, test: the number of pairs in each split; 50 in the paper.

    Returns:
        The sets by class. No instruction of IFEval verifies their answers; count the words.

    Raises:
        ContrastError: as :func:`interp_steer.contrast.from_phrasings.build`.
    """
    sets = {}
    for name, phrasings in LENGTHS.items():
        # The same name and number of phrasings for all classes make the same deal of queries.
        pairs = build("length", queries, phrasings, seed=seed, fit=fit, select=select, test=test)
        sets[name] = ContrastSet(name, pairs.pairs)
    return sets


def sentence_sets(
    queries: Sequence[str],
    counts: Sequence[int] = (1, 2, 3, 4, 5, 6),
    *,
    relation: Literal["exactly", "at most"] = "exactly",
    seed: int = 0,
    fit: int = 50,
    select: int = 0,
    test: int = 0,
) -> dict[int, ContrastSet]:
    """Build a set for each number of sentences, on the same queries (paper A, length).

    Args:
        queries: requests that ask for no length.
        counts: the numbers of sentences.
        relation: whether answers are asked for exactly the number, or for at most the number; at
            most n sentences is verified as less than n + 1.
        seed: see :func:`interp_steer.contrast.from_phrasings.build`.
        fit, select, test: the number of pairs in each split.

    Returns:
        The sets by number.

    Raises:
        ContrastError: for a number below 1, for another relation, or as
            :func:`interp_steer.contrast.from_phrasings.build`.
    """
    if min(counts, default=1) < 1:
        raise ContrastError(f"an answer cannot have {min(counts)} sentences; give numbers from 1")
    exact = PHRASINGS[f"{SENTENCES}/exactly"]
    phrasings = {"exactly": exact, "at most": AT_MOST}
    if relation not in phrasings:
        raise ContrastError(f"relation {relation!r} is unknown; use one of {', '.join(phrasings)}")
    pairs = build(
        relation, queries, phrasings[relation], seed=seed, fit=fit, select=select, test=test
    )

    def with_number(pair: Pair, n: int) -> Pair:
        if relation == "exactly":
            kwargs = {"relation": "exactly", "num_sentences": n}
            text = phrase(SENTENCES, kwargs, exact.index(pair.phrasing))
        else:
            kwargs = {"relation": "less than", "num_sentences": n + 1}
            text = pair.phrasing.format(number=n, sentences="sentence" if n == 1 else "sentences")
        return ask_for(pair, text, SENTENCES, kwargs)

    return {
        n: ContrastSet(f"{relation} {n} sentences", tuple(with_number(pair, n) for pair in pairs))
        for n in counts
    }


def with_casing(pairs: ContrastSet, casing: str = LOWERCASE, *, seed: int = 0) -> ContrastSet:
    """Add the instruction of a casing to pairs (paper A, composition: casing and a word).

    Args:
        pairs: pairs of texts, such as :func:`word_pairs`.
        casing: ``change_case:english_lowercase`` or ``change_case:english_capital``.
        seed: of the deal of the casing's phrasings to the splits; splits share no phrasing.

    Returns:
        The pairs, whose ``present`` has both instructions; both verify an answer.

    Raises:
        ContrastError: for pairs of conversations.
    """
    dealt = _deal(list_phrasings(casing), pairs.splits, "phrasings", Random(f"{casing}/{seed}"))

    def with_both(pair: Pair, index: int) -> Pair:
        if not isinstance(pair.present, str):
            raise ContrastError(f"pair {pair.key!r} is a conversation; give pairs of texts")
        phrasing = dealt[pair.split][index % len(dealt[pair.split])]
        return replace(
            pair,
            present=f"{pair.present} {say(casing, phrasing, {})}",
            phrasing=f"{pair.phrasing} {phrasing}",
            instruction_ids=(*pair.instruction_ids, casing),
            kwargs=(*pair.kwargs, {}),
            key="",
        )

    both = tuple(with_both(pair, index) for index, pair in enumerate(pairs))
    return ContrastSet(f"{pairs.name} + {casing.rpartition(':')[2]}", both)


def _ask_for_word(pair: Pair, word: str, exclude: bool) -> Pair:
    about, argument = (FORBIDDEN, "forbidden_words") if exclude else (EXISTENCE, "keywords")
    return ask_for(pair, pair.phrasing.replace("{word}", word), about, {argument: [word]})


def _deal(
    items: Sequence[str], splits: Sequence[str], what: str, rng: Random
) -> dict[str, list[str]]:
    """Deal items to splits in equal parts, at random."""
    shuffled = list(dict.fromkeys(items))
    if len(shuffled) < len(splits):
        raise ContrastError(
            f"{len(shuffled)} {what} cannot serve the {len(splits)} splits {', '.join(splits)}, "
            f"which must share none; give at least {len(splits)}"
        )
    rng.shuffle(shuffled)
    return {split: shuffled[index :: len(splits)] for index, split in enumerate(splits)}
