"""Files of texts, answers and results are read whole or refused by name; nothing is run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import interp_steer as ist
from figures.printing.stamps import stamp_of
from interp_steer.contrast.instructions import ifeval_rows
from interp_steer.errors import InterpSteerError
from interp_steer.generation.ledger import Ledger, _format_line
from interp_steer.generation.request import Answer
from interp_steer.results.folders import document_hash, make_manifest
from interp_steer.results.run import Run, open_run
from interp_steer.statistics.intervals import wilson
from interp_steer.storage import bounded
from interp_steer.sweeps import published_answers
from interp_steer.vectors.card import Card
from tests.support.damage import altered, altered_text, any_bytes, as_bytes, fuzzed, survives
from tests.support.shapes import shapes_unchecked


@pytest.fixture(autouse=True)
def as_users_have_it() -> Iterator[None]:
    """Without the checks of shapes and types that only tests have."""
    with shapes_unchecked():
        yield


# ------------------------------------------------------------------ rows of texts

PAIR = {
    "query": "Name a tree.",
    "present": "Name a tree. No capitals.",
    "absent": [{"role": "user", "content": "Name a tree."}],
    "split": "fit",
    "phrasing": "No capitals.",
    "phrasing_kind": "trained",
    "instruction_ids": ["change_case:english_lowercase"],
    "kwargs": [{"n": 3}],
    "key": "a",
}
OTHER = PAIR | {"query": "Name a bird.", "split": "test", "phrasing": "Small.", "key": "b"}
IFEVAL = {
    "key": 1000,
    "prompt": "Name a fish. Use at least 3 bullets, in German.",
    "instruction_id_list": ["detectable_format:number_bullet_lists", "language:response_language"],
    "kwargs": [{"num_bullets": 3}, {"language": "de"}],
    "prompt_without_instruction": "Name a fish.",
}
QUESTION = {"question": "Name a tree.", "answer": "The oak.", "key": "tree", "subject": "oak"}
PUBLISHED = {"input": "Name a tree.", "output": "The oak."}
ANSWER = {
    "key": 1,
    "uid": 1,
    "prompt": "Name a fish. No commas.",
    "prompt_no_instr": "Name a fish.",
    "prompt_without_instruction": "Name a fish.",
    "instruction_id_list": ["punctuation:no_comma"],
    "single_instruction_id": "punctuation:no_comma",
    "kwargs": [{"language": None}],
    "response": "A cod.",
    "layer": 3,
    "steering_layer": -1,
    "perplexity": 3.5,
    "follow_all_instructions": True,
    "length_constraint": 2,
}


def one_of_each(row: dict[str, Any], *more: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in (row, *more))


@st.composite
def lines(draw: st.DrawFn, row: dict[str, Any], *more: dict[str, Any]) -> bytes:
    """A file of rows, one of them altered; or with its bytes damaged."""
    if not draw(st.integers(0, 3)):
        return draw(any_bytes(one_of_each(row, *more)))
    text = as_bytes(draw(altered_text(row)))
    rest = one_of_each(*more) if more else b""
    return draw(st.permutations([text + b"\n", rest]).map(b"".join))


@fuzzed
@given(content=lines(PAIR, OTHER))
def test_pairs(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    pairs = survives(ist.ContrastSet.from_jsonl, path)
    if pairs is not None:
        pairs.to_jsonl(path)
        again = ist.ContrastSet.from_jsonl(path)
        assert (again, again.hash) == (pairs, pairs.hash)


@fuzzed
@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_any_text_of_a_pair_is_read_back(text: str) -> None:
    """Line separators of every kind among it."""
    pair = ist.contrast.Pair(text, f"{text}\u2028\x85\x1c\r x", f"{text} y")
    pairs = ist.ContrastSet("any", (pair,))
    with tempfile.TemporaryDirectory() as folder:
        pairs.to_jsonl(Path(folder) / "any.jsonl")
        assert ist.ContrastSet.from_jsonl(Path(folder) / "any.jsonl") == pairs


@fuzzed
@given(content=lines(IFEVAL, IFEVAL | {"key": 1}))
def test_prompts_of_ifeval(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    for row in survives(ifeval_rows.read, path) or ():
        assert row.prompt.strip() and row.instruction_ids
        json.dumps(dataclasses.asdict(row) | {"kwargs": None}).encode()


@pytest.mark.parametrize(
    ("name", "row"), [("it.jsonl", QUESTION), ("ITA_train.json", PUBLISHED)], ids=["lines", "lists"]
)
@fuzzed
@given(data=st.data())
def test_parallel_questions(name: str, row: dict[str, Any], data: st.DataObject, tmp_path: Path):
    folder = tmp_path / "parallel"
    folder.mkdir(exist_ok=True)
    rows = [row, row | dict.fromkeys(("question", "input", "key"), "Name a bird.")]
    written = one_of_each(*rows) if name.endswith("l") else json.dumps(rows).encode()
    spoilt = lines(*rows) if name.endswith("l") else altered_text(rows).map(as_bytes)
    (folder / name).write_bytes(data.draw(st.one_of(spoilt, any_bytes(written))))
    other = {"it.jsonl": "en.jsonl", "ITA_train.json": "ENG_train.json"}[name]
    (folder / other).write_bytes(written)
    for item in survives(ist.contrast.parallel.from_files, folder) or ():
        assert item.key and item.answer("it").strip() and isinstance(item.subject, str | None)


@pytest.mark.parametrize("which", ["format", "layer_search", "length"])
@fuzzed
@given(data=st.data())
def test_stored_answers(which: str, data: st.DataObject, tmp_path: Path) -> None:
    names = {
        "format": ["no_instr", "adjust_rs_1", "standard", "instr_plus_adjust_rs_1"],
        "layer_search": ["out_no_instr", "out_instr"],
        "length": ["no_steering_at_most", "at_most_1", "no_steering_exactly", "exactly_1"],
    }[which]
    (tmp_path / which).mkdir(exist_ok=True)
    for name in names:
        (tmp_path / which / f"{name}.jsonl").write_bytes(one_of_each(ANSWER))
    spoilt = tmp_path / which / f"{data.draw(st.sampled_from(names))}.jsonl"
    spoilt.write_bytes(data.draw(lines(ANSWER, ANSWER)))
    read = getattr(published_answers, f"read_{which}")
    found = survives(read, tmp_path)
    assert found is None or isinstance(found, pl.DataFrame)


# ------------------------------------------------------------------ answers and results


@fuzzed
@given(data=st.data())
def test_a_ledger_passes_over_what_it_did_not_write(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    kept = Answer("An oak.", (3, 1), "stop")
    good = _format_line("good", kept)
    content = ["other", "stop", [1, 2], "A fish."]
    if data.draw(st.booleans()):  # with a checksum that is right
        content = data.draw(altered(content))
        if not isinstance(content, list):
            content = [content]
        text = json.dumps(content, ensure_ascii=True)
        bad = json.dumps([hashlib.sha256(text.encode()).hexdigest()[:16], *content]).encode()
    else:
        bad = data.draw(any_bytes(_format_line("other", kept)))
    path.write_bytes(bad + b"\n" + good + b"\n")
    ledger = survives(Ledger, path)
    assert ledger is not None and ledger.take("good") == kept
    for key in ("other", "x"):
        if key in ledger:
            assert isinstance(ledger[key].text, str)
            assert all(type(token) is int for token in ledger[key].tokens)
    ledger.keep("new", kept)
    assert Ledger(path).take("new") == kept


CONFIG = {"model": "m", "layers": [1, 2]}


def results(root: Path) -> Path:
    with open_run("layer_sweep", CONFIG, root=root, seed=1) as run:
        frame = {"key": ["a", "b"], "strict": [True, None], "layer": [1, None], "said": ["è", "x"]}
        run.write_records(pl.DataFrame(frame))
        run.leave(summary={"accuracy": wilson(3, 4), "n": 4})
    return run.path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, to be copied."""
    return results(tmp_path_factory.mktemp("results"))


DOCUMENTS = ("config.json", "provenance.json", "summary.json", "figures/captions.json")


@pytest.mark.parametrize("name", [*DOCUMENTS, "manifest.json"])
@fuzzed
@given(data=st.data())
def test_the_documents_of_a_run(
    name: str, data: st.DataObject, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(finished, folder)
    before = json.loads((folder / name).read_text())
    (folder / name).write_bytes(as_bytes(data.draw(altered_text(before))))
    if name != "manifest.json":
        try:
            said = document_hash(json.loads((folder / "config.json").read_bytes()))
        except (ValueError, RecursionError):
            said = ""
        sound = make_manifest(folder, analysis="layer_sweep", config_hash=said)
        (folder / "manifest.json").write_text(json.dumps(sound))
    figure = folder / "figures" / "captions.json"  # any file will do
    survives(stamp_of, figure, named=folder)
    run = survives(Run.read, folder)
    if run is not None:
        run._repr_html_()
        assert isinstance(run.model, str) and run.records().height == 2
        json.dumps([run.summary, run.captions, run.seed], allow_nan=False)
    # In the way of a run of the same config it is replaced, or left alone.
    root = finished.parents[2]
    home = tmp_path / "root" / finished.relative_to(root)
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
    shutil.copytree(folder, home)
    try:
        open_run("layer_sweep", CONFIG, root=tmp_path / "root", seed=1).close()
    except InterpSteerError as error:
        assert str(home) in str(error) and home.is_dir()


@fuzzed
@given(data=st.data())
def test_records(data: st.DataObject, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if not folder.exists():
        shutil.copytree(finished, folder)
    run = Run.read(finished)
    run.path = folder
    whole = (finished / "records.parquet").read_bytes()
    (folder / "records.parquet").write_bytes(data.draw(any_bytes(whole)))
    found = survives(lambda _: run.records(), folder / "records.parquet")
    if found is not None:
        found.write_csv()
    for name in ("../other/records", str(tmp_path / "x"), "a\0b", "../../x"):
        with pytest.raises(ist.InterpSteerError, match="plain name"):
            run.records(name)
        with pytest.raises(ist.InterpSteerError, match="plain name"):
            run.figure(name)


# ------------------------------------------------------------------ lines of text

LINES = {
    "project(a@resid_post.1) + add(b@resid_post.0-2, coefficient=-4.0, positions=first(3))": (
        lambda line: ist.Intervention.parse(line, {"a": vector(), "b": vector("b")})
    ),
    "shift(a@resid_post.0, coefficient=1.5, schedule=dynamic(0.5; probe=1.5; mean))": (
        lambda line: ist.Intervention.parse(line, {"a": vector()})
    ),
    "diminishing(30)": ist.schedules.parse,
    "exponential(0.9)": ist.schedules.parse,
    "steps(1.0;0.5;-2.0)": ist.schedules.parse,
    "dynamic(0.5; probe=1.5; most=3; mean)": ist.schedules.parse,
    "resid_post.5": ist.Site.parse,
    "0.3kl": ist.Strength.parse,
}
PIECES = (
    "9" * 5000,
    "1e999",
    "nan",
    "-1",
    "\u0663",
    "(",
    ")",
    "@",
    ".",
    "-99999",
    " + ",
    ";",
    "=",
    "\n",
)


def vector(name: str = "a") -> ist.SteeringVector:
    sizes = {"n_layers": 3, "d_model": 4, "component": "resid_post", "position": "last"}
    made = {"estimator": "difference_in_means", "n": 2, "data_hash": "h"}
    flat = {"name": name, "model": "m", "fingerprint": "f", **sizes, **made}
    card = Card.from_flat(flat)
    return ist.SteeringVector(torch.ones(3, 4), torch.ones(3), (0, 1, 2), card)


@pytest.mark.parametrize("line", LINES)
@fuzzed
@given(data=st.data())
def test_lines_of_text(line: str, data: st.DataObject) -> None:
    """What is read back is written the same way, once it was written by us."""
    place, size = data.draw(st.integers(0, len(line))), data.draw(st.integers(0, 6))
    piece = data.draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)))
    said = data.draw(st.sampled_from([line[:place] + piece + line[place + size :], piece]))
    try:
        found = LINES[line](said)
    except InterpSteerError as error:
        assert str(error)
        return
    assert str(LINES[line](str(found))) == str(found)


def test_a_line_does_not_make_as_many_edits_as_it_likes() -> None:
    line = " + ".join(["ablate(a@resid_post.0-9999)"] * 100)
    with pytest.raises(ist.InterpSteerError, match="more than 100,000 edits"):
        ist.Intervention.parse(line, {"a": vector()})


# ------------------------------------------------------------------ bounds


def test_texts_have_bounds(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    with open(path, "wb") as file:
        file.truncate(bounded.LARGEST_TEXT + 1)
    parallel = lambda path: ist.contrast.parallel.from_files(path.parent)  # noqa: E731
    for read in (ist.ContrastSet.from_jsonl, ifeval_rows.read, parallel):
        with pytest.raises(ist.InterpSteerError, match=r"1,073,741,825 bytes, more than the"):
            read(path)
    with open(path, "wb") as file:
        file.truncate(2**34 + 1)
    with pytest.raises(ist.InterpSteerError, match=r"bytes, more than the 17,179,869,184"):
        Ledger(path)


@pytest.mark.parametrize("read", [ist.ContrastSet.from_jsonl, ifeval_rows.read, Ledger])
def test_a_device_is_no_file(read: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    with pytest.raises(ist.InterpSteerError, match="regular file"):
        read(tmp_path / "zero.jsonl")
