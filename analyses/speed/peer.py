"""A peer in an environment of its own, which waits for its turn."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from analyses.speed.timing import Contender, Lap
from interp_steer.errors import RunError


class Peer:
    """A script that another Python runs: it gets ready, then does a lap for each line it reads.

    The script is given a file of work in JSON. It prints a line of JSON when it is ready, and one
    with ``units`` and ``seconds`` for each lap, and ``wrong``, how many of the units are not what
    the work says they are, where it can tell.

    Args:
        name: what the table calls it.
        python: the interpreter of its environment.
        script: what it runs.
        work: the file of work.

    Raises:
        RunError: when it ends before it is ready or in the middle of a lap.
    """

    def __init__(self, name: str, python: Path, script: Path, work: Path) -> None:
        self.name = name
        self._log = work.with_suffix(f".{name}.log")
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [str(python), str(script), str(work)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.ready = self._read()

    @property
    def contender(self) -> Contender:
        """The peer as one who takes turns."""
        return Contender(self.name, lambda lap: self._lap())

    def do(self, command: str) -> dict[str, Any]:
        """Have it do something, and return what it says."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: reading says how
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        return self._read()

    def _lap(self) -> Lap:
        said = self.do("lap")
        if said.get("wrong"):
            raise RunError(
                f"{self.name} gave {said['wrong']} of {said['units']} answers in other tokens than "
                "interp_steer; the speeds cannot be compared"
            )
        return Lap(said["units"], said["seconds"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        said = self._log.read_text().strip().splitlines()[-3:]
        raise RunError(
            f"{self.name} ended with {self._process.wait()}: {' | '.join(said)}; its log is "
            f"{self._log}. Make its environment anew with make bench-peers"
        )

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
