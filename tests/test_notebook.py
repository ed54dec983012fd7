"""Notebooks show vectors, sets, runs, answers and figures, whatever their names hold."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figures.style.drawing import Drawing
from interp_steer import notebook
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.contrast.pair import Pair
from interp_steer.generation.completions import Completion
from interp_steer.results.run import Run, open_run
from interp_steer.statistics.intervals import wilson
from interp_steer.world import contrast_sets
from tests.support.drawings import DRAWINGS
from tests.support.html_checks import check_harmless
from tests.support.vectors import HOSTILE, card, stepped, vector


def hostile_set() -> ContrastSet:
    said = [{"role": "user", "content": HOSTILE}]
    pairs = [
        Pair(
            f"{HOSTILE} {at}", present=said, absent=f"{HOSTILE} {at}", phrasing=HOSTILE, key=f"{at}"
        )
        for at in range(5)
    ]
    return ContrastSet(HOSTILE, tuple(pairs))


def hostile_run(root: Path) -> Run:
    with open_run("sweep", {"model": HOSTILE}, root=root) as run:
        run.leave(summary={f"accuracy.{HOSTILE}": wilson(3, 4), **{f"n{i}": i for i in range(30)}})
        figure = DRAWINGS["map"]().figure
        run.draw("map", Drawing(figure, HOSTILE))
        assert "under way" in run._repr_html_() and "&lt;script&gt;" in run._repr_html_()
        check_harmless(run._repr_html_())
    return run


def shown(thing: Any) -> str:
    """What a notebook is given: by IPython's formatter where it is installed."""
    try:
        from IPython.core.formatters import DisplayFormatter
    except ImportError:
        return thing._repr_html_()
    bundle, _ = DisplayFormatter().format(thing)
    assert "text/plain" in bundle
    return bundle["text/html"]


def test_a_vector_shows_its_card_and_its_norms() -> None:
    said = shown(vector())
    read = check_harmless(said)
    text = " ".join(read.text)
    for words in ("english_lowercase", "difference_in_means", "64 pairs", "4 layers", "resid_post"):
        assert words in text
    norms = vector().norms
    assert f"{norms[0]:.3g} at 0, {norms[3]:.3g} at 3" in text
    assert "target projection" in text and read.tags.count("rect") == 8
    bare = replace(vector(), targets=None)
    assert shown(bare).count("<rect") == 4 and "target" not in shown(bare)


def test_a_vector_of_several_steps_shows_both_ways() -> None:
    read = check_harmless(shown(stepped()))
    text = " ".join(read.text)
    assert "9 at step 0, 5 at step 2" in text and "SteppedVector" in text
    assert read.tags.count("rect") == 3 + 2


def test_a_set_shows_splits_and_pairs_side_by_side() -> None:
    pairs = contrast_sets.instruction("change_case:english_lowercase", fit=8, select=2, test=3)
    read = check_harmless(shown(pairs))
    cells = [cell for cell in read.text if cell.strip()]
    assert cells[cells.index("fit") + 1] == "8" and cells[cells.index("select") + 1] == "2"
    for pair in pairs[: notebook.EXAMPLES]:
        at = cells.index(pair.absent)
        assert cells[at + 1] == pair.present
    assert "The first 3 of 13 pairs." in cells and pairs.hash[:12] in cells
    assert pairs[notebook.EXAMPLES].present not in cells


def test_a_run_shows_its_numbers(tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    results = Run.read(run.path)
    assert shown(run) == shown(results)
    read = check_harmless(shown(results))
    cells = [cell for cell in read.text if cell.strip()]
    assert "0.301 to 0.954" in cells and "19 more numbers" in cells and "1 figure" in cells
    assert f"n{29}" in cells and "finished" in cells


def test_an_answer_shows_what_shaped_it() -> None:
    answer = Completion("An answer.", (1, 2, 3), "length", "the prompt", "add(it@resid_post.3, 2)")
    text = " ".join(check_harmless(shown(answer)).text)
    for words in ("An answer.", "3 tokens", "cut at the limit", "add(it@resid_post.3, 2)"):
        assert words in text
    assert "(no answer)" in shown(replace(answer, text=""))


@pytest.mark.parametrize(
    "thing",
    [
        vector(name=HOSTILE, model=HOSTILE, position=HOSTILE, estimator=HOSTILE, revision=HOSTILE),
        stepped(name=HOSTILE, model=HOSTILE, data_hash=HOSTILE, fingerprint=HOSTILE),
        hostile_set(),
        Completion(HOSTILE, (1,), HOSTILE, HOSTILE, HOSTILE),
    ],
    ids=["vector", "stepped", "set", "answer"],
)
def test_hostile_names_are_only_text(thing: Any) -> None:
    said = shown(thing)
    read = check_harmless(said)
    assert "img" not in read.tags and "\x00" not in said
    assert any("<script>alert('x')</script>" in text for text in read.text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.lists(st.floats(width=32), max_size=9))
def test_any_text_and_any_numbers_are_well_formed(text: str, numbers: list[float]) -> None:
    said = notebook.render_vector(
        text, card(name=text, model=text).facts(), range(len(numbers)), numbers
    )
    read = check_harmless(said)
    assert read.tags.count("rect") == len(numbers)
    heights = [float(v) for tag, k, v in read.attributes if tag == "rect" and k in ("height", "y")]
    assert all(math.isfinite(height) and -1 <= height <= 40 for height in heights)
    check_harmless(notebook.render_completion(text, text, 1, text, text))


def test_long_texts_are_cut() -> None:
    said = notebook.render_completion("", "x" * 10 * notebook.LONGEST, 1, "stop", "unsteered")
    assert len(said) < 2 * notebook.LONGEST and "\u2026" in said


def test_displays_stand_left_of_all() -> None:
    """What vectors and prompts are shown by imports none of them, nor what draws figures."""
    source = Path(notebook.__file__).read_text("utf-8")
    assert "import figures" not in source and "from figures" not in source


def test_a_figure_shows_inline_with_its_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("IPython")
    import plotly.io
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")
    drawing = DRAWINGS["map"]()
    shell.push({"drawing": Drawing(drawing.figure, f"{drawing.caption} {HOSTILE}")})
    with capture_output() as captured:
        shell.run_cell("drawing")
    figure, caption = (output.data for output in captured.outputs)
    assert len(figure["application/vnd.plotly.v1+json"]["data"]) == 1
    text = "".join(check_harmless(caption["text/html"]).text)
    assert drawing.caption in text and "<script>" in text
