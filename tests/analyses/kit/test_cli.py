"""The command line: found without importing, made from the config, honest about errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyses.kit import cli
from interp_steer.errors import OptionError
from interp_steer.results.run import Run

ANALYSIS = '''"""Counts things at a layer.

More of it, on a second line.
"""
from dataclasses import dataclass

from interp_steer.errors import SiteError


@dataclass(frozen=True)
class Config:
    """What is counted."""

    model: str = "m"
    """Which model is asked."""
    layers: tuple[int, ...] = (1, 2)
    """Layers to count at."""
    fail: bool = False
    """Whether to fail."""


def main(config, run):
    """Count."""
    if config.fail:
        raise SiteError("layer 99 is out of range; choose 0 to 7")
    run.leave(summary={"layers": len(config.layers), "seed": run.seed})
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of analyses of the test's own, where the harness looks."""
    package = tmp_path / "counting"
    (package / "nested").mkdir(parents=True)
    (package / "nested" / "count_layers.py").write_text(ANALYSIS)
    (package / "shared_words.py").write_text('"""No analysis: no Config, no main."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    discover = cli.discover
    monkeypatch.setattr(cli, "discover", lambda: discover(package, "counting"))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "counting"]:
        del sys.modules[name]


def test_analyses_are_found_by_reading_them(home: Path) -> None:
    found = cli.discover()
    assert list(found) == ["count_layers"]
    assert found["count_layers"].line == "Counts things at a layer."
    assert "counting.nested.count_layers" not in sys.modules
    assert "Counts things at a layer." in cli.listing(found)


def test_two_of_one_name_are_refused(home: Path) -> None:
    (home / "counting" / "count_layers.py").write_text(ANALYSIS)
    with pytest.raises(OptionError, match="two analyses are called 'count_layers'"):
        cli.discover()


def test_a_run_from_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.command_line(["count-layers", "--layers", "3", "4", "5", "--seed", "7"])
    assert code == 0
    path = Path(capsys.readouterr().out.strip().splitlines()[-1])
    read = Run.read(path)
    assert path.parts[:3] == ("results", "count_layers", "m")
    assert read.summary == {"layers": 3, "seed": 7}
    assert read.config == {"model": "m", "layers": [3, 4, 5], "fail": False}
    assert read.provenance["about"].startswith("Counts things at a layer.")
    assert cli.command_line(["count_layers", "--layers", "3", "4", "5", "--seed", "7"]) == 0
    kept = ["count_layers", "--layers", "3", "4", "5", "--seed", "7", "--no-overwrite"]
    assert cli.command_line(kept) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_help_shows_every_field_with_its_docstring(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.command_line(["count_layers", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for words in (
        "Counts things",
        "--layers",
        "Layers to count at",
        "--seed",
        "--results",
        "--model",
    ):
        assert words in shown
    assert "--config" not in shown


def test_errors_are_sentences(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command_line(["count_layers", "--fail"]) == 2
    captured = capsys.readouterr()
    assert captured.err.strip() == "error: layer 99 is out of range; choose 0 to 7"
    assert "Traceback" not in captured.err + captured.out
    assert cli.command_line(["count_layrs"]) == 2
    assert "did you mean count_layers?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.command_line(["count_layers", "--layers", "many"])
    assert stopped.value.code == 2


def test_common_options_are_not_repeated_in_a_config(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "counting" / "nested" / "count_layers.py"
    path.write_text(ANALYSIS.replace('model: str = "m"', 'model: str = "m"\n    seed: int = 0'))
    assert cli.command_line(["count_layers"]) == 2
    assert "fields that every analysis has already: seed" in capsys.readouterr().err


def test_listing_the_real_ones_imports_no_torch() -> None:
    code = (
        "import sys; from analyses.kit.cli import command_line; command_line([]);"
        "sys.exit('torch' in sys.modules or 'plotly' in sys.modules)"
    )
    root = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in cli.discover():
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("name", list(cli.discover()))
def test_every_analysis_says_what_it_does(name: str) -> None:
    analysis = cli.discover()[name]
    assert analysis.line.endswith((".", "?", ")")) or len(analysis.line) > 20
    assert len(analysis.line) <= 100
