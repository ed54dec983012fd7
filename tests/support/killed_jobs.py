"""Jobs of a minute, made small, for tests that kill them: a sweep and a capture that can go on.

They are run by processes forked from one that has the model, so that a kill costs no imports.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import torch

import interp_steer as ist
from interp_steer.capture.activations import capture_moments
from interp_steer.models.loading import load
from interp_steer.scoring import ifeval
from interp_steer.vectors.fitting import difference_in_means

STEPS = frozenset(
    [
        "open",
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.chmod",
        "os.truncate",
        "shutil.rmtree",
    ]
)
"""What a process does to files, by the names of Python's audit events."""

SIDES = ("present", "absent")


def pairs() -> ist.ContrastSet:
    """Thirty pairs, twelve of them to select on."""
    queries = [
        f"Tell me {n} things about the {thing}." for n in range(15) for thing in ("sea", "inn")
    ]
    return ist.contrast.build(
        "no comma",
        queries,
        ["No commas.", "Use no comma.", "Leave commas out."],
        fit=16,
        select=12,
        test=2,
        instruction_ids=["punctuation:no_comma"],
        kwargs=[{}],
    )


def sweep(model: ist.HookedLM, folder: Path) -> None:
    """What an analysis does: fit, sweep, and leave a results folder."""
    with ist.open_run("sweep", {"model": "tiny"}, root=folder, seed=3) as run:
        vector = ist.fit(
            model, pairs().fit, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        grid = [
            ist.Cell("none"),
            *(ist.Cell("steered", vector.at(k).add(4.0), k) for k in vector.layers),
        ]
        ledger = ist.Ledger(run.answers)
        records = ist.sweep(
            model, grid, pairs().select, max_new_tokens=12, batch_size=4, ledger=ledger
        )
        run.write_records(records)
        run.leave(vector, summary={"tokens": records["n_tokens"].mean()})


def read_sides(model: ist.HookedLM, folder: Path) -> None:
    """A capture of both sides that writes down what it has after every batch, and its vector."""
    sides = [
        capture_moments(
            model,
            getattr(pairs(), side),
            second_moments=True,
            keep_rows=True,
            options=ist.capture.CaptureOptions(
                batch_size=1,
                checkpoint=folder / f"{side}.safetensors",
                checkpoint_seconds=0.0,
                on_read=partial(_count, folder.with_suffix(".read")),
            ),
        )
        for side in SIDES
    ]
    vector = difference_in_means(*sides, name="no comma", data_hash=pairs().hash, model=model)
    vector.save(folder / "vector.safetensors")


def _count(path: Path, prompts: int) -> None:
    with open(path, "ab") as file:
        file.write(b"." * prompts)


def prompts_read(folder: Path) -> int:
    """How many prompts :func:`read_sides` has read, those included that a kill made it forget."""
    path = folder.with_suffix(".read")
    return path.stat().st_size if path.exists() else 0


def answers_kept(folder: Path) -> int:
    """How many answers the ledger of :func:`sweep` holds."""
    ledger = folder / ".answers" / "tiny.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


@dataclass(frozen=True)
class Step:
    """A step that a process does not live to take."""

    number: int
    """Of those that count, from 1."""
    event: str | None = None
    """One of :data:`STEPS`, which alone then counts; all of them do when not given."""


def serve(checkpoint: Path, requests: Connection) -> None:
    """Load a model, and do jobs with it, each in a process of its own that may be killed.

    Args:
        checkpoint: of the model.
        requests: brings the arguments of each job, and is told its process, then how that ended.
    """
    torch.set_num_threads(1)
    model = load(checkpoint, device="cpu", check=False)
    ifeval.verify("Warm.", ["punctuation:no_comma"], [{}])
    while True:
        job, folder, log, before = requests.recv()
        child = os.fork()
        if not child:
            _perform(model, job, folder, log, before)
        requests.send(child)
        requests.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _perform(
    model: ist.HookedLM, job: str, folder: Path, log: Path, before: Step | None
) -> NoReturn:
    """Do a job and end this process, which kills itself before a step.

    Args:
        model: that does it.
        job: :func:`sweep` or :func:`read_sides`, by name.
        folder: where it works.
        log: gets a line for each step in that folder; the last is the one that never was.
        before: before which step it ends; None to go through.
    """
    sys.addaudithook(_Steps(folder, log, before))
    try:
        {"sweep": sweep, "read_sides": read_sides}[job](model, folder)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class _Steps:
    """Counts what is done to files in a folder."""

    def __init__(self, folder: Path, log: Path, before: Step | None) -> None:
        self._folder, self._before, self._counted = str(folder), before, 0
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in STEPS:
            return
        at = [str(each) for each in arguments if isinstance(each, (str, os.PathLike))]
        if not any(each.startswith(self._folder) for each in at):
            return
        os.write(self._log, f"{event} {' '.join(at)}\n".encode())
        if self._before is None or self._before.event not in (None, event):
            return
        self._counted += 1
        if self._counted == self._before.number:
            os.kill(os.getpid(), signal.SIGKILL)
