"""IFEval's rows as they are read and checked, and their prompts without instructions."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.contrast.instructions.ifeval_rows import (
    FILES,
    count_by_id,
    read,
    read_hub,
    read_published,
    rows_with_one_instruction,
)
from interp_steer.contrast.instructions.phrasings import DESCRIPTION, IDS, draw_arguments, say
from interp_steer.contrast.instructions.registry import (
    BULLETS,
    LANGUAGE,
    LOWERCASE,
    NO_COMMA,
    TITLE,
)
from interp_steer.contrast.instructions.stripping import MARKS, strip
from interp_steer.errors import ContrastError
from interp_steer.scoring import ifeval
from tests.support.ifeval_files import (
    MANY,
    PAPER,
    QUERIES,
    SINGLE,
    expect_few,
    published,
    row,
    write,
    write_ifeval,
    write_papers,
)


@pytest.fixture
def ifeval_file(tmp_path: Path) -> Path:
    return write_ifeval(tmp_path)


@pytest.fixture
def paper_folder(tmp_path: Path) -> Path:
    return write_papers(tmp_path)


# ------------------------------------------------------------------ rows


def test_a_file_of_ifeval_is_read_and_stripped_by_rule(ifeval_file: Path) -> None:
    rows = read(ifeval_file)
    assert len(rows) == 25 and rows[0].key == "1"
    assert [one.query for one in rows[:4]] == list(QUERIES.values())
    assert [one.rule for one in rows[:3]] == ["sentences", "clauses", "sentences"]
    assert [one.query for one in rows[5:]] == MANY
    assert rows[2].kwargs == ({"num_bullets": 2},)
    assert count_by_id(rows_with_one_instruction(rows)) == {NO_COMMA: 2, LANGUAGE: 2, BULLETS: 1}
    assert [one.key for one in rows_with_one_instruction(rows, [BULLETS])] == ["3"]


def test_a_table_fills_in_none_which_is_no_argument(tmp_path: Path) -> None:
    filled = row("Name a fish. No commas.", (NO_COMMA, {"num_bullets": None, "language": None}))
    (one,) = read(write(tmp_path / "rows.jsonl", [filled]))
    assert one.kwargs == ({},) and one.key == "rows:1"


@expect_few
def test_a_folder_prefers_the_rows_that_tell_more(paper_folder: Path) -> None:
    rows = {one.key: one for one in read(paper_folder)}
    assert len(rows) == 25
    assert [rows[f"{key}"].query for key in QUERIES] == list(QUERIES.values())
    assert rows["1"].rule == "given" and rows["1"].kwargs == ({},)
    assert rows["5"].rule == "sentences" and rows["5"].query == "Praise a drum."  # given unstripped
    assert rows["100"].prompt.endswith("title.") and rows["100"].query == MANY[0]


def test_another_number_of_rows_than_published_is_said(paper_folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"has 5 rows and 163 were published"):
        assert len(read_published(paper_folder, "format")) == 5
    with pytest.raises(
        ContrastError, match="'words' is not a file of the paper; use one of format"
    ):
        read_published(paper_folder, "words")


def test_what_was_left_around_a_query_is_taken_off(tmp_path: Path) -> None:
    told = {
        "original_prompt": "Name a fish. No commas.",
        "instruction_id_list": [NO_COMMA],
        "model_output": "<original_question>Name a fish.<\\original_question>",
    }
    (one,) = read(write(tmp_path / "rows.jsonl", [told]))
    assert one.query == "Name a fish." and one.rule == "given" and one.kwargs == ({},)


def test_the_hub_gives_the_same_rows(
    ifeval_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder stands for the hub: the library makes the same table of it, None filled in."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "hub"
    folder.mkdir()
    ifeval_file.rename(folder / "train.jsonl")
    assert read_hub(str(folder)) == read(folder / "train.jsonl")
    with pytest.raises(ContrastError, match=r"(?s)cannot be had from the hub.*give google/IFEval"):
        read_hub(str(tmp_path / "none"))


GOOD = SINGLE[2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{oops", r"rows.jsonl, line 2, .* or give google/IFEval"),
        ([1], r"line 2, is a list; write one object a line"),
        (
            {"key": 1},
            r"line 2, has no prompt and no instruction_id_list and no kwargs \(it has key",
        ),
        ({**GOOD, "prompt": " "}, r"line 2, has prompt ' '"),
        ({**GOOD, "prompt_without_instruction": 7}, r"has prompt_without_instruction 7"),
        ({**GOOD, "instruction_id_list": []}, r"write a list of at least one IFEval id"),
        ({**GOOD, "instruction_id_list": BULLETS}, r"write a list of at least one IFEval id"),
        (
            {**GOOD, "instruction_id_list": ["detectable_format:bullet_lists"]},
            r"line 2, has the unknown instruction .*; the nearest .*number_bullet_lists",
        ),
        ({**GOOD, "kwargs": []}, r"has kwargs \[\] for 1 instructions .* one mapping for each"),
        ({**GOOD, "kwargs": ["2"]}, r"has kwargs \['2'\] for 1 instructions"),
        (
            {**GOOD, "kwargs": [{}]},
            r"number_bullet_lists without num_bullets .*give it num_bullets",
        ),
        (
            {**GOOD, "kwargs": [{"num_bullets": 2, "n": 1}]},
            r"number_bullet_lists with n .*: give it num_bullets, or drop the row",
        ),
    ],
)
def test_a_bad_row_is_refused_by_file_and_line(tmp_path: Path, wrong: Any, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(GOOD), wrong if isinstance(wrong, str) else json.dumps(wrong)]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ContrastError, match=message):
        read(path)


def test_files_that_are_not_there_or_empty_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContrastError, match=r"none.jsonl cannot be read: .* give google/IFEval"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(ContrastError, match=FILES["format"][0]):
        read(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ContrastError, match="has no rows"):
        read(tmp_path / "empty.jsonl")


# ------------------------------------------------------------------ prompts without instructions


def test_every_instruction_has_marks() -> None:
    assert MARKS.keys() == ifeval.REQUIRED.keys()


@pytest.mark.parametrize("instruction_id", IDS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999))
def test_ifevals_own_description_is_stripped(instruction_id: str, seed: int) -> None:
    query = MANY[seed % len(MANY)]
    kwargs = draw_arguments(instruction_id, Random(seed), query)
    prompt = f"{query} {say(instruction_id, DESCRIPTION, kwargs)}"
    found = strip(prompt, [instruction_id], [kwargs])
    assert found.text == query and found.rule == "sentences"


@pytest.mark.parametrize(
    ("prompt", "ids", "text", "rule"),
    [
        ("Name a fish. No commas.", [NO_COMMA], "Name a fish.", "sentences"),
        ("Your reply has no commas. Name a fish!", [NO_COMMA], "Name a fish!", "sentences"),
        ("Can you name a fish in lowercase?", [LOWERCASE], "Can you name a fish?", "clauses"),
        ("Tell it in all capital letters to me.", [LOWERCASE], None, "none"),
        ("Write a tale in Urdu about a fish.", [LANGUAGE], "Write a tale about a fish.", "clauses"),
        ("A fish, e.g. a carp. No commas.", [NO_COMMA], "A fish, e.g. a carp.", "sentences"),
        ("Use 2 bullets:\n* a\n* b\nName a fish.", [BULLETS], "Name a fish.", "sentences"),
        ("Name a fish. Use a title, as:\n[The fish]", [TITLE], "Name a fish.", "sentences"),
        ("Sing of a fish without commas.", [NO_COMMA], "Sing of a fish.", "clauses"),
        ("Name a fish. Write 2 bullets.", [BULLETS], "Name a fish.", "sentences"),
        ("Name a fish. No commas.", [NO_COMMA, TITLE], None, "none"),
        ("No commas.", [NO_COMMA], None, "none"),
        ("Name a fish.", [NO_COMMA], None, "none"),
        ("Name a fish.", [], None, "none"),
    ],
)
def test_what_is_stripped(prompt: str, ids: list[str], text: str | None, rule: str) -> None:
    found = strip(prompt, ids)
    assert found.text == text and found.rule == rule


def test_an_argument_tells_its_sentence() -> None:
    told = {"end_phrase": "So be it."}
    assert strip("Name a fish. Say: So be it.", ["startend:end_checker"]).text is None
    found = strip("Name a fish. Say: So be it.", ["startend:end_checker"], [told])
    assert found.text == "Name a fish."


# ------------------------------------------------------------------ the paper's own files


@published
def test_the_published_files_are_read_whole() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning is raised for another number of rows
        rows = {which: read_published(PAPER, which) for which in FILES}
    assert {which: len(one) for which, one in rows.items()} == {
        "format": 163,
        "stripped": 541,
        "include": 86,
        "exclude": 117,
        "include_validation": 276,
        "exclude_validation": 276,
    }
    assert all(one.query for each in rows.values() for one in each)
    given = [one.rule for one in rows["format"]]
    assert given.count("given") == 161  # two are published with their instruction
    assert set(count_by_id(rows["stripped"])) == set(IDS)


@published
def test_the_rule_strips_nearly_as_the_published_queries_are() -> None:
    """Word by word; what it cannot strip it does not guess."""

    def words(text: str) -> set[str]:
        return set(text.casefold().replace(".", " ").replace(",", " ").split())

    rows = read_published(PAPER, "format")
    found = [(strip(one.prompt, one.instruction_ids, one.kwargs).text, one.query) for one in rows]
    stripped = [(mine, theirs) for mine, theirs in found if mine and theirs]
    assert len(stripped) >= 155
    overlap = [
        2 * len(words(mine) & words(theirs)) / (len(words(mine)) + len(words(theirs)))
        for mine, theirs in stripped
    ]
    assert sum(overlap) / len(overlap) > 0.9
