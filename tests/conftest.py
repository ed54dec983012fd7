"""Models for the tests: tiny random ones of every architecture, and the real ones at hand.

Nothing here imports an analysis: a broken analysis breaks no test of the library.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub, and none may wait for it

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from interp_steer.models import HookedLM, load
from interp_steer.models.bundled import bundled_path
from tests.support.checkpoints import write_checkpoint
from tests.support.shared import SHARED


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
    if not (bundled_path(name) / "config.json").is_file():
        pytest.skip(f"the weights of {name} are not in this checkout")
    return load(name, device="cpu")
