"""Order the requests of many tabs to one model; a tab's newest request replaces the last.

One thread runs the model. Work is a generator: where the generator yields, another job may have its
turn, so that a long sweep in one tab does not delay an answer in another.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from interp_steer.errors import InterpSteerError

MAX_TABS = 64
"""Tabs that are remembered; beyond them the least recently active tab is forgotten."""

MAX_WAITING = 48
"""Jobs that may wait in the queue."""

ACTIVE = ("waiting", "running")


class ExplorerError(InterpSteerError):
    """An error that the page shows to the user."""


class Superseded(Exception):
    """A job was stopped, or replaced by a newer request."""


@dataclass
class Job:
    """A request of a tab, with its state, progress and result."""

    kind: str
    rank: int
    number: int
    state: str = "waiting"
    """``waiting``, ``running``, ``done``, ``failed`` or ``stopped``."""
    message: str = ""
    """The progress, or the error."""
    result: Any = None
    """The result so far."""
    version: int = 0
    """Increases whenever the message, the result or the state changes."""
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def unwanted(self) -> bool:
        """Return whether the job was stopped or replaced."""
        return self._ended.is_set()

    @property
    def active(self) -> bool:
        """Return whether the job is waiting or running."""
        return self.state in ACTIVE

    def report(self, message: str | None = None, result: Any = None) -> None:
        """Report progress and the result so far.

        Raises:
            Superseded: if the job was stopped or replaced.
        """
        if self.unwanted:
            raise Superseded
        self.message = self.message if message is None else message
        self.result = self.result if result is None else result
        self.version += 1

    def stop(self) -> None:
        """Stop the job; it ends at its next report."""
        self._ended.set()

    def end(self, state: str, message: str = "") -> None:
        """Set the final state."""
        self.state, self.message = state, message
        self.version += 1


Work = Callable[[Job], Iterator[None]]
"""The work of a job: reports to the job, and yields where another job may have its turn."""


@dataclass
class Tab:
    """The state of one open page."""

    jobs: dict[str, Job] = field(default_factory=dict)
    drawings: dict[str, Any] = field(default_factory=dict)
    """The figures that the page shows, by name, for saving."""
    keeps: dict[str, Any] = field(default_factory=dict)
    """Results that other jobs of the tab use."""


class JobQueue:
    """A queue of jobs for one model, and the tabs that submit them.

    Example:
        >>> queue = JobQueue()
        >>> job = queue.submit("a tab", "answer", lambda job: iter(()))
        >>> queue.wait(job).state
        'done'
    """

    def __init__(self, max_waiting: int = MAX_WAITING, max_tabs: int = MAX_TABS) -> None:
        self._tabs: OrderedDict[str, Tab] = OrderedDict()
        self._turns: list[tuple[int, int, Job, Iterator[None]]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._closed = False
        self._most_waiting, self._most_tabs = max_waiting, max_tabs
        self._thread = threading.Thread(target=self._work, name="explorer", daemon=True)
        self._thread.start()

    def tab(self, name: str) -> Tab:
        """Return the state of a tab; a new state if the tab is not known."""
        with self._changed:
            tab = self._tabs.setdefault(name, Tab())
            self._tabs.move_to_end(name)
            while len(self._tabs) > self._most_tabs:
                _, gone = self._tabs.popitem(last=False)
                for job in gone.jobs.values():
                    job.stop()
            return tab

    def leave(self, name: str) -> None:
        """Forget a closed tab and stop its jobs."""
        with self._changed:
            gone = self._tabs.pop(name, Tab())
        for job in gone.jobs.values():
            job.stop()

    def submit(self, name: str, kind: str, work: Work, rank: int = 0) -> Job:
        """Put a job into the queue, in place of the tab's earlier job of the same kind.

        Args:
            name: the tab's name.
            kind: the kind of job; a tab has one job of each kind.
            work: the work of the job.
            rank: jobs of a lower rank run first.

        Raises:
            ExplorerError: if too many jobs are waiting.
        """
        tab = self.tab(name)
        with self._changed:
            waiting = sum(not job.unwanted for _, _, job, _ in self._turns)
            if waiting >= self._most_waiting:
                raise ExplorerError(
                    f"{waiting} requests are already waiting for the model; try again in a moment"
                )
            if kind in tab.jobs:
                tab.jobs[kind].stop()
            job = tab.jobs[kind] = Job(kind, rank, next(self._numbers))
            self._turns.append((rank, job.number, job, work(job)))
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """Return the number of jobs that have a turn before this job."""
        with self._changed:
            mine = next((turn[:2] for turn in self._turns if turn[2] is job), None)
            if mine is None:
                return 0
            return sum(turn[:2] < mine and not turn[2].unwanted for turn in self._turns)

    def wait(self, job: Job, seconds: float = 600) -> Job:
        """Wait until a job has ended, then return the job."""
        with self._changed:
            self._changed.wait_for(lambda: not job.active, seconds)
        return job

    def close(self) -> None:
        """Stop all jobs and end the thread after the current turn."""
        with self._changed:
            self._closed = True
            for _, _, job, _ in self._turns:
                job.stop()
            self._changed.notify_all()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self._closed)
                if self._closed:
                    return
                turn = min(self._turns, key=lambda turn: turn[:2])
                rank, _, job, steps = turn
            more = self._step(job, steps)
            with self._changed:
                self._turns.remove(turn)
                if more:  # behind the waiting jobs of its rank
                    self._turns.append((rank, next(self._numbers), job, steps))
                self._changed.notify_all()

    def _step(self, job: Job, steps: Iterator[None]) -> bool:
        """Run one turn of a job; return whether the job needs another."""
        if job.unwanted:
            job.end("stopped")
            return False
        job.state = "running"
        try:
            next(steps)
            return True
        except StopIteration:
            job.end("done", job.message)
        except Superseded:
            job.end("stopped")
        except InterpSteerError as error:
            job.end("failed", str(error))
        except Exception as error:
            job.end("failed", describe_unexpected(error))
        return False


def describe_unexpected(error: Exception) -> str:
    """Return a message for an unexpected error and print the traceback to the terminal."""
    traceback.print_exception(error, file=sys.stderr)
    return (
        f"An unexpected error occurred ({type(error).__name__}). The terminal that runs the "
        "explorer shows the details."
    )
