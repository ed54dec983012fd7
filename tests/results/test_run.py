"""The results folder: whole or absent, and safe against what goes wrong."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.errors import RunError
from interp_steer.results import provenance
from interp_steer.results.finished import find
from interp_steer.results.folders import Lock, folder_name
from interp_steer.results.run import Run, open_run
from interp_steer.results.summary import Summary, number_text, print_tables, rows
from interp_steer.statistics.intervals import Interval, wilson
from interp_steer.storage.atomic import write_atomically


@dataclass(frozen=True)
class Config:
    model: str = "burattino-instruct"
    layers: tuple[int, ...] = (1, 2)
    where: Path = Path("somewhere")


@dataclass(frozen=True)
class Card:
    fingerprint: str = "abc123"
    data_hash: str = "def456"


class Vector:
    """Stands where a steering vector would: something with a card that saves itself."""

    card = Card()

    def save(self, path: Path) -> None:
        path.write_bytes(b"\x00" * 64)


class Picture:
    caption = "A caption with ü and <b>."

    def write(self, folder: Path, name: str) -> list[Path]:
        with write_atomically(folder / f"{name}.json") as path:
            path.write_text("{}")
        return [folder / f"{name}.json"]


RECORDS = pl.DataFrame({"key": ["a", "b"], "strict": [True, False], "answer": ["è", "\x00<b>"]})


def fill(run: Run) -> None:
    run.write_records(RECORDS)
    run.leave(Vector(), summary={"accuracy": wilson(3, 4), "n": 4})
    run.leave(Vector(), name="change_case:english_lowercase")
    run.draw("curve", Picture())


def finished(root: Path, **options: object) -> Path:
    with open_run("layer_sweep", Config(), root=root, **options) as run:  # type: ignore[arg-type]
        fill(run)
    return run.path


def test_a_run_reads_back_what_it_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_run("layer_sweep", Config(), root=tmp_path, seed=3, about="Why?\n\nBecause.") as run:
        fill(run)
        assert not run.path.exists()  # nothing to be mistaken for a result before the end
    printed = capsys.readouterr().out.strip().splitlines()
    assert printed[-1] == str(run.path)
    assert any("accuracy" in line for line in printed)

    read = Run.read(run.path)
    assert read.records() is not None and read.records().equals(RECORDS)  # type: ignore[union-attr]
    assert read.config == {
        "model": "burattino-instruct",
        "layers": [1, 2],
        "where": "somewhere",
    }
    assert (read.analysis, read.model, read.seed) == ("layer_sweep", "burattino-instruct", 3)
    expected = wilson(3, 4)
    assert read.summary == {
        "accuracy": expected.value,
        "accuracy.low": expected.low,
        "accuracy.high": expected.high,
        "n": 4,
    }
    assert read.captions == {"curve": Picture.caption}
    assert read.provenance["model"]["fingerprint"] == "abc123"
    assert read.provenance["data"]["vectors"] == "def456"
    assert read.provenance["estimates"]["accuracy"]["n"] == 4
    assert read.provenance["wall_seconds"] >= 0
    assert read.provenance["versions"]["polars"] == pl.__version__
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*")}
    assert {"records.parquet", "vectors.safetensors", "summary.json", "manifest.json"} <= files
    assert "vectors.change_case-english_lowercase.safetensors" in files
    assert not list(tmp_path.rglob(".*"))  # no lock, no leftovers
    assert list(find(tmp_path)) == [run.path]


def test_the_folder_is_named_by_what_was_run(tmp_path: Path) -> None:
    a = open_run("x", Config(), root=tmp_path)
    assert a.path.parent == tmp_path / "x" / "burattino-instruct"
    others = [
        open_run("x", Config(layers=(1,)), root=tmp_path),
        open_run("x", Config(), root=tmp_path, seed=1),
        open_run("y", Config(), root=tmp_path),
    ]
    assert len({run.path for run in (a, *others)}) == 4
    for run in (a, *others):
        run.close()
    same = {"where": "somewhere", "layers": [1, 2], "model": Config.model}
    again = open_run("x", same, root=tmp_path)
    assert again.path == a.path  # the order of fields and Python types do not matter
    again.close()


def test_a_rerun_replaces_and_a_failed_rerun_does_not(tmp_path: Path) -> None:
    path = finished(tmp_path)
    with pytest.raises(ZeroDivisionError), open_run("layer_sweep", Config(), root=tmp_path) as run:
        (run.partial / "rows.json").write_text("[1]")
        run.leave(summary={"other": 1})
        raise ZeroDivisionError
    assert "accuracy" in Run.read(path).summary
    with open_run("layer_sweep", Config(), root=tmp_path) as run:
        assert (run.partial / "rows.json").read_text() == "[1]"  # work to take up again
        run.leave(summary={"other": 2})
    assert run.path == path
    assert Run.read(path).summary == {"other": 2}
    assert not (path / "records.parquet").exists() and not (path / "partial").exists()
    with pytest.raises(RunError, match="--overwrite"):
        open_run("layer_sweep", Config(), root=tmp_path, overwrite=False)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: (path / "manifest.json").unlink(), "not finished"),
        (lambda path: (path / "records.parquet").unlink(), "records.parquet is missing"),
        (
            lambda path: (path / "vectors.safetensors").write_bytes(b"\x00" * 63 + b"\x01"),
            "vectors.safetensors is not the file",
        ),
        (
            lambda path: (path / "manifest.json").write_text('{"format": 1, "fi'),
            "manifest.json .*JSON",
        ),
        (lambda path: (path / "manifest.json").write_text('{"format": 9}'), "format 9"),
    ],
)
def test_a_spoilt_folder_is_refused(tmp_path: Path, spoil, says: str) -> None:
    path = finished(tmp_path)
    spoil(path)
    with pytest.raises(RunError, match=says):
        Run.read(path)


def test_a_missing_folder_and_one_of_another_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nothing .*run the analysis"):
        Run.read(tmp_path / "nothing")
    path = finished(tmp_path)
    other = open_run("layer_sweep", Config(layers=(7,)), root=tmp_path)
    other.close()
    path.rename(other.path)
    with pytest.raises(RunError, match="another config"):
        open_run("layer_sweep", Config(layers=(7,)), root=tmp_path)
    stranger = open_run("layer_sweep", Config(layers=(8,)), root=tmp_path)
    stranger.close()
    stranger.path.mkdir()
    (stranger.path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="in the way"):
        open_run("layer_sweep", Config(layers=(8,)), root=tmp_path)
    assert (stranger.path / "thesis.tex").exists()


def test_two_runs_of_one_config_do_not_write_at_once(tmp_path: Path) -> None:
    with open_run("x", Config(), root=tmp_path) as run:
        with pytest.raises(RunError, match=f"process {os.getpid()}"):
            open_run("x", Config(), root=tmp_path)
        run.leave(summary={"n": 1})
    with open_run("x", Config(), root=tmp_path):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from interp_steer.results.folders import Lock\n"
        "Lock(Path(sys.argv[1])).acquire(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False)
    lock = Lock(tmp_path / "lock")
    lock.acquire()
    lock.release()


def test_a_full_disk_names_the_mend_and_keeps_the_work(tmp_path: Path) -> None:
    """A real failure of the system's: files may not grow past a limit."""
    code = """
import resource, sys
import polars as pl
from interp_steer.errors import RunError
from interp_steer.results.run import open_run
run = open_run("x", {"model": "m"}, root=sys.argv[1])
(run.partial / "rows").write_text("kept")
frame = pl.DataFrame({"answer": [str(i) * 50 for i in range(20000)]})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    run.write_records(frame)
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "no room is left on its disk" in done.stdout, done.stdout + done.stderr
    assert "--results" in done.stdout and "records.parquet" in done.stdout
    assert next(tmp_path.rglob("partial/rows")).read_text() == "kept"
    assert not list(find(tmp_path))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_enospc_by_number_and_by_words(tmp_path: Path) -> None:
    class Full:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def save(self, path: Path) -> None:
            raise self.error

    run = open_run("x", Config(), root=tmp_path)
    for error in (
        OSError(28, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ):
        with pytest.raises(RunError, match="no room is left"):
            run.leave(Full(error), name=str(type(error)))
    with pytest.raises(RuntimeError, match="something else"):  # a bug is not dressed up as a disk
        run.leave(Full(RuntimeError("something else")), name="bug")
    run.close()


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file lies where a folder should be"):
        open_run("x", Config(), root=tmp_path / "file")
    with pytest.raises(RunError, match="cannot be"):
        open_run("x", Config(), root="/proc/interp-steer")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_root_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="may write to"):
        open_run("x", Config(), root=tmp_path / "results")
    tmp_path.chmod(0o700)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_name_is_one_safe_component(name: str) -> None:
    safe = folder_name(name)
    assert safe and "/" not in safe and "\\" not in safe and not safe.startswith(".")
    assert len(safe.encode()) <= 80 and Path("a", safe).parent == Path("a")
    assert "\x00" not in safe and safe == safe.strip()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("google/gemma-2-2b-it", "google--gemma-2-2b-it"),
        ("/data/models/my model/", "my-model"),
        ("../../etc/passwd", "passwd"),
        ("..", "unnamed"),
        ("C:\\models\\phi", "phi"),
        ("", "unnamed"),
        ("modèle/été", "modèle--été"),
    ],
)
def test_model_names_as_folders(name: str, folder: str) -> None:
    assert folder_name(name) == folder


def test_a_file_of_ones_own_stays_inside(tmp_path: Path) -> None:
    with open_run("x", Config(), root=tmp_path) as run:
        run.file("maps/head.parquet").write_bytes(b"x")
        for outside in ("../x", "/etc/x", "a/../../x"):
            with pytest.raises(RunError, match="outside"):
                run.file(outside)
    assert (run.path / "maps" / "head.parquet").exists()


def test_names_are_left_once(tmp_path: Path) -> None:
    with open_run("x", Config(), root=tmp_path) as run:
        fill(run)
        for again in (
            lambda: run.leave(Vector()),
            lambda: run.leave(summary={"n": 1}),
            lambda: run.leave(summary={"accuracy.low": 1}),
            lambda: run.draw("curve", Picture()),
        ):
            with pytest.raises(RunError, match="already"):
                again()
        with pytest.raises(RunError, match="leave a number"):
            run.leave(summary={"words": "many"})
        with pytest.raises(RunError, match="neither"):
            run.used(object())


def test_numbers_that_are_not_finite_are_named_and_not_written(tmp_path: Path) -> None:
    with open_run("x", Config(), root=tmp_path) as run:
        run.leave(summary={"ratio": float("nan"), "n": 2, "layer": None})
    read = Run.read(run.path)
    assert read.summary == {"n": 2, "layer": None} and read.provenance["undefined"] == ["ratio"]
    json.loads((run.path / "summary.json").read_text(), parse_constant=pytest.fail)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
            lambda s: "." not in s
        ),
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted),
        max_size=5,
    )
)
def test_intervals_survive_the_flat_summary(values: dict[str, list[float]]) -> None:
    summary = Summary()
    for name, (low, value, high) in values.items():
        summary.add(name, Interval(value, low, high, 3, "wilson 95%"))
    found = {row.name: [row.low, row.value, row.high] for row in rows(summary.numbers)}
    assert found == values


def test_what_several_things_have_stands_side_by_side(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = Summary()
    for thing, hits in (("none", 1), ("steered", 3)):
        summary.add(f"accuracy.{thing}", wilson(hits, 4))
        summary.add(f"layer.{thing}", hits)
    summary.add("n", 4)
    summary.add("chosen", None)

    def printed(width: int) -> list[list[str]]:
        monkeypatch.setenv("COLUMNS", str(width))
        print_tables(summary.numbers, "a run")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "a run" and max(map(len, lines)) <= width
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]

    assert printed(100) == [
        ["n", "4"],
        ["chosen", "none"],
        ["none", "0.250 [0.046, 0.699]", "1"],
        ["steered", "0.750 [0.301, 0.954]", "3"],
    ]
    assert ["accuracy.steered", "0.750 [0.301, 0.954]"] in printed(60)  # one number fits
    assert len(printed(60)) == len(rows(summary.numbers))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8331, "0.833"), (12, "12"), (12345, "12,345"), (1e-7, "1e-07"), (0, "0"), (1.0, "1.000")],
)
def test_numbers_as_text(value: float, text: str) -> None:
    assert number_text(value) == text


def test_the_source_revision(tmp_path: Path) -> None:
    assert provenance.find_revision(tmp_path) == {"commit": None, "dirty": None}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    subprocess.run([*git, "init", "-q"], check=True)
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("x = 1\n")
    assert provenance.find_revision(package)["commit"] is None  # a repository without a commit
    (tmp_path / "other.txt").write_text("")
    subprocess.run([*git, "add", "other.txt"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    assert provenance.find_revision(package)["commit"] is None  # somebody else's repository
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "two"], check=True)
    found = provenance.find_revision(package)
    assert found["dirty"] is False and len(found["commit"]) == 40
    (package / "code.py").write_text("x = 2\n")
    assert provenance.find_revision(package)["dirty"] is True
