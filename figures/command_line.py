"""Read results folders and report errors, for the command lines of figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from interp_steer.errors import InterpSteerError, RunError
from interp_steer.results import Results, find, read


def read_runs(root: Path) -> list[Results]:
    """Read every finished results folder below a root; a line on stderr names each damaged folder.

    Raises:
        RunError: when none can be read.
    """
    runs: list[Results] = []
    for folder in find(root):
        try:
            runs.append(read(folder))
        except RunError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not runs:
        raise RunError(
            f"{root} holds no finished results folder; run an analysis first "
            "(python -m analyses lists them), or name another root."
        )
    return runs


def run_command(config: type, main: Callable[[Any], object], module: str) -> None:
    """Run a module as a command: its config from the arguments, its answer on stdout.

    Args:
        config: the dataclass that the arguments make; its docstring is the help.
        main: called with the config; its result is printed.
        module: the name of the module, for the help.
    """
    try:
        print(main(tyro.cli(config, prog=f"python -m {module}")))
    except InterpSteerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
