"""Contrast sets of IFEval's instructions: what is fitted on is nowhere in what is reported on."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.contrast.contrast_set import plain_text
from interp_steer.contrast.instructions import ifeval_rows
from interp_steer.contrast.instructions.ifeval_rows import (
    FILES,
    HUB,
    IFEvalRow,
    count_by_id,
    read,
    read_file,
    rows_with_one_instruction,
)
from interp_steer.contrast.instructions.ifeval_sets import (
    augmented_set,
    augmented_sets,
    format_sets,
    ifeval_set,
)
from interp_steer.contrast.instructions.phrasings import (
    DESCRIPTION,
    IDS,
    draw_arguments,
    list_phrasings,
    say,
)
from interp_steer.contrast.instructions.registry import (
    BULLETS,
    FORMAT_IDS,
    LANGUAGE,
    NO_COMMA,
    TITLE,
)
from interp_steer.contrast.pair import SPLITS
from interp_steer.errors import ContrastError
from interp_steer.scoring import ifeval
from interp_steer.world.queries import list_queries as world_queries
from tests.support.ifeval_files import (
    MANY,
    PAPER,
    QUERIES,
    SINGLE,
    assert_disjoint,
    expect_few,
    published,
    row,
    write,
    write_ifeval,
    write_papers,
)

WORLD = [query.text for query in world_queries("held")]
SIZES = {"fit": 6, "select": 3, "test": 4}


@pytest.fixture
def ifeval_file(tmp_path: Path) -> Path:
    return write_ifeval(tmp_path)


@pytest.fixture
def paper_folder(tmp_path: Path) -> Path:
    return write_papers(tmp_path)


# ------------------------------------------------------------------ phrasings and arguments


@pytest.mark.parametrize("instruction_id", IDS)
def test_an_instruction_is_said_in_several_ways_each_whole(instruction_id: str) -> None:
    said = list_phrasings(instruction_id)
    assert said[-1] == DESCRIPTION and len(said) >= 4
    assert len({plain_text(phrasing) for phrasing in said}) == len(said)
    kwargs = draw_arguments(instruction_id, Random(0), "Name a fish.")
    texts = [say(instruction_id, phrasing, kwargs) for phrasing in said]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert not set("{}") & set(text) and not text.endswith(" ")


@pytest.mark.parametrize("instruction_id", IDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999))
def test_drawn_arguments_are_whole_and_have_a_verdict(instruction_id: str, seed: int) -> None:
    kwargs = draw_arguments(instruction_id, Random(seed), "Name a fish.")
    assert kwargs.keys() == set(ifeval.REQUIRED[instruction_id])
    ifeval.verify("Name a fish. A carp.", [instruction_id], [kwargs])
    assert kwargs == draw_arguments(instruction_id, Random(seed), "Name a fish.")


@pytest.mark.parametrize(
    ("instruction_id", "where"),
    [
        (name, {argument: "less than"})
        for name, needed in ifeval.REQUIRED.items()
        for argument in needed
        if argument.endswith("relation")
    ],
)
def test_both_relations_are_said(instruction_id: str, where: dict[str, str]) -> None:
    said = list_phrasings(instruction_id, where)
    assert len(said) >= 4 and said[:-1] != list_phrasings(instruction_id)[:-1]
    kwargs = draw_arguments(instruction_id, Random(0), "Name a fish.", where)
    for phrasing in said:
        assert not set("{}") & set(say(instruction_id, phrasing, kwargs))


def test_unknown_instructions_arguments_and_languages_are_refused() -> None:
    with pytest.raises(ContrastError, match=r"'punctuation:no_commas' .*'punctuation:no_comma'"):
        list_phrasings("punctuation:no_commas")
    with pytest.raises(ContrastError, match="does not take n; it takes num_bullets"):
        draw_arguments(BULLETS, Random(0), "", {"n": 2})
    with pytest.raises(ContrastError, match="cannot be said with the relation 'about'"):
        list_phrasings("length_constraints:number_words", {"relation": "about"})
    with pytest.raises(ContrastError, match="'xx' is not a language of IFEval"):
        say(LANGUAGE, list_phrasings(LANGUAGE)[0], {"language": "xx"})


def test_any_language_of_ifeval_is_named() -> None:
    assert say(LANGUAGE, "Answer in {language_name}.", {"language": "kn"}) == "Answer in Kannada."


# ------------------------------------------------------------------ the augmented set


@pytest.mark.parametrize("instruction_id", IDS)
def test_the_augmented_set_is_built_on_the_bundled_world(instruction_id: str) -> None:
    pairs = augmented_set(WORLD, instruction_id, **SIZES)
    assert pairs.name == instruction_id.split(":")[1] and pairs.splits == SPLITS
    assert [len(pairs.fit), len(pairs.select), len(pairs.test)] == [6, 3, 4]
    assert_disjoint(pairs)
    for pair in pairs:
        assert pair.absent == pair.query and pair.query in WORLD
        said = say(instruction_id, pair.phrasing, pair.kwargs[0])
        assert pair.present == f"{pair.query} {said}"
        ifeval.verify("An answer.", pair.instruction_ids, pair.kwargs, prompt=pair.query)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(IDS), st.integers(0, 4))
def test_no_split_leaks_whatever_the_seed(seed: int, instruction_id: str, n_rows: int) -> None:
    kwargs = draw_arguments(instruction_id, Random(seed), MANY[0])
    said = [say(instruction_id, phrasing, kwargs) for phrasing in list_phrasings(instruction_id)]
    rows = [
        IFEvalRow(f"{i}", f"{query} {text}", (instruction_id,), (kwargs,), query, "given")
        for i, (query, text) in enumerate(zip(MANY, said, strict=False))
    ][: min(n_rows, len(said) - 2)]
    options = {"apart_from": rows, "seed": seed, "fit": 5, "select": 3, "test": 0}
    pairs = augmented_set(MANY, instruction_id, **options)
    assert_disjoint(pairs)
    assert not {one.query for one in rows} & set(pairs.queries)
    assert not {say(instruction_id, p.phrasing, kwargs) for p in pairs} & set(said[: len(rows)])
    assert pairs.hash == augmented_set(MANY, instruction_id, **options).hash


def test_another_seed_makes_another_set() -> None:
    one, other = (augmented_set(WORLD, BULLETS, seed=seed, **SIZES) for seed in (0, 1))
    assert set(one.queries) != set(other.queries)


def test_arguments_may_be_fixed() -> None:
    words = "length_constraints:number_words"
    pairs = augmented_set(WORLD, words, where={"relation": "less than"}, **SIZES)
    assert {pair.kwargs[0]["relation"] for pair in pairs} == {"less than"}
    assert {pair.kwargs[0]["relation"] for pair in augmented_set(WORLD, words, **SIZES)} == {
        "at least"
    }


def test_all_25_at_once() -> None:
    sets = augmented_sets(MANY, fit=2, select=1, test=1)
    assert tuple(sets) == IDS and len(sets) == 25
    assert all(pairs[0].instruction_ids == (name,) for name, pairs in sets.items())


def test_too_few_queries_are_refused() -> None:
    with pytest.raises(ContrastError, match="2 queries cannot serve the 3 splits"):
        augmented_set(["Name a tree.", "Name a fish."], NO_COMMA)


# ------------------------------------------------------------------ reported on IFEval's prompts


@expect_few
@pytest.mark.parametrize("source", ["ifeval_file", "paper_folder"])
def test_the_test_split_is_ifevals_own(source: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(source)
    sets = format_sets(path, (NO_COMMA, BULLETS, LANGUAGE), seed=3, fit=8, select=4)
    assert list(sets) == [NO_COMMA, BULLETS, LANGUAGE]
    pairs = sets[BULLETS]
    assert pairs.name == "number_bullet_lists" and [len(pairs.fit), len(pairs.select)] == [8, 4]
    (pair,) = pairs.test
    assert (pair.query, pair.absent, pair.present) == (QUERIES[3], QUERIES[3], SINGLE[2]["prompt"])
    assert pair.instruction_ids == (BULLETS,) and pair.kwargs == ({"num_bullets": 2},)
    assert pair.key == f"3/{BULLETS}" and pair.phrasing == "I want 2 bullet points."
    assert [one.query for one in sets[NO_COMMA].test] == ["Tell me of a kite.", "Sing of a lamp."]
    for one in sets.values():
        assert_disjoint(one)
        assert {pair.query for pair in one if pair.split != "test"} <= set(MANY)
    again = format_sets(read(path), (NO_COMMA, BULLETS, LANGUAGE), seed=3, fit=8, select=4)
    assert {name: one.hash for name, one in sets.items()} == {
        name: one.hash for name, one in again.items()
    }


def test_a_language_has_a_set_of_its_own(ifeval_file: Path) -> None:
    german = ifeval_set(LANGUAGE, read(ifeval_file), where={"language": "de"}, fit=4, select=2)
    assert len(german.test) == 1 and {pair.kwargs[0]["language"] for pair in german} == {"de"}
    assert all("German" in str(pair.present) for pair in german)


def test_fewer_prompts_are_drawn_by_seed(ifeval_file: Path) -> None:
    rows = read(ifeval_file)
    drawn = {ifeval_set(NO_COMMA, rows, seed=i, fit=0, select=0, test=1)[0].key for i in range(9)}
    assert drawn == {f"1/{NO_COMMA}", f"2/{NO_COMMA}"}
    assert len(ifeval_set(NO_COMMA, rows, fit=0, select=0, test=9)) == 2
    assert ifeval_set(NO_COMMA, rows, fit=4, select=2, test=0).splits == ("fit", "select")
    with pytest.raises(ContrastError, match="test=-1 prompts cannot be drawn"):
        ifeval_set(NO_COMMA, rows, test=-1)


def test_a_phrasing_of_the_test_prompts_is_not_fitted_on(tmp_path: Path) -> None:
    """However it is written, and wherever it stands in the prompt."""
    asked = "First think, then name a fish. please   leave out ALL COMMAS, I beg you."
    double = [row(f"{q} No commas. No title.", (NO_COMMA, {}), (TITLE, {})) for q in MANY]
    rows = read(write(tmp_path / "rows.jsonl", [row(asked, (NO_COMMA, {})), *double]))
    assert "Leave out all commas." in list_phrasings(NO_COMMA)
    pairs = ifeval_set(NO_COMMA, rows, fit=14, select=6)
    assert "Leave out all commas." not in {pair.phrasing for pair in pairs}


def test_a_query_that_still_carries_the_instruction_is_not_fitted_on(ifeval_file: Path) -> None:
    kept = "Tell me of a kiln. Your reply should not have a comma."
    rows = [*read(ifeval_file), IFEvalRow("7", f"{kept} A title!", (TITLE,), ({},), kept, "given")]
    assert kept not in ifeval_set(NO_COMMA, rows, fit=16, select=8).queries
    bullets = ifeval_set(BULLETS, rows, fit=16, select=8).queries
    assert kept not in bullets  # a prompt with one instruction of format is reported on
    two = [*rows[:-1], IFEvalRow("7", f"{kept} A title!", (TITLE, NO_COMMA), (), kept, "given")]
    assert kept in ifeval_set(BULLETS, two, fit=16, select=8).queries
    assert kept not in ifeval_set(NO_COMMA, two, fit=16, select=8).queries


def test_a_prompt_that_cannot_be_stripped_is_left_out_and_named(tmp_path: Path) -> None:
    stuck = row("Tell a comma joke.", (NO_COMMA, {}), key=77)
    rows = read(write(tmp_path / "rows.jsonl", [*SINGLE, stuck]))
    assert rows[-1].query is None and rows[-1].rule == "none"
    with pytest.warns(UserWarning, match=r"no_comma: 1 of 3 prompts could not .* left out: 77"):
        pairs = ifeval_set(NO_COMMA, rows, fit=0, select=0)
    assert len(pairs) == 2


def test_an_instruction_without_prompts_is_refused_with_what_there_is(ifeval_file: Path) -> None:
    with pytest.raises(ContrastError, match=r"no row carries .*title alone.*no_comma': 2"):
        format_sets(ifeval_file, (TITLE,))
    with pytest.raises(ContrastError, match=r"alone with \{'language': 'fr'\}"):
        ifeval_set(LANGUAGE, read(ifeval_file), where={"language": "fr"})


# ------------------------------------------------------------------ the paper's own files


@published
def test_the_163_prompts_of_format_have_sets() -> None:
    rows = read(PAPER)
    assert len(rows) == 541
    assert count_by_id(rows_with_one_instruction(rows, FORMAT_IDS)) == {
        "detectable_format:number_highlighted_sections": 19,
        "language:response_language": 17,
        "startend:end_checker": 17,
        "punctuation:no_comma": 16,
        "startend:quotation": 14,
        "change_case:english_lowercase": 13,
        "detectable_format:number_bullet_lists": 13,
        "detectable_format:title": 13,
        "change_case:english_capital": 11,
        "detectable_format:constrained_response": 10,
        "detectable_format:json_format": 8,
        "change_case:capital_word_frequency": 7,
        "detectable_format:multiple_sections": 5,
    }
    sets = format_sets(rows, seed=1)
    assert tuple(sets) == FORMAT_IDS and sum(len(pairs.test) for pairs in sets.values()) == 163
    reported = {plain_text(query) for pairs in sets.values() for query in pairs.test.queries}
    for pairs in sets.values():
        assert_disjoint(pairs)
        assert [len(pairs.fit), len(pairs.select)] == [64, 24]
        assert len({pair.phrasing for pair in pairs if pair.split != "test"}) >= 4
        # A query that one instruction is reported on is fitted on by none.
        assert not reported & {plain_text(p.query) for p in pairs if p.split != "test"}


# ------------------------------------------------------------------ ist.contrast.ifeval


@expect_few
@pytest.mark.parametrize("source", ["ifeval_file", "paper_folder"])
def test_any_source_of_ifeval_makes_the_set(source: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(source)
    pairs = ist.contrast.ifeval(NO_COMMA, path, seed=3, fit=8, select=4)
    assert pairs.queries[-2:] == ["Tell me of a kite.", "Sing of a lamp."]
    assert pairs.hash == ist.contrast.ifeval(NO_COMMA, read(path), seed=3, fit=8, select=4).hash
    assert_disjoint(pairs)
    german = ist.contrast.ifeval(LANGUAGE, str(path), where={"language": "de"}, fit=4, select=2)
    assert {pair.kwargs[0]["language"] for pair in german} == {"de"}


def test_without_data_the_hub_is_asked(ifeval_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for the hub."""
    folder = ifeval_file.parent / "hub"
    folder.mkdir()
    ifeval_file.rename(folder / "train.jsonl")
    monkeypatch.setattr(ifeval_rows, "read_hub", lambda name: read_file(folder / "train.jsonl"))
    assert len(ist.contrast.ifeval(NO_COMMA, fit=8, select=4).test) == 2


def test_data_that_cannot_be_reached_are_refused_with_the_three_ways(tmp_path: Path) -> None:
    """No test reaches the hub, so that without data nothing can be read."""
    ways = [HUB, "JSONL file", *(name for name, _ in list(FILES.values())[:2])]
    for data in (None, str(tmp_path / "none")):
        with pytest.raises(ContrastError) as caught:
            ist.contrast.ifeval(TITLE, data)
        assert all(way in str(caught.value).rpartition(";")[2] for way in ways)


@published
def test_the_authors_files_make_a_set_of_titles() -> None:
    pairs = ist.contrast.ifeval(TITLE, PAPER)
    assert [len(pairs.fit), len(pairs.select), len(pairs.test)] == [64, 24, 13]
    assert pairs.name == "title" and {p.instruction_ids for p in pairs} == {(TITLE,)}
    assert_disjoint(pairs)
