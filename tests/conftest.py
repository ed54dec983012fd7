"""Models for the tests: tiny random ones of every architecture, and the real ones at hand."""

from __future__ import annotations

import os

from interp_steer.models import bundled

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub, and none may wait for it

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jaxtyping
import pytest

from analyses.kit.cli import command_line
from interp_steer.models.loading import HookedLM, load
from interp_steer.results.finished import Results, find, read
from tests.support.checkpoints import write_checkpoint

SHARED = Path(__file__).parents[2] / "shared"  # material beside the project, never part of it


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """From an architecture to the folder of its tiny checkpoint, written once."""
    root = tmp_path_factory.mktemp("checkpoints")

    @cache
    def folder(architecture: str) -> Path:
        return write_checkpoint(architecture, root / f"tiny-{architecture}")

    return folder


@pytest.fixture(scope="session")
def tiny(checkpoint: Callable[[str], Path]) -> Callable[[str], HookedLM]:
    """From an architecture to its tiny model, loaded once. Leave its weights and hooks alone."""

    @cache
    def loaded(architecture: str) -> HookedLM:
        return load(checkpoint(architecture), device="cpu")

    return loaded


@pytest.fixture(scope="session", params=["llama3"])
def model(request: pytest.FixtureRequest, tiny: Callable[[str], HookedLM]) -> HookedLM:
    """A tiny Llama; parametrize ``model`` with ``indirect=True`` for other architectures."""
    return tiny(request.param)


@pytest.fixture(scope="session")
def tinystories() -> HookedLM:
    """The smallest real pretrained Llama: 2 layers, no chat template."""
    folder = SHARED / "models" / "TinyStories-656K"
    if not folder.is_dir():
        pytest.skip("../shared/models/TinyStories-656K is missing")
    return load(folder, device="cpu")


@pytest.fixture(scope="session")
def burattino_instruct() -> HookedLM:
    """The bundled chat model."""
    return _bundled("burattino-instruct")


@pytest.fixture(scope="session")
def burattino_base() -> HookedLM:
    """The bundled base model."""
    return _bundled("burattino-base")


def _bundled(name: str) -> HookedLM:
    if not (bundled.path(name) / "config.json").is_file():
        pytest.skip(f"the weights of {name} are not in this checkout")
    return load(name, device="cpu")


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """Whole analyses run thousands of steps through parts whose shapes their own tests check;
    checked here too they would take twice as long."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


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
