"""One model, many tabs: what they ask waits in a line, and the newest request of a tab counts.

A model is no thing to run twice at once, so that one thread runs it. Work is a generator: where it
yields, another's turn may come, so that a long sweep of one tab does not keep an answer of another.
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

MOST_TABS = 64
"""Tabs that are remembered; the one that was silent for longest goes first."""

MOST_WAITING = 48
"""Jobs that may wait."""

ACTIVE = ("waiting", "running")


class ExplorerError(InterpSteerError):
    """What the page cannot do, in words for whoever sits before it."""


class Superseded(Exception):
    """A newer request has taken a job's place, or its tab asked it to stop."""


@dataclass
class Job:
    """Something that a tab asked for, while it is done and after."""

    kind: str
    rank: int
    number: int
    state: str = "waiting"
    """``waiting``, ``running``, ``done``, ``failed`` or ``stopped``."""
    said: str = ""
    """How far it is, or what went wrong, in words."""
    found: Any = None
    """What there is of its result so far."""
    version: int = 0
    """Grows whenever there is something new to show."""
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def unwanted(self) -> bool:
        """Whether nobody wants to know any longer."""
        return self._ended.is_set()

    @property
    def active(self) -> bool:
        """Whether more will come."""
        return self.state in ACTIVE

    def tell(self, said: str | None = None, found: Any = None) -> None:
        """Say how far it is, and what there is so far.

        Raises:
            Superseded: when nobody wants to know any longer.
        """
        if self.unwanted:
            raise Superseded
        self.said = self.said if said is None else said
        self.found = self.found if found is None else found
        self.version += 1

    def stop(self) -> None:
        """Let it go: it ends where it next tells something."""
        self._ended.set()

    def end(self, state: str, said: str = "") -> None:
        """Nothing more will come."""
        self.state, self.said = state, said
        self.version += 1


Work = Callable[[Job], Iterator[None]]
"""What a job does. It tells the job what it finds, and yields where another may have its turn."""


@dataclass
class Tab:
    """What the server remembers of one page that is open."""

    jobs: dict[str, Job] = field(default_factory=dict)
    drawings: dict[str, Any] = field(default_factory=dict)
    """What was drawn last, by name, to be saved."""
    keeps: dict[str, Any] = field(default_factory=dict)
    """Results that other jobs of the tab build on."""


class JobQueue:
    """The line before the model, and the tabs that stand in it.

    Example:
        >>> line = Line()
        >>> job = line.submit("a tab", "answer", lambda job: iter(()))
        >>> line.wait(job).state
        'done'
    """

    def __init__(self, most_waiting: int = MOST_WAITING, most_tabs: int = MOST_TABS) -> None:
        self._tabs: OrderedDict[str, Tab] = OrderedDict()
        self._turns: list[tuple[int, int, Job, Iterator[None]]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._closed = False
        self._most_waiting, self._most_tabs = most_waiting, most_tabs
        self._thread = threading.Thread(target=self._work, name="explorer", daemon=True)
        self._thread.start()

    def tab(self, name: str) -> Tab:
        """What is remembered of a tab; a new one where it is not known."""
        with self._changed:
            tab = self._tabs.setdefault(name, Tab())
            self._tabs.move_to_end(name)
            while len(self._tabs) > self._most_tabs:
                _, gone = self._tabs.popitem(last=False)
                for job in gone.jobs.values():
                    job.stop()
            return tab

    def leave(self, name: str) -> None:
        """Let go of what a tab that was closed has asked for."""
        with self._changed:
            gone = self._tabs.pop(name, Tab())
        for job in gone.jobs.values():
            job.stop()

    def submit(self, name: str, kind: str, work: Work, rank: int = 0) -> Job:
        """Put work in line, in place of what the tab had asked for of the same kind.

        Args:
            name: of the tab.
            kind: what it is; a tab has one job of a kind.
            work: what is done.
            rank: jobs of a lower one go first.

        Raises:
            ExplorerError: when too many are waiting.
        """
        tab = self.tab(name)
        with self._changed:
            waiting = sum(not job.unwanted for _, _, job, _ in self._turns)
            if waiting >= self._most_waiting:
                raise ExplorerError(
                    f"{waiting} requests are waiting for the model already; try again in a moment"
                )
            if kind in tab.jobs:
                tab.jobs[kind].stop()
            job = tab.jobs[kind] = Job(kind, rank, next(self._numbers))
            self._turns.append((rank, job.number, job, work(job)))
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs will have a turn before this one."""
        with self._changed:
            mine = next((turn[:2] for turn in self._turns if turn[2] is job), None)
            if mine is None:
                return 0
            return sum(turn[:2] < mine and not turn[2].unwanted for turn in self._turns)

    def wait(self, job: Job, seconds: float = 600) -> Job:
        """Return a job once nothing more will come of it."""
        with self._changed:
            self._changed.wait_for(lambda: not job.active, seconds)
        return job

    def close(self) -> None:
        """End the thread, after the turn that it is at."""
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
                if more:  # behind those of its rank that wait
                    self._turns.append((rank, next(self._numbers), job, steps))
                self._changed.notify_all()

    def _step(self, job: Job, steps: Iterator[None]) -> bool:
        """Let a job have its turn; returns whether it wants another."""
        if job.unwanted:
            job.end("stopped")
            return False
        job.state = "running"
        try:
            next(steps)
            return True
        except StopIteration:
            job.end("done", job.said)
        except Superseded:
            job.end("stopped")
        except InterpSteerError as error:
            job.end("failed", str(error))
        except Exception as error:
            job.end("failed", unforeseen(error))
        return False


def unforeseen(error: Exception) -> str:
    """Words for an error that nobody has words for; where it arose goes to the terminal."""
    traceback.print_exception(error, file=sys.stderr)
    return (
        f"Something went wrong that should not have ({type(error).__name__}). "
        "The terminal that the explorer runs in says more."
    )
