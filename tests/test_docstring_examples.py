"""Run the examples of every docstring: a line after ``>>>`` is a promise.

Each example finds a model, a contrast set, a vector and the like by the names below, and the names
of its own module. An example that needs a hub, a server or the files of another tool is a block of
code, without ``>>>``.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import interp_steer as ist
from tests.support.shapes import shapes_unchecked

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("interp_steer", "analyses", "figures")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text("utf-8")
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def names(burattino_instruct: ist.HookedLM) -> dict[str, Any]:
    """The names that examples may use without making them."""
    model = burattino_instruct
    pairs = ist.world.instruction("detectable_format:title", fit=16, select=4, test=4)
    vector = ist.trust.fit_with_reliability(model, pairs.fit, draws=50)
    return {
        "ist": ist,
        "model": model,
        "pairs": pairs,
        "vector": vector,
        "steer": vector.at(5).project(),
        "prompts": ["Tell me about the castle.", "Name a tree."],
        "np": np,
        "pl": pl,
        "torch": torch,
    }


def test_no_example_is_skipped() -> None:
    skipped = [
        module
        for module in MODULES
        if "doctest: +SKIP"
        in Path(str(importlib.import_module(module).__file__)).read_text("utf-8")
    ]
    assert not skipped, f"examples that do not run are no examples: {skipped}"


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module(
    module: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = importlib.import_module(module)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=FLAGS)
    lines: list[str] = []
    with shapes_unchecked():
        for test in finder.find(loaded, module, extraglobs=dict(names)):
            runner.run(test, out=lines.append)
    assert not runner.failures, "".join(lines)
