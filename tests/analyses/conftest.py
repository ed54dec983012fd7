"""Run whole analyses from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analyses.kit.cli import command_line
from interp_steer.models import HookedLM
from interp_steer.results import Results, find, read
from tests.support.shapes import shapes_unchecked


@pytest.fixture
def run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    burattino_instruct: HookedLM,
    burattino_base: HookedLM,
) -> Callable[..., dict[str, Results]]:
    """Runs an analysis from the command line; gives the results that it left, by analysis."""
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))  # printing is tested elsewhere

    def run(*arguments: str) -> dict[str, Results]:
        with shapes_unchecked():
            assert command_line([*arguments, "--results", str(tmp_path)]) == 0
        last = capsys.readouterr().out.strip().splitlines()[-1]
        finished = list(map(read, find(tmp_path)))
        [latest] = (results for results in finished if str(results.path) == last)
        assert latest.analysis == arguments[0]
        # Of several runs of one analysis the latest counts.
        return {results.analysis: results for results in (*finished, latest)}

    return run
