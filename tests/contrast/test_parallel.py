"""Parallel questions and answers: from files, from a dataset, from the bundled world."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.contrast.contrast_set import plain_text
from interp_steer.contrast.parallel import ParallelItem, from_dataset, from_files
from interp_steer.errors import ContrastError
from interp_steer.world.facts import LANGUAGES
from interp_steer.world.queries import is_held
from interp_steer.world.reading import names_entity, read_claims
from interp_steer.world.translations import parallel

QUESTIONS = ["What is the sea?", "Name a tree.", "How old is the inn?"]
ANSWERS = {
    "ENG": ["Salt water.", "The oak.", "Very old."],
    "ITA": ["Acqua salata.", "La quercia.", "Molto antica."],
    "FRA": ["De l'eau salée.", "Le chêne.", "Très vieille."],
}


def write_published(folder: Path, **questions: Sequence[str]) -> None:
    for code, answers in ANSWERS.items():
        rows = [
            {"input": question, "output": answer}
            for question, answer in zip(questions.get(code, QUESTIONS), answers, strict=False)
        ]
        (folder / f"{code}_train.json").write_text(json.dumps(rows), encoding="utf-8")


def write_lines(folder: Path, **rows: Sequence[Mapping[str, Any]]) -> None:
    for code, said in rows.items():
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in said)
        (folder / f"{code}.jsonl").write_text(f"{text}\n\n", encoding="utf-8")


# ------------------------------------------------------------------ files


def test_published_files_are_rows_of_english_questions(tmp_path: Path) -> None:
    write_published(tmp_path)
    items = from_files(tmp_path)
    assert [item.key for item in items] == ["0000", "0001", "0002"]
    assert [dict(item.questions) for item in items] == [{"en": text} for text in QUESTIONS]
    assert [item.answer("it") for item in items] == ANSWERS["ITA"]
    assert {code for item in items for code in item.answers} == {"en", "it", "fr"}
    with pytest.raises(ContrastError, match="no question in 'it', only in en"):
        items[0].question("it")


def test_files_in_folders_of_their_own_are_the_same(tmp_path: Path) -> None:
    write_published(tmp_path)
    flat = from_files(tmp_path)
    for path in sorted(tmp_path.glob("*.json")):
        (tmp_path / path.name[:3]).mkdir()
        path.rename(tmp_path / path.name[:3] / path.name)
    assert from_files(tmp_path) == flat


def test_files_of_other_questions_are_refused_by_row(tmp_path: Path) -> None:
    write_published(tmp_path, ITA=[QUESTIONS[0], "Name a bird.", QUESTIONS[2]])
    with pytest.raises(ContrastError, match=r"row 1: .*'Name a tree.'.*'Name a bird.'"):
        from_files(tmp_path)


def test_files_of_other_lengths_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path, FRA=QUESTIONS[:2])
    with pytest.raises(ContrastError, match=r"ENG_train.json 3, FRA_train.json 2"):
        from_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("ITA_train.json", "[{]", "ITA_train.json .*JSON"),
        ("ITA_train.json", "{}", "holds no rows"),
        ("ITA_train.json", '[{"input": "Name a tree."}]', "row 0, .*input and output"),
        ("XXX_train.json", '[{"input": "a", "output": "b"}]', "of an unknown language"),
        ("it.jsonl", '{"question": "a"}', "row 0, .*question and answer"),
        ("it.jsonl", '{"question": "Chi?", "answer": " "}', "row 0: .*among its answers"),
        ("italian.jsonl", '{"question": "Chi?", "answer": "Io."}', "ISO 639-1"),
        ("notes.txt", "", "neither"),
    ],
)
def test_a_file_that_is_none_says_why(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ContrastError, match=says):
        from_files(tmp_path)


def test_lines_have_the_questions_too(tmp_path: Path) -> None:
    english = [{"question": "Name a tree.", "answer": "The oak.", "key": "tree", "subject": "oak"}]
    italian = [{**english[0], "question": "Di' un albero.", "answer": "La quercia."}]
    write_lines(tmp_path, en=english, it=italian)
    [item] = from_files(tmp_path)
    assert (item.key, item.subject) == ("tree", "oak")
    assert (item.question("it"), item.answer("en")) == ("Di' un albero.", "The oak.")
    write_lines(tmp_path, it=[{**italian[0], "key": "bird"}])
    with pytest.raises(ContrastError, match=r"row 0: en.jsonl has 'tree' and it.jsonl has 'bird'"):
        from_files(tmp_path)
    write_published(tmp_path)
    with pytest.raises(ContrastError, match=r"both ENG_train\.json and en\.jsonl"):
        from_files(tmp_path)


# ------------------------------------------------------------------ datasets


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_a_dataset_gives_back_what_it_has(texts: list[str]) -> None:
    rows = [
        {"n": n, "q": text, "a": text[::-1], "a_it": text if n % 2 else None}
        for n, text in enumerate(texts)
    ]
    items = from_dataset(rows, questions={"en": "q"}, answers={"en": "a", "it": "a_it"}, key="n")
    for row, item in zip(rows, items, strict=True):
        assert (item.key, item.question("en"), item.answer("en")) == (
            str(row["n"]), row["q"], row["a"],
        )  # fmt: skip
        assert ("it" in item.answers) == (row["a_it"] is not None)


def test_a_row_that_is_no_item_is_named() -> None:
    rows = [{"q": "Who?", "a": "I."}, {"q": "Why?"}]
    columns: dict[str, Any] = {"questions": {"en": "q"}, "answers": {"en": "a"}}
    with pytest.raises(ContrastError, match=r"row 1 has no a \(it has q\)"):
        from_dataset(rows, **columns)
    with pytest.raises(ContrastError, match="row 1: item '0001' has no answers"):
        from_dataset([rows[0], {"q": "Why?", "a": None}], **columns)
    with pytest.raises(ContrastError, match="two rows have the key 'Who\\?'"):
        from_dataset([rows[0], rows[0]], **columns, key="q")
    with pytest.raises(ContrastError, match="the rows are empty"):
        from_dataset([], **columns)


# ------------------------------------------------------------------ the bundled world


@pytest.mark.parametrize("kind", ["requests", "facts"])
def test_the_world_says_the_same_in_five_languages(kind: Any) -> None:
    for item in parallel(40, kind=kind, seed=3):
        assert tuple(item.questions) == tuple(item.answers) == LANGUAGES
        assert item.subject is not None
        for language in LANGUAGES:
            assert names_entity(item.question(language), item.subject), item
            said = read_claims(item.answer(language), item.subject)
            assert said and all(one.true for one in said), item
            if kind == "facts":
                [one] = said
                assert item.key == f"fact/{one.fact.subject}/{one.fact.relation}"


@pytest.mark.parametrize("kind", ["requests", "facts"])
def test_the_splits_of_the_world_share_nothing(kind: Any) -> None:
    held, train = (parallel(240, split=split, kind=kind) for split in ("held", "train"))
    assert not {item.key for item in held} & {item.key for item in train}
    texts = [
        {plain_text(text) for item in items for text in item.questions.values()}
        for items in (held, train)
    ]
    assert not texts[0] & texts[1]
    if kind == "requests":
        for item in held:
            assert is_held(*item.key.split("/"))


def test_a_seed_draws_one_collection_and_another_seed_another() -> None:
    assert parallel(20, seed=1) == parallel(20, seed=1) != parallel(20, seed=2)
    assert len({item.key for item in parallel(412)}) == 412
    with pytest.raises(ContrastError, match="413 requests cannot be drawn from the 412"):
        parallel(413)
    with pytest.raises(ContrastError, match="kinds requests and facts"):
        parallel(2, kind="poems")  # type: ignore[arg-type]


def test_an_item_without_a_key_is_refused() -> None:
    with pytest.raises(ContrastError, match="has no key"):
        ParallelItem("", {"en": "Who?"}, {"en": "I."})
