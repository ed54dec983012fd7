"""Run a peer in its own environment, where it waits for its turn."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from analyses.speed.timing import Contender, Lap
from interp_steer.errors import RunError


class Peer:
    """Script that another Python runs: it gets ready, then does a lap for each line it reads.

    The script is given a file of work in JSON. It prints a line of JSON when it is ready, and a
    line for each lap, with ``units`` and ``seconds``. Where the script can check its answers,
    ``wrong`` is the number of units that differ from those in the file of work.

    Args:
        name: its name in the table.
        python: the interpreter of its environment.
        script: the script.
        work: the file of work.

    Raises:
        RunError: when it ends before it is ready or during a lap.
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
        """Return the peer as a contender."""
        return Contender(self.name, lambda lap: self._lap())

    def do(self, command: str) -> dict[str, Any]:
        """Send a command to the script, and return its reply."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the script has ended: reading raises the error
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        return self._read()

    def _lap(self) -> Lap:
        reply = self.do("lap")
        if reply.get("wrong"):
            raise RunError(
                f"{self.name} gave {reply['wrong']} of {reply['units']} answers in other tokens "
                "than interp_steer; the speeds cannot be compared"
            )
        return Lap(reply["units"], reply["seconds"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        last_lines = self._log.read_text().strip().splitlines()[-3:]
        raise RunError(
            f"{self.name} ended with {self._process.wait()}: {' | '.join(last_lines)}; its log is "
            f"{self._log}. Make its environment anew with make bench-peers"
        )

    def close(self) -> None:
        """Close the input of the script, and wait for its end."""
        self._process.communicate()
