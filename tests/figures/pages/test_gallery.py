"""The gallery and the report of any folder: whole, offline, light to open, harmless."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from figures.pages import gallery, report
from figures.pages.gallery import write_gallery
from figures.printing import export
from figures.style.drawing import Drawing
from figures.style.plotly_layout import read_figure
from interp_steer.errors import FigureError, RunError, VectorError
from interp_steer.results.finished import Results
from interp_steer.results.run import Run, open_run
from tests.support.drawings import DRAWINGS
from tests.support.html_checks import assert_opens_offline, read_html
from tests.support.vectors import HOSTILE, stepped, vector


def left(root: Path, analysis: str, model: str, names: list[str], about: str = "") -> Results:
    with open_run(analysis, {"model": model}, root=root, about=about) as run:
        for name in names:
            run.draw(name, DRAWINGS[name]())
        run.leave(summary={"n": len(names)})
    return Run.read(run.path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    left(root, "sweep", "burattino-instruct", ["map", "doses"], f"Where {HOSTILE}?\n\nMore.")
    left(root, "sweep", "other", ["map"], "Where?")
    left(root, "table", "burattino-instruct", ["settings", "layer_grid"])
    return root


def body(page: str) -> str:
    return re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)


def test_a_gallery_shows_every_figure_by_analysis(root: Path) -> None:
    path = gallery.main(gallery.Config(root, title=f"All {HOSTILE}"))
    assert path == root / "gallery.html"
    page = path.read_text("utf-8")
    assert_opens_offline(page)
    assert page.count("plotly.js v") == 1
    read = read_html(body(page))
    assert "img" not in read.tags and "<script>alert" not in page
    runs = [Run.read(folder.parent) for folder in sorted(root.rglob("manifest.json"))]
    captions = [caption for run in runs for caption in run.captions.values()]
    text = [part.strip() for part in read.text]
    assert [part for part in text if part in captions] == captions
    assert [value for tag, name, value in read.attributes if name == "class" and value == "tile"]
    assert read.tags.count("button") == len(captions) + 3  # and those of the large view
    assert sum(tag == "section" for tag in read.tags) == 2
    assert "sweep, burattino-instruct, other" in text


def test_figures_in_a_page_are_those_of_the_folder(root: Path) -> None:
    page = gallery.main(gallery.Config(root)).read_text("utf-8")
    looks = json.loads(re.findall(r'id="looks">(.*?)</script>', page)[0])
    assert len(looks) == 1  # the theme, once for all
    found = re.findall(r'data-for="(figure-\d+)">(.*?)</script>', page)
    runs = [Run.read(folder.parent) for folder in sorted(root.rglob("manifest.json"))]
    expected = [read_figure(run.figure(name)) for run in runs for name in run.captions]
    assert len(found) == len(expected) == 5
    for (_, text), figure in zip(found, expected, strict=True):
        again = json.loads(text)
        again["layout"]["template"] = looks[again["layout"]["template"]]
        assert again == {"data": figure["data"], "layout": figure["layout"]}


def test_a_gallery_of_some_and_of_none(root: Path, tmp_path: Path) -> None:
    page = gallery.main(gallery.Config(root, tmp_path / "some.html", match="m*"))
    assert page.read_text("utf-8").count('class="tile"') == 2
    with pytest.raises(FigureError, match="'nothing'"):
        gallery.main(gallery.Config(root, match="nothing"))
    with pytest.raises(RunError, match="no finished results"):
        gallery.main(gallery.Config(tmp_path / "empty"))
    with pytest.raises(FigureError, match="no figure"):
        write_gallery([left(tmp_path, "bare", "m", [])], tmp_path / "x.html", "t")


@pytest.fixture
def any_folder(tmp_path: Path) -> Run:
    """What some other analysis may leave: vectors of both kinds, odd tensors, two frames."""
    with open_run("odd", {"model": "m"}, root=tmp_path, about="Odd?") as run:
        rows = {
            "text": [HOSTILE, "b" * 500, None],
            "value": [0.5, None, -2.0],
            "kept": [True, False, None],
            "list": [[1, 2], [], None],
        }
        run.write_records(pl.DataFrame(rows))
        run.write_records(pl.DataFrame({"layer": list(range(40))}), "by_layer")
        run.leave(vector(name=HOSTILE), "one")
        run.leave(stepped(), "two")
        run.leave(vector(), "three")
        from safetensors.torch import save_file

        save_file({"weight": torch.ones(2, 2)}, run.file("vectors.map.safetensors"))
        run.leave(summary={"n": 1})
    return run


def test_a_report_of_any_folder_shows_what_it_holds(any_folder: Run) -> None:
    page = report.main(report.Config(any_folder.path)).read_text("utf-8")
    read = read_html(body(page))
    text = " ".join(" ".join(read.text).split())
    assert "img" not in read.tags and "<script>alert" not in page
    for words in (
        "records.parquet, 3 rows, 4 columns", "by_layer.parquet, 40 rows, 1 column",
        "-2.000 to 0.500", "0 to 39", "True, False", "vectors.one.safetensors",
        "SteppedVector", "difference_in_means", "vectors.map.safetensors (tensors)", "2 more",
    ):  # fmt: skip
        assert words in text, words
    assert "b" * 81 not in text and "<script>alert('x')</script>" in text
    results = Run.read(any_folder.path)
    assert results.frames == ["records", "by_layer"] and len(results.vectors) == 4


def test_a_damaged_vector_is_named(any_folder: Run) -> None:
    path = any_folder.path / "vectors.one.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(RunError, match="no finished results"):  # the manifest notices
        report.main(report.Config(any_folder.path))
    from figures.pages.run_contents import vector_cards

    results = Results.__new__(Results)
    results.path = any_folder.path
    with pytest.raises(VectorError, match=r"vectors\.one"):
        vector_cards(results)


needs_browser = pytest.mark.skipif(
    export.browser() is None, reason="no Chrome or Chromium to open the page with"
)


@pytest.fixture
def pages() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=export.browser(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("wide", [1280, 390])
def test_a_gallery_is_used_in_a_browser(root: Path, pages: Any, wide: int) -> None:
    path = gallery.main(gallery.Config(root))
    page = pages.new_page(viewport={"width": wide, "height": 800}, offline=True)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda r: errors.append(r.url) if not r.url.startswith("file:") else None)
    page.goto(path.as_uri())
    page.wait_for_selector(".thumb .main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= wide
    page.locator(".tile").last.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('.thumb .js-plotly-plot').length === 5")
    for box in page.locator(".thumb").all():  # every small figure lies within its tile
        outer, inner = box.bounding_box(), box.locator(".plot-container").bounding_box()
        assert inner["x"] >= outer["x"] and inner["y"] >= outer["y"]
        assert inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 1
    page.locator(".tile").first.click()
    page.wait_for_selector("dialog[open] #large .main-svg")
    caption = page.locator("dialog figcaption").inner_text()
    assert caption == page.locator(".tile .said").first.text_content()
    page.keyboard.press("ArrowRight")
    changed = "document.querySelector('dialog figcaption').textContent !=="
    page.wait_for_function(f"{changed} {json.dumps(caption)}")
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= wide
    page.keyboard.press("Escape")
    assert not page.locator("dialog[open]").count()
    page.locator(".find").fill("table settings")
    assert page.locator(".tile:visible").count() == 1
    page.locator(".find").fill("no such words")
    assert page.locator(".nothing").is_visible() and not page.locator(".tile:visible").count()
    assert errors == []


@pytest.mark.slow
@needs_browser
def test_a_drawing_survives_hostile_words_in_a_browser(tmp_path: Path, pages: Any) -> None:
    with open_run("x", {"model": HOSTILE}, root=tmp_path, about=HOSTILE) as run:
        drawing = DRAWINGS["map"]()
        run.draw(HOSTILE, Drawing(drawing.figure.update_layout(title=HOSTILE), HOSTILE))
    page = pages.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    for written in (gallery.main(gallery.Config(tmp_path)), report.main(report.Config(tmp_path))):
        page.goto(written.as_uri())
        page.wait_for_selector(".main-svg")
    assert said == []
