"""Contrast sets: pairs that are pairs, splits that share nothing, and the files they come from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from interp_steer.contrast import from_phrasings
from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.pair import SPLITS, Pair
from interp_steer.errors import ContrastError
from interp_steer.world import contrast_sets
from interp_steer.world.queries import is_held
from tests.support.ifeval_files import assert_disjoint, texts

LOWERCASE = "change_case:english_lowercase"
PAIR = Pair("Name a tree.", "Name a tree. No capitals.", "Name a tree.")
ROW = {"query": "Name a tree.", "present": "Name a tree. No capitals.", "absent": "Name a tree."}


# ------------------------------------------------------------------ the bundled world


@pytest.mark.parametrize("instruction_id", contrast_sets.instructions())
def test_every_instruction_makes_a_set_that_keeps_its_promises(instruction_id: str) -> None:
    pairs = contrast_sets.instruction(instruction_id, fit=16, select=6, test=12)
    assert (len(pairs.fit), len(pairs.select), len(pairs.test)) == (16, 6, 12)
    assert_disjoint(pairs)
    assert pairs.name == instruction_id.split(":")[1]
    for pair in pairs:
        _, subject, style = pair.key.split("/")[:3]
        assert is_held(subject, style)
    assert {pair.phrasing_kind for pair in pairs.fit} == {"trained"}
    assert {pair.phrasing_kind for pair in pairs.select} == {"trained"}
    kinds = Counter(pair.phrasing_kind for pair in pairs.test)
    assert kinds["held-out"] >= 6 and kinds["trained"] >= 1
    held_out = {pair.phrasing for pair in pairs.test if pair.phrasing_kind == "held-out"}
    assert len(held_out) >= 3
    for pair in pairs:
        assert pair.instruction_ids == (instruction_id,) and len(pair.kwargs) == 1
        assert pair.absent == pair.query
        assert isinstance(pair.present, str) and pair.present.startswith(pair.query)


def test_the_usual_sizes() -> None:
    pairs = contrast_sets.instruction(LOWERCASE)
    assert (len(pairs.fit), len(pairs.select), len(pairs.test)) == (64, 24, 48)


def test_a_seed_makes_one_set_and_another_seed_another() -> None:
    sizes = {"fit": 8, "select": 4, "test": 6}
    one, same, other = (
        contrast_sets.instruction(LOWERCASE, seed=seed, **sizes) for seed in (3, 3, 4)
    )
    assert one == same and one.hash == same.hash
    assert one.hash != other.hash and set(one.queries) != set(other.queries)


def test_a_word_is_asked_for_or_forbidden() -> None:
    asked = from_phrasings.word("lantern", ["Name a tree.", "Name a bird."], fit=4)
    assert len(asked) == 4 and asked.name == "include lantern"
    assert all("lantern" in str(pair.present) for pair in asked)
    assert not any("lantern" in str(pair.absent) for pair in asked)
    assert asked[0].kwargs == ({"keywords": ["lantern"]},)
    forbidden = from_phrasings.word("lantern", ["Name a tree."], exclude=True, fit=1)
    assert forbidden[0].kwargs == ({"forbidden_words": ["lantern"]},)


def test_arguments_may_be_fixed() -> None:
    words = "length_constraints:number_words"
    pairs = contrast_sets.instruction(
        words, where={"relation": "less than"}, fit=8, select=4, test=4
    )
    assert {pair.kwargs[0]["relation"] for pair in pairs} == {"less than"}
    assert pairs.name == "number_words less than"
    with pytest.raises(ContrastError, match=r"never has the arguments .*roughly"):
        contrast_sets.instruction(words, where={"relation": "roughly"})


def test_an_unknown_instruction_is_refused() -> None:
    with pytest.raises(ContrastError, match="choose one of"):
        contrast_sets.instruction("change_case:none")


# ------------------------------------------------------------------ from queries and phrasings

sizes = st.integers(0, 8)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=25),
    st.lists(texts, min_size=1, max_size=8),
    sizes,
    sizes,
    sizes,
    st.integers(0, 99),
)
def test_built_splits_share_nothing_whatever_the_texts(
    queries: list[str], phrasings: list[str], fit: int, select: int, test: int, seed: int
) -> None:
    assume(fit + select + test)
    options = {"seed": seed, "fit": fit, "select": select, "test": test}
    try:
        pairs = from_phrasings.build("case", queries, phrasings, **options)
    except ContrastError as error:
        assert "give" in str(error)
        return
    assert_disjoint(pairs)
    counts = Counter(pair.split for pair in pairs)
    assert [counts[split] for split in SPLITS] == [fit, select, test]
    assert len({(plain_text(p.query), plain_text(p.phrasing)) for p in pairs}) == len(pairs)
    assert pairs.hash == from_phrasings.build("case", queries, phrasings, **options).hash


def test_queries_come_again_only_when_all_were_used() -> None:
    queries = [f"query {i}" for i in range(5)]
    pairs = from_phrasings.build("case", queries, ["x", "y", "z"], fit=12, select=0, test=0)
    assert set(pairs[:5].queries) == set(pairs[5:10].queries) == set(queries)


def test_a_phrasing_goes_around_or_after_the_query() -> None:
    around, after = "In lowercase: {query} Please.", "No capitals."
    pairs = from_phrasings.build(
        "case", ["Name a tree.", "Name a bird."], [around, after], fit=1, select=0, test=1
    )
    for pair in pairs:
        expected = (
            f"In lowercase: {pair.query} Please."
            if pair.phrasing == around
            else f"{pair.query} No capitals."
        )
        assert pair.present == expected and pair.absent == pair.query


def test_too_little_is_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(ContrastError, match="2 phrasings cannot serve the 3 splits"):
        from_phrasings.build("case", list("abcdef"), ["x", "y"], fit=1, select=1, test=1)
    with pytest.raises(ContrastError, match="2 queries cannot serve"):
        from_phrasings.build("case", ["a", "A ", "b"], ["x", "y", "z"], fit=1, select=1, test=1)
    with pytest.raises(ContrastError, match="make only"):
        from_phrasings.build("case", list("abcdef"), ["x", "y", "z"])
    with pytest.raises(ContrastError, match="make no contrast set"):
        from_phrasings.build("case", ["a"], ["x"], fit=0, select=0, test=0)
    with pytest.raises(ContrastError, match="make no contrast set"):
        from_phrasings.build("case", ["a"], ["x"], fit=-1)


# ------------------------------------------------------------------ what a set refuses


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ContrastError, match="is empty"):
        ContrastSet("case", ())
    with pytest.raises(ContrastError, match="is empty"):
        ContrastSet.from_dataset([], name="case")


@pytest.mark.parametrize("side", ["present", "absent"])
def test_an_unpaired_row_is_refused(side: str) -> None:
    for gap in ("", None):
        with pytest.raises(ContrastError, match=f"row 1.*{side}"):
            ContrastSet.from_dataset([ROW, {**ROW, side: gap}], name="case")


def test_two_equal_sides_are_refused() -> None:
    with pytest.raises(ContrastError, match="same prompt"):
        Pair("Name a tree.", "Name a tree.", "Name a tree.")


@pytest.mark.parametrize("what", ["query", "phrasing"])
def test_leakage_is_refused_and_named(what: str) -> None:
    """However it is written: case and white space do not hide a repeated item."""
    rows = [
        {
            "query": f"q{i}",
            "present": f"q{i} p{i}",
            "absent": f"q{i}",
            "split": SPLITS[i],
            "phrasing": f"p{i}",
        }
        for i in range(3)
    ]
    ContrastSet.from_dataset(rows, name="case")
    rows[2][what] = f" {rows[0][what].upper()} "
    with pytest.raises(ContrastError, match=rf"'fit' and 'test' share 1 .*{what}: ' ?{what[0]}0"):
        ContrastSet.from_dataset(rows, name="case")


def test_repeated_keys_unknown_splits_and_lone_kwargs_are_refused() -> None:
    with pytest.raises(ContrastError, match="used by two pairs"):
        ContrastSet("case", (PAIR, PAIR))
    with pytest.raises(ContrastError, match="use one of fit, select, test"):
        replace(PAIR, split="train")
    with pytest.raises(ContrastError, match="1 instruction_ids and 0 kwargs"):
        replace(PAIR, instruction_ids=("a:b",))
    with pytest.raises(ContrastError, match="row 0: query is 3; it must be a text"):
        ContrastSet.from_dataset([{**ROW, "query": 3}], name="case")


def test_a_split_that_is_not_there_is_refused() -> None:
    with pytest.raises(ContrastError, match="has no 'test' pairs"):
        _ = ContrastSet("case", (PAIR,)).test


# ------------------------------------------------------------------ values, files, hash


def test_a_set_is_a_sequence() -> None:
    pairs = contrast_sets.instruction(LOWERCASE, fit=4, select=2, test=3)
    assert [len(pairs), len(pairs[:3]), pairs[0]] == [9, 3, pairs.pairs[0]]
    assert isinstance(pairs[:3], ContrastSet) and pairs[:3].pairs == tuple(pairs)[:3]
    assert pairs.split == "all" and pairs.fit.split == "fit" and pairs.fit.fit == pairs.fit
    assert pairs.present == [pair.present for pair in pairs]
    assert pairs.absent == [pair.absent for pair in pairs]


def test_jsonl_comes_back_the_same(tmp_path: Path) -> None:
    pairs = contrast_sets.instruction(
        "length_constraints:number_sentences", fit=5, select=2, test=4
    )
    pairs.to_jsonl(tmp_path / "pairs.jsonl")
    read = ContrastSet.from_jsonl(tmp_path / "pairs.jsonl", name=pairs.name)
    assert read == pairs and read.hash == pairs.hash
    assert ContrastSet.from_jsonl(tmp_path / "pairs.jsonl").name == "pairs"


def test_messages_are_prompts_too(tmp_path: Path) -> None:
    system = [{"role": "system", "content": "No capitals."}, {"role": "user", "content": "Hi"}]
    pairs = ContrastSet.from_dataset(
        [{"query": "Hi", "present": system, "absent": system[1:]}], name="system"
    )
    pairs.to_jsonl(tmp_path / "pairs.jsonl")
    assert ContrastSet.from_jsonl(tmp_path / "pairs.jsonl", name="system") == pairs


def test_the_hash_is_of_the_content() -> None:
    pairs = contrast_sets.instruction(LOWERCASE, fit=6, select=0, test=0)
    turned = ContrastSet("other", pairs.pairs[::-1])
    assert turned.hash == pairs.hash
    changed = ContrastSet(pairs.name, (replace(pairs[0], absent="Something else."), *pairs[1:]))
    assert changed.hash != pairs.hash
    assert len({pairs.hash, pairs[:5].hash, pairs[1:].hash}) == 3


def test_any_iterable_of_mappings_is_a_dataset() -> None:
    rows = [
        {
            **ROW,
            "extra": 1,
            "key": None,
            "kwargs": [{"n": 3, "other": None}],
            "instruction_ids": ["a:b"],
        }
    ]
    pairs = ContrastSet.from_dataset(iter(rows), name="case", split="test")
    assert pairs[0].kwargs == ({"n": 3},) and pairs.split == "test"
    assert pairs[0].phrasing == "{query} No capitals."


def test_a_hugging_face_dataset_is_a_dataset() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [ROW, {"query": "Name a bird.", "present": "Name a bird. lower.", "absent": "A bird?"}]
    made = datasets.Dataset.from_list(rows)
    assert ContrastSet.from_dataset(made, name="x") == ContrastSet.from_dataset(rows, name="x")


def test_bad_files_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(ROW) + "\n{oops\n")
    with pytest.raises(ContrastError, match=r"line 2, .*JSON"):
        ContrastSet.from_jsonl(path)
    path.write_text("[1]\n")
    with pytest.raises(ContrastError, match="line 1, is a list"):
        ContrastSet.from_jsonl(path)
    path.write_text(json.dumps({"prompt": "x"}))
    with pytest.raises(
        ContrastError, match=r"no query and no present and no absent \(it has prompt"
    ):
        ContrastSet.from_jsonl(path)
    with pytest.raises(ContrastError, match="cannot be read"):
        ContrastSet.from_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(ContrastError, match="cannot be written"):
        ContrastSet("case", (PAIR,)).to_jsonl(tmp_path / "none" / "pairs.jsonl")


def test_shuffling_exchanges_the_sides_of_half_of_the_pairs() -> None:
    pairs = contrast_sets.instruction("punctuation:no_comma", fit=9, select=1, test=1).fit
    shuffled = pairs.shuffle_sides(seed=4)
    exchanged = [
        (now.present, now.absent) == (was.absent, was.present)
        for now, was in zip(shuffled, pairs, strict=True)
    ]
    assert sum(exchanged) == 4
    assert shuffled.hash == pairs.shuffle_sides(seed=4).hash != pairs.shuffle_sides(seed=5).hash
    assert [pair.key for pair in shuffled] == [pair.key for pair in pairs]


def test_an_instruction_is_said_behind_its_query_or_refused() -> None:
    assert (
        Pair("Name a tree.", "Name a tree. No capitals.", "Name a tree.").instruction_text
        == "No capitals."
    )
    before = Pair("Name a tree.", "No capitals. Name a tree.", "Name a tree.")
    with pytest.raises(ContrastError, match=r"Name a tree.*behind the query"):
        _ = before.instruction_text
