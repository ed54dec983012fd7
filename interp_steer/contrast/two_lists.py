"""Build a contrast set from two lists of prompts: one with a property, one without it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from interp_steer.arguments import check_list
from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.from_phrasings import check_sizes
from interp_steer.contrast.pair import SPLITS, Pair, Prompt, canonical_json, check_types
from interp_steer.errors import ContrastError


def from_lists(
    present: Sequence[Prompt],
    absent: Sequence[Prompt],
    *,
    name: str,
    seed: int = 0,
    fit: int | None = None,
    select: int = 0,
    test: int = 0,
) -> ContrastSet:
    """Make pairs of any two lists of prompts and deal the pairs to the splits.

    The prompts at the same place of the two lists make a pair. Pairs that share a prompt, a query
    or a phrasing (compared without regard to case and white space) make a group, which goes to one
    split, so that the splits share nothing. Smaller groups are dealt first, to the smallest split
    first; of the last group of a split only as many pairs are used as the split needs. Of pairs
    with the same two prompts the first is used. The query of a pair is its absent prompt, or the
    last message of the user there. Its phrasing is the present prompt with the query cut out, or
    the whole present prompt where the query is not in it.

    Args:
        present: the prompts with the property: texts, or conversations of turns.
        absent: as many prompts without the property.
        name: of the property; vectors take their name from it.
        seed: of the deal; the same seed makes the same set.
        fit: the number of pairs to fit on; all pairs that the other splits leave when not given.
        select, test: the number of pairs in each of these splits; 0 leaves the split out.

    Returns:
        A set with the splits that were asked for. Nothing verifies an answer to its prompts.

    Raises:
        ContrastError: for lists of different lengths, for a prompt that is neither a text nor a
            conversation, for two sides that are the same, or for too few pairs that share nothing.

    Example:
        >>> cold, warm = ["Describe snow.", "Describe ice."], ["Praise the sun.", "Praise fire."]
        >>> pairs = from_lists(warm, cold, name="warmth", test=1)
        >>> pairs.splits, pairs.test[0].split
        (('fit', 'test'), 'test')
    """
    check_list("present", present, ContrastError)
    check_list("absent", absent, ContrastError)
    # Without a number, fit takes all pairs that the other splits leave.
    sizes = check_sizes(len(present) + 1 if fit is None else fit, select, test)
    pairs = list(_pair_up(present, absent))
    groups = list(_groups(pairs))
    random.Random(f"{name}/{seed}").shuffle(groups)
    groups.sort(key=len)
    waiting = iter(groups)
    dealt: dict[str, list[Pair]] = {}
    for split in sorted(sizes, key=sizes.__getitem__):
        dealt[split] = []
        while len(dealt[split]) < sizes[split] and (group := next(waiting, None)):
            dealt[split] += group[: sizes[split] - len(dealt[split])]
    needed = {**sizes, "fit": 1} if fit is None else sizes
    short = [split for split in dealt if len(dealt[split]) < needed[split]]
    if short:
        raise ContrastError(
            f"contrast set {name!r}: {len(pairs)} pairs in {len(groups)} groups that share no "
            "prompt, query or phrasing are too few: "
            f"{', '.join(f'{split} has {len(dealt[split])} of {needed[split]}' for split in short)}"
            "; give more prompts, word them in more ways, or ask for fewer pairs"
        )
    return ContrastSet(
        name,
        tuple(
            replace(pair, split=split, key="") for split in SPLITS for pair in dealt.get(split, ())
        ),
    )


def _pair_up(present: Sequence[Prompt], absent: Sequence[Prompt]) -> Iterator[Pair]:
    """Yield a pair for each place of the two lists, equal pairs once.

    Raises:
        ContrastError: for lists of different lengths, or naming the place of two
            prompts that cannot be a pair.
    """
    for side, prompts in (("present", present), ("absent", absent)):
        if isinstance(prompts, str):
            raise ContrastError(f"{side} is one text, {prompts!r:.80}; give a list of prompts")
    if len(present) != len(absent):
        raise ContrastError(
            f"present has {len(present)} prompts and absent has {len(absent)}; give two lists of "
            "the same length, whose prompts at the same place make a pair"
        )
    seen: set[tuple[str, str]] = set()
    for number, (with_it, without_it) in enumerate(zip(present, absent, strict=True)):
        try:
            check_types({"present": with_it, "absent": without_it})
            pair = Pair(query=_query(without_it), present=with_it, absent=without_it)
        except ContrastError as error:
            raise ContrastError(f"prompts number {number}: {error}") from error
        texts = (_comparable(pair.present), _comparable(pair.absent))
        if texts not in seen:
            seen.add(texts)
            yield pair


def _query(prompt: Prompt) -> str:
    """Return a prompt's text, or what the user says last in a conversation."""
    if isinstance(prompt, str):
        return prompt
    asked = [turn["content"] for turn in prompt if turn["role"] == "user"]
    return asked[-1] if asked else canonical_json(prompt)


def _comparable(prompt: Prompt) -> str:
    return plain_text(prompt if isinstance(prompt, str) else canonical_json(prompt))


def _groups(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield the pairs in groups; pairs of different groups share no prompt, query or phrasing."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, pair in enumerate(pairs):
        for text in _texts_to_keep_apart(pair):
            parent[root(index)] = root(first.setdefault(text, index))
    groups: dict[int, list[Pair]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(root(index), []).append(pair)
    yield from groups.values()


def _texts_to_keep_apart(pair: Pair) -> set[tuple[str, str]]:
    prompts = {("prompt", _comparable(prompt)) for prompt in (pair.present, pair.absent)}
    return {
        *prompts,
        ("query", plain_text(pair.query)),
        ("phrasing", plain_text(pair.phrasing)),
    }
