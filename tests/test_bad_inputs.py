"""What is refused, over the whole public interface: each bad input by an error that names its mend.

The message is what its reader has to go by: it shows the value, and says what to give in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import interp_steer as ist
from analyses.kit.cli import command_line
from tests.support.bad_inputs import (
    ANSWERS,
    FILES,
    FITS,
    HARNESS,
    LINES,
    LOWERCASE,
    MODELS,
    NUMBERS,
    PHRASINGS,
    QUERIES,
    STEERING,
    TEXTS,
    World,
)
from tests.support.shapes import shapes_unchecked

TABLES = (MODELS, TEXTS, FITS, STEERING, ANSWERS, NUMBERS, FILES, HARNESS)
TABLE = {what: row for table in TABLES for what, row in table.items()}


@pytest.fixture(scope="module")
def world(tiny: Callable[[str], ist.HookedLM], checkpoint, tmp_path_factory) -> World:
    model, said = tiny("llama3"), {"instruction_ids": [LOWERCASE], "kwargs": [{}]}
    made = ist.contrast.build("case", QUERIES, PHRASINGS, fit=5, select=2, test=1, **said)
    vector = ist.fit(model, made)
    folder = tmp_path_factory.mktemp("bad")
    vector.save(folder / "v.safetensors")
    (folder / "empty").mkdir()
    grid = [ist.Cell("none"), ist.Cell("steered", vector.at(1).add(2.0), 1)]
    return World(
        folder=folder,
        checkpoint=checkpoint("llama3"),
        model=model,
        other=tiny("gpt2"),
        pairs=made,
        vector=vector,
        stepped=ist.fit_steps(model, made, n_steps=2),
        records=ist.sweep(model, grid, made.select, max_new_tokens=2),
    )


def test_no_row_hides_another() -> None:
    assert len(TABLE) == sum(map(len, TABLES)) >= 60


@pytest.fixture
def as_users_have_it(world: World) -> Iterator[World]:
    """Without the checks of types that only tests have, which would refuse some of it before."""
    with shapes_unchecked():
        yield world


@pytest.mark.parametrize("what", TABLE)
def test_what_is_refused_by_an_error_that_names_the_mend(
    what: str, as_users_have_it: World
) -> None:
    call, error, mend = TABLE[what]
    with pytest.raises(error, match=mend) as caught:
        call(as_users_have_it)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize("what", LINES)
def test_a_command_line_that_is_refused_says_so(
    what: str, as_users_have_it: World, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line, mend = LINES[what]
    small = ["--model", "burattino-tiny"] if "layer_sweep" in line and "--model" not in line else []
    results = [] if "--results" in line else ["--results", str(tmp_path)]
    try:
        code = command_line([*line, *small, *results])
    except SystemExit as stopped:
        code = stopped.code
    said = capfd.readouterr()
    assert code == 2
    assert mend in " ".join((said.err + said.out).split())
    assert "Traceback" not in said.err + said.out
    assert not [path for path in tmp_path.rglob("*.json") if "unfinished" not in str(path)]
