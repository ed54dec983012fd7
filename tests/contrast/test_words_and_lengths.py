"""Contrast sets of words, lengths, numbers of sentences and casings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.instructions.ifeval_rows import FILES, IFEvalRow, read, read_published
from interp_steer.contrast.instructions.ifeval_sets import set_of_rows
from interp_steer.contrast.instructions.phrasings import EXCLUDE, INCLUDE, LENGTHS
from interp_steer.contrast.instructions.registry import BULLETS, LOWERCASE
from interp_steer.contrast.pair import SPLITS
from interp_steer.contrast.words_and_lengths import (
    CONCISENESS,
    LENGTH_CLASSES,
    VERBOSITY,
    length_sets,
    sentence_sets,
    with_casing,
    word_pairs,
    word_sets,
)
from interp_steer.errors import ContrastError
from interp_steer.scoring import ifeval
from interp_steer.world.queries import list_queries as world_queries
from tests.support.ifeval_files import MANY, PAPER, assert_disjoint, published, row, write

WORLD = [query.text for query in world_queries("held")]
SIZES = {"fit": 6, "select": 3, "test": 4}


# ------------------------------------------------------------------ words


def test_each_word_has_a_set_on_the_same_requests() -> None:
    assert (len(INCLUDE), len(EXCLUDE)) == (5, 6)
    sets = word_sets(["lantern", "oar"], WORLD)
    assert [len(pairs) for pairs in sets.values()] == [20, 20]
    assert sets["oar"].queries == sets["lantern"].queries and sets["oar"].name == "include oar"
    assert {pair.phrasing for pair in sets["oar"]} == set(INCLUDE)
    for pair in sets["oar"]:
        assert "oar" in str(pair.present) and pair.kwargs == ({"keywords": ["oar"]},)
    forbidden = word_sets(["oar"], WORLD, exclude=True)["oar"]
    assert {pair.phrasing for pair in forbidden} == set(EXCLUDE)
    assert forbidden[0].kwargs == ({"forbidden_words": ["oar"]},)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_each_pair_has_a_word_of_its_split(seed: int, exclude: bool) -> None:
    words = ["oar", "kettle", "lantern", "pebble", "ladder"]
    pairs = word_pairs(MANY, words, exclude=exclude, seed=seed, select=6, test=9)
    assert_disjoint(pairs)
    argument = "forbidden_words" if exclude else "keywords"
    used = {
        split: {p.kwargs[0][argument][0] for p in pairs if p.split == split} for split in SPLITS
    }
    assert used["select"] | used["test"] == set(words) and not used["select"] & used["test"]
    assert all(pair.kwargs[0][argument][0] in str(pair.present) for pair in pairs)
    options = {"exclude": exclude, "seed": seed, "select": 6, "test": 9}
    assert pairs == word_pairs(MANY, words, **options)


def test_too_few_words_are_refused() -> None:
    with pytest.raises(ContrastError, match="1 words cannot serve the 2 splits select, test"):
        word_pairs(MANY, ["oar"], select=2, test=2)


def validation_row(query: str, word: str) -> dict[str, Any]:
    """A row in the layout of the validation files."""
    told = row(f'{query} Say "{word}" somewhere.', ("keywords:existence", {"keywords": [word]}))
    return {
        **told,
        "question": query,
        "likely_words": [word],
        "unlikely_words": [],
        "prompt_without_instruction": query,
    }


def test_rows_of_words_are_pairs_as_they_stand(tmp_path: Path) -> None:
    asked = [validation_row("Name a fish.", "carp"), validation_row("Name a fish.", "pike")]
    rows = read(write(tmp_path / "inclusion.jsonl", asked))
    pairs = set_of_rows("include words", rows, split="select")
    assert pairs.split == "select" and [pair.present for pair in pairs] == [
        'Name a fish. Say "carp" somewhere.',
        'Name a fish. Say "pike" somewhere.',
    ]
    assert pairs[1].phrasing == 'Say "{word}" somewhere.' and pairs[1].absent == "Name a fish."
    assert [pair.kwargs for pair in pairs] == [({"keywords": ["carp"]},), ({"keywords": ["pike"]},)]
    with pytest.raises(ContrastError, match=r"row a does not give the arguments of .*bullet"):
        set_of_rows("x", [IFEvalRow("a", "Fish! 2 bullets.", (BULLETS,), (), "Fish!", "given")])


# ------------------------------------------------------------------ lengths, sentences, casing


def test_five_lengths_on_the_same_fifty_queries() -> None:
    sets = length_sets(WORLD)
    assert tuple(sets) == LENGTH_CLASSES and len(sets) == 5
    assert (CONCISENESS, VERBOSITY) == ("extremely concise", "extremely verbose")
    asked = [pairs.queries for pairs in sets.values()]
    assert all(len(queries) == 50 and queries == asked[0] for queries in asked)
    said = [phrasing for each in LENGTHS.values() for phrasing in each]
    assert len({plain_text(phrasing) for phrasing in said}) == len(said) == 30
    for name, pairs in sets.items():
        assert {pair.phrasing for pair in pairs} == set(LENGTHS[name])
    split = length_sets(MANY, fit=6, select=2, test=4)
    assert len({tuple(pairs.test.queries) for pairs in split.values()}) == 1
    assert_disjoint(split[VERBOSITY])


@pytest.mark.parametrize("relation", ["exactly", "at most"])
def test_a_number_of_sentences_is_asked_for_and_verified(relation: Any) -> None:
    sets = sentence_sets(WORLD, (1, 2, 3), relation=relation, **SIZES)
    assert list(sets) == [1, 2, 3] and sets[2].name == f"{relation} 2 sentences"
    assert sets[1].queries == sets[3].queries
    for n, pairs in sets.items():
        assert_disjoint(pairs)
        for pair in pairs:
            assert "{" not in str(pair.present) and pair.absent == pair.query
            kept = [
                ifeval.verify("A fish swims. " * k, pair.instruction_ids, pair.kwargs).strict
                for k in range(1, 5)
            ]
            assert kept == [k == n if relation == "exactly" else k <= n for k in range(1, 5)]


def test_numbers_and_relations_of_sentences_are_checked() -> None:
    with pytest.raises(ContrastError, match="cannot have 0 sentences; give numbers from 1"):
        sentence_sets(MANY, (0, 1))
    unknown: Any = "about"
    with pytest.raises(ContrastError, match="relation 'about' is unknown; use one of exactly"):
        sentence_sets(MANY, (1,), relation=unknown)


def test_a_casing_is_asked_for_beside_a_word() -> None:
    words = word_pairs(WORLD, ["oar", "kettle", "lantern"], exclude=True, select=6, test=9)
    both = with_casing(words, seed=2)
    assert both.name == "exclude words + english_lowercase" and both.queries == words.queries
    assert_disjoint(both)
    for pair, alone in zip(both, words, strict=True):
        assert str(pair.present).startswith(str(alone.present)) and pair.absent == alone.absent
        assert pair.instruction_ids == ("keywords:forbidden_words", LOWERCASE)
        (word,) = pair.kwargs[0]["forbidden_words"]
        verdict = ifeval.verify(f"I took the {word} home.", pair.instruction_ids, pair.kwargs)
        assert verdict.each_strict == (False, False)
    talk = [{"role": "user", "content": "Hi"}]
    told = ContrastSet.from_dataset(
        [{"query": "Hi", "present": [*talk, *talk], "absent": talk}], name="x"
    )
    with pytest.raises(ContrastError, match="is a conversation; give pairs of texts"):
        with_casing(told)


@published
@pytest.mark.parametrize(
    "which", ["include", "exclude", "include_validation", "exclude_validation"]
)
def test_the_published_prompts_of_words_are_pairs(which: str) -> None:
    pairs = set_of_rows(which, read_published(PAPER, which))
    assert len(pairs) == FILES[which][1]
    assert all("{word}" in pair.phrasing for pair in pairs)
