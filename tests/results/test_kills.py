"""Killed at any moment, a sweep and a capture go on, and leave what they would have left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import pytest

from interp_steer.capture.moments import Moments
from interp_steer.generation.ledger import Ledger
from interp_steer.results.finished import find
from interp_steer.results.run import Run
from tests.support.killed_jobs import Step, answers_kept, prompts_read, serve

KILLS = 10
"""Of each job, half of them by the clock and half before a step that is taken with files."""

PATIENCE = 60.0
"""Seconds after which a process hangs."""


@dataclass(frozen=True)
class Moment:
    """When a process is killed from outside."""

    marks: int
    """How much it has done since it began."""
    seconds: float
    """How long after that."""


@dataclass(frozen=True)
class Job:
    """A job in a folder, which processes begin and end and are killed at."""

    name: str
    folder: Path
    server: Connection
    marks: Callable[[Path], int]

    @property
    def log(self) -> Path:
        """The steps of the last process, of which a killed one did not take the last."""
        return self.folder.with_suffix(".log")

    @property
    def steps(self) -> list[str]:
        """What it holds."""
        return self.log.read_text().splitlines()

    def run(self, until: Moment | Step | None = None) -> None:
        """Begin, or go on, until the moment of a kill, or to the end."""
        done = self.marks(self.folder)
        before = until if isinstance(until, Step) else None
        self.server.send((self.name, self.folder, self.log, before))
        process = self.server.recv()
        if isinstance(until, Moment):
            while self.marks(self.folder) < done + until.marks:
                assert not self.server.poll(0.0005), "it had ended before it was to be killed"
            time.sleep(until.seconds)
            os.kill(process, signal.SIGKILL)
        assert self.server.poll(PATIENCE), "it hangs"
        assert self.server.recv() == (0 if until is None else -signal.SIGKILL), until


@pytest.fixture(scope="module")
def server(checkpoint: Callable[[str], Path]) -> Iterator[Connection]:
    """A process that has a model and does jobs."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(checkpoint("llama3"), theirs), daemon=True
    )
    process.start()
    yield ours
    process.kill()
    process.join()


def moments(seed: int, most_marks: int, steps: int, renames: int) -> list[Moment | Step]:
    """Kills of every kind, those that may end a job last.

    Args:
        seed: of the draw.
        most_marks: how much a process may do before a kill by the clock.
        steps: how many a process takes that has little left to do.
        renames: how many of them put a file in its place.
    """
    rng = Random(seed)
    early: list[Moment | Step] = [
        Moment(rng.randint(1, most_marks), rng.uniform(0, 0.02)) for _ in range(KILLS // 2)
    ]
    early.append(Step(1, "os.rename"))
    late = [Step(rng.randint(1, steps)) for _ in range(KILLS // 2 - 2)]
    late.append(Step(rng.randint(1, renames), "os.rename"))
    rng.shuffle(early)
    rng.shuffle(late)
    return [*early, *late]


@pytest.fixture
def job(server: Connection, tmp_path: Path) -> Callable[[str, str], Job]:
    """From a name and a folder to a job."""

    def made(name: str, folder: str) -> Job:
        (tmp_path / folder).mkdir()
        marks = {"sweep": answers_kept, "read_sides": prompts_read}[name]
        return Job(name, tmp_path / folder, server, marks)

    return made


def left(job: Job) -> dict[str, bytes]:
    """The results of a sweep that do not tell when it was run."""
    [path] = find(job.folder)
    Run.read(path)
    dated = ("provenance.json", "manifest.json")
    return {
        each.relative_to(path).as_posix(): each.read_bytes()
        for each in path.rglob("*")
        if each.is_file() and each.name not in dated
    }


def hidden(job: Job) -> set[str]:
    """Hidden files and folders that lie about."""
    return {path.name for path in job.folder.rglob(".*")}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sweep_that_is_killed_ten_times_leaves_the_same_folder(job, seed: int) -> None:
    whole, killed = job("sweep", "whole"), job("sweep", "killed")
    whole.run()
    expected = left(whole)
    assert {"records.parquet", "vectors.safetensors", "summary.json"} <= expected.keys()
    steps = [step for step in whole.steps if ".answers" not in step]  # where all is answered
    renames = sum(step.startswith("os.rename") for step in steps)
    for kill, moment in enumerate(moments(seed, 4, len(steps), renames), start=1):
        killed.run(until=moment)
        assert [Run.read(path).path for path in find(killed.folder)] in ([], [*find(killed.folder)])
        kept = Ledger(killed.folder / ".answers" / "tiny.jsonl")
        assert kept.damaged <= kill
    killed.run()
    assert left(killed) == expected
    assert hidden(killed) == hidden(whole) == {".answers"}


@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_capture_that_is_killed_ten_times_leaves_the_same_moments(job, seed: int) -> None:
    whole, killed = job("read_sides", "whole"), job("read_sides", "killed")
    whole.run()
    for moment in moments(seed, most_marks=3, steps=25, renames=3):
        killed.run(until=moment)
        for path in killed.folder.glob("*.safetensors"):
            Moments.load(path)  # whole, or it would be refused
    killed.run()
    names = sorted(path.name for path in whole.folder.iterdir())
    assert names == ["absent.safetensors", "present.safetensors", "vector.safetensors"]
    assert sorted(path.name for path in killed.folder.iterdir()) == names
    for name in names:
        assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_results_that_were_being_replaced_are_there_again(job) -> None:
    """Between the two renames that put new results in the place of others, neither are there."""
    rerun = job("sweep", "rerun")
    rerun.run()
    [path] = find(rerun.folder)
    expected = left(rerun)
    rerun.run()
    renames = [step for step in rerun.steps if step.startswith("os.rename")]
    [last] = [n for n, step in enumerate(renames, start=1) if step.endswith(f" {path}")]
    rerun.run(until=Step(last, "os.rename"))
    assert not path.exists()
    rerun.run(until=Step(last - 2, "os.rename"))  # once more, and not so far
    assert left(rerun) == expected
    rerun.run()
    assert left(rerun) == expected and hidden(rerun) == {".answers"}


@pytest.mark.slow
def test_no_step_of_replacing_results_is_one_that_a_kill_spoils(job) -> None:
    rerun = job("sweep", "rerun")
    rerun.run()
    expected = left(rerun)
    rerun.run()
    for number in range(1, len(rerun.steps) + 1):
        rerun.run(until=Step(number))
        assert not [*find(rerun.folder)] or left(rerun) == expected
    rerun.run()
    assert left(rerun) == expected and hidden(rerun) == {".answers"}
