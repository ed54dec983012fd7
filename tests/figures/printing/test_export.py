"""Figures fit to print: widths, panels that wrap, maps without pixels, stamps, the command."""

from __future__ import annotations

import copy
import html
import io
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from figures.geometry.contributions import interval_curves
from figures.printing import export, lint
from figures.printing.column_width import INCHES, PIXELS, TALLEST, TooNarrow, fit_to_column
from figures.printing.heatmap_cells import cells_of, colour_at, draw_rectangles
from figures.printing.lint import complaints
from figures.printing.stamps import PNG, Stamp, add_stamp, read_stamp, stamp_of
from figures.style import theme
from figures.style.plotly_layout import (
    Figure,
    axis_title,
    layout_of,
    legend_rows,
    panel_rows,
    panel_titles,
    panels,
    panels_in_line,
    read_figure,
    scale_of,
    shows_labels,
    values,
)
from figures.style.text_width import lines, width, wrap_text
from interp_steer.errors import FigureError, RunError
from interp_steer.results.run import Run, open_run
from interp_steer.statistics.intervals import wilson
from tests.support.drawings import DRAWINGS, read_drawing

TOO_NARROW = {
    *("benchmarks", "main_table", "text", "text_switched"),
    *("cosines", "many_names", "lens", "read_by_layer", "projection_text", "radar"),
}
"""Tables, texts, and maps of many words, which have no room in one column at 8 points."""

needs_browser = pytest.mark.skipif(
    export.browser() is None, reason="no Chrome or Chromium to print with"
)


def sizes(figure: Figure) -> set[tuple[str, float]]:
    return set(lint._sizes(figure))


def of_text(figure: Figure) -> set[float]:
    return {size for _, size in sizes(figure)}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_figure_can_be_printed(name: str) -> None:
    figure, caption = read_drawing(name)
    assert complaints(figure, caption) == []


@pytest.mark.parametrize("column", INCHES)
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_takes_the_width_of_a_column(name: str, column: str) -> None:
    figure, caption = read_drawing(name)
    before = copy.deepcopy(figure)
    if column == "single" and name in TOO_NARROW:
        with pytest.raises(TooNarrow, match="inches"):
            fit_to_column(figure, column)
        return
    again = fit_to_column(figure, column)
    assert figure == before  # left as it was
    assert again["layout"]["width"] == round(INCHES[column] * PIXELS, 1)
    assert again["layout"]["height"] <= TALLEST
    assert of_text(again) == of_text(figure)  # as large as before
    assert complaints(again, caption) == []  # nothing is lost on the way
    assert said(again) == said(figure)
    assert [drop(trace) for trace in again["data"]] == [drop(trace) for trace in figure["data"]]
    check_places(again, column)


def test_what_no_column_holds_is_printed_at_its_own_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure, _ = read_drawing("benchmarks")
    figure["layout"]["width"] = 9 * PIXELS
    file = tmp_path / "wide.json"
    assert export._fit_columns(figure, ("single", "double"), file) == {"double": figure}
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(", since")[0] for line in told] == [
        f"{file}: set across two columns",
        f"{file}: set at its own width",
    ]


def drop(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace without the numbers in a map's cells, which may go."""
    return {key: value for key, value in trace.items() if key != "texttemplate"}


def said(figure: Figure) -> dict[str, set[str]]:
    """Titles of axes and panels, however they are broken."""
    found = panels(figure)
    return {
        "x": {plain(axis_title(figure, panel.x)) for panel in found} - {""},
        "y": {plain(axis_title(figure, panel.y)) for panel in found} - {""},
        "over": {plain(note["text"]) for note in panel_titles(figure, found).values()},
    }


def plain(text: str) -> str:
    return " ".join(lines(text))


def check_places(figure: Figure, column: str) -> None:
    """Panels lie within the plot and apart from each other, and none is a sliver."""
    found = panels(figure)
    margin = layout_of(figure)["margin"]
    plot = figure["layout"]["width"] - margin["l"] - margin["r"]
    for at, panel in enumerate(found):
        assert -1e-6 <= panel.left < panel.right <= 1 + 1e-6
        assert -1e-6 <= panel.bottom < panel.top <= 1 + 1e-6
        assert (panel.right - panel.left) * plot >= (50 if column == "single" else 80)
        for other in found[at + 1 :]:
            beside = panel.right <= other.left + 1e-6 or other.right <= panel.left + 1e-6
            above = panel.bottom >= other.top - 1e-6 or other.bottom >= panel.top - 1e-6
            assert beside or above


@settings(deadline=None, max_examples=8)
@given(
    n=st.integers(1, 14),
    long=st.booleans(),
    series=st.integers(1, 5),
    title=st.sampled_from(["layer", "weight of the vector, in units of its own norm"]),
)
def test_small_multiples_wrap_and_say_everything(
    n: int, long: bool, series: int, title: str
) -> None:
    names = [f"{'a rather long instruction ' if long else 'i'}{at}" for at in range(n)]
    rows = [
        {"layer": layer, "series": f"series {s}", "panel": name, "value": 0.5, "low": 0.2,
         "high": 0.7}
        for name in names for s in range(series) for layer in range(8)
    ]  # fmt: skip
    figure = json.loads(
        interval_curves(pl.DataFrame(rows), "layer", title, "AUROC").figure.to_json()
    )
    again = fit_to_column(figure, "single")
    found = panels(again)
    assert len(found) == n
    check_places(again, "single")
    for (
        panel
    ) in found:  # a panel's numbers are its own, or those of one beside it on the same scale
        for side in ("x", "y"):
            speaking = [
                own
                for other in panels_in_line(found, panel, side)
                if shows_labels(again, own := getattr(other, side))
                and scale_of(again, own) == scale_of(again, getattr(panel, side))
            ]
            assert any(axis_title(again, own) for own in speaking)
    if n > 1:
        titles = panel_titles(again, found)
        assert {plain(titles[panel]["text"]) for panel in found} == set(names)
        for panel, note in titles.items():
            assert width(note["text"], 12) <= (panel.right - panel.left) * 326 + 30
    assert [len(row) for row in panel_rows(found)[:-1]] == [len(panel_rows(found)[0])] * (
        len(panel_rows(found)) - 1
    )


MAPS = ("map", "chosen_again", "tokens", "heads", "heads_one_step", "cosines", "cosines_two")


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_rectangles_of_the_same_colours(name: str) -> None:
    figure, _ = read_drawing(name)
    before = copy.deepcopy(figure)
    again = draw_rectangles(figure)
    assert figure == before
    maps = [trace for trace in figure["data"] if trace["type"] == "heatmap"]
    assert not any(trace["type"] == "heatmap" for trace in again["data"])
    cells = [cell for trace in maps for cell in cells_of(trace)]
    drawn_before = len(figure["layout"].get("shapes") or [])
    shapes = again["layout"]["shapes"][drawn_before:]
    assert (
        len(shapes)
        == len(cells)
        == sum(sum(z is not None for z in flat(values(trace["z"]))) for trace in maps)
    )
    assert sum("showscale" in (t.get("marker") or {}) for t in again["data"]) == 1
    words = [t for t in again["data"] if t.get("mode") == "text" and "%{" not in str(t.get("text"))]
    assert sum(len(values(trace["x"])) for trace in words) >= len(cells)
    largest = max(cells, key=lambda cell: cell[2])
    shared = figure["layout"].get("coloraxis") or {}
    scale = {
        "colorscale": shared.get("colorscale") or maps[0]["colorscale"],
        "cmin": shared.get("cmin", maps[0].get("zmin")),
        "cmax": shared.get("cmax", maps[0].get("zmax", largest[2])),
    }
    assert colour_at(scale, largest[2]) in {shape["fillcolor"] for shape in shapes}


def flat(nested: list[Any]) -> Iterator[Any]:
    for one in nested:
        yield from flat(one) if isinstance(one, list) else [one]


def test_colours_are_those_of_the_scale() -> None:
    scale = {"colorscale": theme.scale("sequential"), "cmin": 0.0, "cmax": 10.0}
    for at, colour in theme.scale("sequential"):
        assert colour_at(scale, 10 * at) == str(colour).lower()
    assert colour_at(scale, -5) == colour_at(scale, 0)
    assert colour_at(scale, 50) == colour_at(scale, 10)
    assert colour_at({**scale, "cmax": 0.0}, 0.0) == theme.SEQUENTIAL[0].lower()


def test_widths_of_text_are_those_of_helvetica() -> None:
    assert width("", 12) == 0
    assert width("0" * 10, 10) == pytest.approx(55.6)
    assert width("<b>ab</b><br>c&amp;d", 10) == width("c&d", 10)
    assert width("é", 10) == width("e", 10) and width("中", 10) == 10
    assert wrap_text("one two three", 10, width("one two", 10)) == "one two<br>three"
    assert wrap_text("unbreakable", 10, 5) == "unbreakable"


def test_rows_of_a_legend_follow_its_width() -> None:
    figure, _ = read_drawing("schedules")
    rows = [legend_rows(figure, room) for room in (2000, 600, 350, 250, 120)]
    assert rows[0] == 1 and rows == sorted(rows) and rows[-1] == 8
    assert legend_rows(read_drawing("settings")[0], 300) == 0  # it has none


# Stamps


def stamp(**given: Any) -> Stamp:
    known = {"figure": "map", "drawing": "ab" * 32, "analysis": "layer_sweep", "version": "0.1.0"}
    return Stamp(**(known | given))


def blank(kind: str) -> bytes:
    """The smallest file of a kind."""
    if kind == "svg":
        return b'<svg class="main" xmlns="http://www.w3.org/2000/svg" width="9"><g></g></svg>'
    if kind == "png":
        parts = [
            (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"\0\0")),
            (b"IEND", b""),
        ]
        return PNG + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in parts
        )
    pypdf = pytest.importorskip("pypdf")
    writer, file = pypdf.PdfWriter(), io.BytesIO()
    writer.add_blank_page(100, 100)
    writer.write(file)
    return file.getvalue()


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(export.FORMATS),
    caption=texts,
    model=st.none() | texts,
    data=st.dictionaries(texts, texts, max_size=3),
    dirty=st.none() | st.booleans(),
)
def test_a_stamp_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    caption: str,
    model: str | None,
    data: dict[str, str],
    dirty: bool | None,
) -> None:
    made = stamp(caption=caption, model=model, data=data, dirty=dirty, seed=3)
    path = tmp_path_factory.mktemp("stamp") / f"figure.{kind}"
    path.write_bytes(add_stamp(blank(kind), kind, made, 3))
    assert read_stamp(path) == made
    path.write_bytes(add_stamp(path.read_bytes(), kind, stamp(caption="again"), 3))
    assert read_stamp(path).caption in ("again", caption)  # a file may be stamped twice


def test_stamps_stand_where_other_programs_look(tmp_path: Path) -> None:
    made = stamp(caption="Half of them < all & \u201cmore\u201d.")
    text = add_stamp(blank("svg"), "svg", made).decode()
    assert "<title>layer_sweep: map</title>" in text and "&lt; all &amp; \u201cmore" in text
    image = add_stamp(blank("png"), "png", made, 3)
    assert b"pHYs" in image and struct.pack(">II", 11339, 11339) in image  # 288 to the inch
    assert "\u201cmore\u201d".encode() in image
    pypdf = pytest.importorskip("pypdf")
    reader = pypdf.PdfReader(io.BytesIO(add_stamp(blank("pdf"), "pdf", made)))
    assert reader.metadata.title == "layer_sweep: map"
    assert reader.metadata.subject == made.caption
    assert reader.xmp_metadata.dc_description["x-default"] == made.caption


@pytest.mark.parametrize("kind", export.FORMATS)
def test_what_has_no_stamp_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"figure.{kind}"
    with pytest.raises(FigureError, match="cannot be read"):
        read_stamp(path)
    path.write_bytes(blank(kind))
    with pytest.raises(FigureError, match="has no stamp"):
        read_stamp(path)
    whole = add_stamp(blank(kind), kind, stamp())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FigureError, match=str(path.name)):
        read_stamp(path)
    with pytest.raises(FigureError, match="PDF, SVG or PNG"):
        read_stamp(tmp_path / "figure.txt")


def test_a_changed_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    whole = bytearray(add_stamp(blank("png"), "png", stamp()))
    whole[whole.index(b"layer_sweep")] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(FigureError, match="damaged"):
        read_stamp(path)


# The command


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with figures of several kinds."""
    root = tmp_path / "results"
    with open_run("sweep", {"model": "burattino-instruct"}, root=root, seed=5) as run:
        for name in ("settings", "layer_grid", "heads", "benchmarks"):
            run.draw(name, DRAWINGS[name]())
        run._provenance["data"]["lower/fit"] = "d" * 64
        run.leave(summary={"accuracy": wilson(3, 4)})
    return run.path


def test_the_stamp_of_a_figure_is_that_of_its_run(results: Path) -> None:
    run = Run.read(results)
    found = stamp_of(run.figure("heads"))
    assert (found.analysis, found.model, found.seed) == ("sweep", "burattino-instruct", 5)
    assert found.config == results.name and found.data == {"lower/fit": "d" * 64}
    assert found.commit == run.provenance["source"]["commit"]
    assert found.caption == run.captions["heads"]
    figures = json.loads((results / "manifest.json").read_text())["files"]
    assert found.drawing == figures["figures/heads.json"]


def test_damaged_figures_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "figure.json"
    for text in ("{", "[]", '{"data": [], "layout": 3}', '{"data": [1], "layout": {}}'):
        path.write_text(text)
        with pytest.raises(FigureError, match=r"figure\.json"):
            read_figure(path)
    with pytest.raises(FigureError, match="cannot be read"):
        read_figure(tmp_path / "missing.json")


def command(*arguments: str, browser: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    if browser is not None:
        environment["BROWSER_PATH"] = browser
    return subprocess.run(
        [sys.executable, "-m", "figures.printing.export", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    )


def test_errors_of_the_command_are_words(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command(str(results), browser=str(tmp_path / "none"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "nothing can be printed" in done.stderr and "apt-get install chromium" in done.stderr
    monkeypatch.setenv("BROWSER_PATH", sys.executable)  # a file that is there
    with pytest.raises(RunError, match="no finished results folder"):
        export.main(export.Config(tmp_path / "empty"))
    with pytest.raises(FigureError, match="no figure is called 'x'"):
        export.main(export.Config(results, match="x"))
    (results / "figures" / "heads.json").write_text("{")
    with pytest.raises(RunError, match="no finished results folder"):
        export.main(export.Config(results))
    with pytest.raises(FigureError, match="cannot be read"):
        export.main(export.Config(stamp=tmp_path / "missing.pdf"))


def test_the_command_reads_a_stamp(tmp_path: Path) -> None:
    made = stamp(caption="So \u201cit\u201d is.", data={"lower/fit": "abc"})
    path = tmp_path / "figure.svg"
    path.write_bytes(add_stamp(blank("svg"), "svg", made))
    said = json.loads(export.main(export.Config(stamp=path)))
    assert Stamp(**said) == made


@pytest.mark.slow
@needs_browser
def test_figures_print_for_columns(results: Path, tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    out = tmp_path / "out"
    said = export.main(
        export.Config(results.parent.parent, export.FORMATS, ("single", "double"), out=out)
    )
    paths = [Path(line) for line in said.splitlines()]
    assert all(path.is_file() for path in paths)
    home = out / results.parent.name / results.name
    names = {f"{path.parent.name}/{path.stem}" for path in paths}
    assert names == {
        *(f"{column}/{name}" for column in INCHES for name in ("settings", "layer_grid", "heads")),
        "double/benchmarks",  # has no room in one column
    }
    assert not list(home.rglob("*.part"))
    for path in paths:
        found = read_stamp(path)
        assert (found.analysis, found.figure) == ("sweep", path.stem)
        inches = INCHES[path.parent.name]
        if path.suffix == ".pdf":
            (page,) = pypdf.PdfReader(path).pages
            assert float(page.mediabox.width) / 72 == pytest.approx(inches, abs=0.01)
            assert not page.images  # nothing is made of pixels
            for name, (kind, embedded) in export.fonts(path).items():
                assert embedded and kind != "Type3", name
            assert points(page) <= {8.25, 9.0}
            check_with_poppler(path)
        elif path.suffix == ".svg":
            text = path.read_text("utf-8")
            assert "<image" not in text
            assert float(re.findall(r'<svg[^>]*? width="([\d.]+)"', text)[0]) == pytest.approx(
                inches * PIXELS, abs=1
            )
        else:
            pixels = struct.unpack(">I", path.read_bytes()[16:20])[0]
            assert pixels == pytest.approx(inches * PIXELS * export.PNG_SCALE, abs=3)


def points(page: Any) -> set[float]:
    """The sizes of the text on a page of a PDF."""
    found: set[float] = set()

    def visit(text: str, cm: list[float], tm: list[float], font: Any, size: float) -> None:
        if text.strip() and font:
            scale = math.sqrt(abs(spread(cm) * spread(tm)))
            found.add(round(scale * size * 4) / 4)

    def spread(matrix: list[float]) -> float:
        return matrix[0] * matrix[3] - matrix[1] * matrix[2]

    page.extract_text(visitor_text=visit)
    return found


def check_with_poppler(path: Path) -> None:
    if shutil.which("pdffonts") is None:
        return
    done = subprocess.run(["pdffonts", str(path)], capture_output=True, text=True)
    assert done.stderr == ""  # nothing in the file is amiss
    rows = done.stdout.splitlines()[2:]
    assert rows and all("Type 3" not in row for row in rows)
    assert all(re.search(r"\byes\s+(?:yes|no)\s+(?:yes|no)\b", row) for row in rows)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("column", INCHES)
def test_no_two_texts_meet_in_a_browser(column: str, tmp_path: Path) -> None:
    figures = {}
    for name in DRAWINGS:
        figure, _ = read_drawing(name)
        if column == "double" or name not in TOO_NARROW:
            figures[name] = draw_rectangles(fit_to_column(figure, column))
    assert overlaps(figures, tmp_path) == {}


MEASURE = """
const boxes = place => [...place.querySelectorAll(
    ".legendtext, .gtitle, .xtitle, .ytitle, .annotation-text, .xtick text, .ytick text, .cbtitle")]
  .filter(text => text.textContent.trim())
  .map(text => ({words: text.textContent, rect: text.getBoundingClientRect()}));
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
const found = {};
const jobs = Object.entries(FIGURES).map(([name, figure]) => {
  const place = document.body.appendChild(document.createElement("div"));
  place.style.height = `${figure.layout.height}px`;
  return Plotly.newPlot(place, figure.data, figure.layout, {staticPlot: true}).then(() => {
    const all = boxes(place), page = place.getBoundingClientRect(), wants = [];
    all.forEach((one, at) => {
      all.slice(at + 1).forEach(other => {
        if (meet(one.rect, other.rect)) wants.push(`${one.words} | ${other.words}`);
      });
      const {left, right, top, bottom} = one.rect;
      if (left < page.left - 1 || right > page.left + figure.layout.width + 1
        || top < page.top - 1 || bottom > page.top + figure.layout.height + 1)
        wants.push(`${one.words} leaves the page`);
    });
    if (wants.length) found[name] = wants.slice(0, 5);
    place.remove();
  });
});
Promise.all(jobs).then(() => {
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = `RESULT${JSON.stringify(found)}END`;
});
"""


def overlaps(figures: dict[str, Figure], folder: Path) -> dict[str, list[str]]:
    """Words of each figure that run into others or leave the page, as a browser draws them."""
    page = folder / "page.html"
    data = json.dumps(figures).replace("</", "<\\/")
    page.write_text(
        f"<!doctype html><meta charset=utf-8><script>{get_plotlyjs()}</script><body><script>"
        f"const FIGURES = {data};{MEASURE}</script>",
        "utf-8",
    )
    done = subprocess.run(
        [
            str(export.browser()), "--headless", "--no-sandbox", "--disable-gpu",
            "--virtual-time-budget=60000", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    found = re.search(r"RESULT(.*)END", done.stdout, re.S)
    assert found, done.stdout[-500:]
    return json.loads(html.unescape(found[1]))
