"""Two lists of prompts: a pair for each place, dealt to splits that share nothing."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.contrast import from_lists
from interp_steer.contrast.contrast_set import plain_text
from interp_steer.errors import ContrastError
from tests.support.ifeval_files import MANY, assert_disjoint, texts

WARM = [f"Praise the {place} in summer." for place in ("beach", "forest", "valley", "island")]
COLD = [f"Describe a {thing} in winter." for thing in ("sledge", "glove", "stove", "blanket")]


def test_prompts_at_the_same_place_make_a_pair() -> None:
    pairs = ist.contrast.from_lists(WARM, COLD, name="warmth", seed=2, select=1, test=1)
    assert pairs.name == "warmth"
    assert [len(pairs.fit), len(pairs.select), len(pairs.test)] == [2, 1, 1]
    assert {(pair.present, pair.absent) for pair in pairs} == set(zip(WARM, COLD, strict=True))
    assert all(pair.query == pair.absent and not pair.instruction_ids for pair in pairs)
    assert_disjoint(pairs)


def test_a_seed_makes_one_set_and_another_seed_another() -> None:
    present = [f"{query} Rhyme!" if i % 2 else f"Rhyme: {query}" for i, query in enumerate(MANY)]
    hashes = {
        seed: from_lists(present, MANY, name="rhyme", seed=seed, fit=10, test=10).hash
        for seed in (0, 1)
    }
    assert hashes[0] != hashes[1]
    again = from_lists(present, MANY, name="rhyme", seed=0, fit=10, test=10)
    assert again.hash == hashes[0]


def test_all_pairs_are_fitted_on_when_no_size_is_given() -> None:
    pairs = from_lists([f"{query} Rhyme!" for query in MANY], MANY, name="rhyme")
    assert len(pairs) == len(MANY) and pairs.splits == ("fit",)


def test_a_phrasing_stays_in_one_split() -> None:
    present = [
        f"{query} Rhyme!" if i < 12 else f"In rhymes: {query}" for i, query in enumerate(MANY)
    ]
    pairs = from_lists(present, MANY, name="rhyme", test=5)
    assert {pair.phrasing for pair in pairs.test} == {"In rhymes: {query}"}
    assert [len(pairs.fit), len(pairs.test)] == [12, 5]


def test_equal_pairs_are_used_once() -> None:
    assert len(from_lists([*WARM, WARM[0].upper()], [*COLD, COLD[0]], name="warmth")) == 4


def test_conversations_are_prompts() -> None:
    asked = [{"role": "user", "content": text} for text in COLD]
    warm = [[{"role": "system", "content": f"Think of {n} suns."}, a] for n, a in enumerate(asked)]
    pairs = from_lists(warm, [[turn] for turn in asked], name="warmth", test=2)
    assert sorted(pairs.queries) == sorted(COLD) and len(pairs.test) == 2
    assert_disjoint(pairs)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=20),
    st.none() | st.integers(0, 6),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 9),
)
def test_the_splits_share_nothing_whatever_the_prompts(
    sides: list[tuple[str, str]], fit: int | None, select: int, test: int, seed: int
) -> None:
    sides = [(with_it, without) for with_it, without in sides if with_it != without]
    assume(sides and (fit is None or fit + select + test))
    present, absent = ([pair[side] for pair in sides] for side in (0, 1))
    options = {"name": "case", "seed": seed, "fit": fit, "select": select, "test": test}
    try:
        pairs = from_lists(present, absent, **options)
    except ContrastError as error:
        assert "give more prompts" in str(error)
        return
    assert_disjoint(pairs)
    prompts = {
        split: {
            plain_text(str(text))
            for p in pairs
            if p.split == split
            for text in (p.present, p.absent)
        }
        for split in pairs.splits
    }
    assert sum(map(len, prompts.values())) == len(set().union(*prompts.values()))
    counts = {split: sum(p.split == split for p in pairs) for split in ("fit", "select", "test")}
    assert (counts["select"], counts["test"]) == (select, test)
    assert counts["fit"] == fit if fit is not None else counts["fit"] >= 1
    assert pairs.hash == from_lists(present, absent, **options).hash


@pytest.mark.parametrize(
    ("present", "absent", "options", "message"),
    [
        (WARM, COLD[:3], {}, "present has 4 prompts and absent has 3; give two lists"),
        ("a", COLD, {}, "present is one text, 'a'; give a list"),
        ([5, *WARM[1:]], COLD, {}, "number 0: present is 5; give a text, or a conversation"),
        ([*WARM[:3], COLD[3]], COLD, {}, "number 3: both sides of query"),
        (WARM, COLD, {"test": 4}, "fit has 0 of 1; give more prompts"),
        (WARM, COLD, {"fit": 4, "test": 1}, "fit has 3 of 4; give more prompts"),
        (WARM, COLD, {"fit": -1}, "give whole numbers from 0 up"),
        ([], [], {}, "give more prompts"),
        ([f"{text} Rhyme!" for text in COLD], COLD, {"test": 2}, "4 pairs in 1 groups"),
    ],
)
def test_lists_that_make_no_set_are_refused(present, absent, options, message) -> None:
    with pytest.raises(ContrastError, match=message):
        from_lists(present, absent, name="case", **options)
