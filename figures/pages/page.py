"""Write pages that open without a network: plotly is included once, and a figure is drawn when it
comes into view."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from figures.style.drawing import list_words
from figures.style.plotly_layout import read_figure
from interp_steer.models import BUNDLED_NAMES as BUNDLED
from interp_steer.results import Results, explain_write_errors
from interp_steer.storage import write_atomically

TOY = "{models} {is_are} that proves the pipeline; nothing here is evidence about large models."
"""Remark of a page on runs of a bundled model."""


def write_page(
    path: str | Path,
    template: str,
    runs: Sequence[Results],
    figures: Sequence[Mapping[str, Any]],
    *,
    title: str,
    notes: Sequence[str] = (),
    **values: Any,
) -> Path:
    """Write a page of results folders from a template that extends ``page.html.j2``.

    Args:
        path: the file of the page; its folder is created.
        template: name of the template in the folder of this module.
        runs: the runs on the page.
        figures: the result of :func:`figures_of`.
        title: title of the page.
        notes: cautions under the title; the remark on bundled toy models is added automatically.
        values: further variables of the template.

    Returns:
        The path.

    Raises:
        RunError: when the page cannot be written.
    """
    names = _toys(runs)
    looks: list[Any] = []
    shared = [_with_shared_look(figure, looks) for figure in figures]
    page = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            stamp=_stamp(runs),
            notes=[*([_toy_note(names)] if names else []), *notes],
            figures=shared,
            looks=script_json(looks),
            # A closing tag inside the script's text would end it early.
            plotly_js=Markup(get_plotlyjs().replace("</script", "<\\/script")) if figures else "",
            **values,
        )
    )
    path = Path(path)
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as aside:
            aside.write_text(page, "utf-8")
    return path


def figures_of(runs: Sequence[Results]) -> list[dict[str, Any]]:
    """Return every figure of every run, with its size and its data.

    Raises:
        FigureError: when a figure's JSON is damaged.
    """
    figures: list[dict[str, Any]] = []
    for i, run in enumerate(runs):
        for name, caption in run.captions.items():
            data = read_figure(run.figure(name))
            layout = data["layout"]
            figures.append(
                {
                    "run": i,
                    "id": f"figure-{len(figures) + 1}",
                    "number": len(figures) + 1,
                    "name": name,
                    "caption": caption,
                    "width": layout.get("width", 670),
                    "height": layout.get("height", 400),
                    "least": _least_width(layout),
                    "data": data,
                }
            )
    return figures


def script_json(data: Any) -> Markup:
    """Return JSON that cannot end the script element that holds it."""
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def question_of(run: Results) -> tuple[str, str]:
    """Return the question of an analysis, and the rest of its docstring."""
    question, _, about = str(run.provenance.get("about") or "").strip().partition("\n")
    return question or run.analysis, about


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _with_shared_look(figure: Mapping[str, Any], looks: list[Any]) -> dict[str, Any]:
    """Return a figure whose theme is stored once for all figures, since most figures share it."""
    data = figure["data"]
    look = data["layout"].get("template")
    if look not in looks:
        looks.append(look)
    layout = {**data["layout"], "template": looks.index(look)}
    return {**figure, "json": script_json({"data": data["data"], "layout": layout})}


def _least_width(layout: Mapping[str, Any]) -> int:
    """Return the smallest width of a figure on a small screen, below which the page scrolls."""
    width = layout.get("width", 670)
    panels = sum(key.startswith("xaxis") for key in layout)
    if panels > 2:
        return width
    return min(width, 340 if layout.get("showlegend") is False or width < 500 else 480)


def _toys(runs: Sequence[Results]) -> list[str]:
    """Return the bundled models of the runs, in the order of `BUNDLED_NAMES`."""
    about = {Path(name).name for run in runs for name in (run.model, *_models(run.config))}
    return [name for name in BUNDLED if name in about]


def _models(config: Mapping[str, Any]) -> list[str]:
    """Return every text in a config but the reference, which measures answers and generates
    none."""
    values = [value for key, value in config.items() if key != "reference"]
    texts = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [one for one in texts if isinstance(one, str)]


def _toy_note(names: Sequence[str]) -> str:
    return TOY.format(
        models=list_words(names),
        is_are="is a bundled toy model" if len(names) == 1 else "are bundled toy models",
    ).replace("toy models that proves", "toy models that prove")


def _stamp(runs: Sequence[Results]) -> str:
    made = datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    version = runs[0].provenance["versions"].get("interp-steer") or "from a checkout"
    return f"{made} · interp_steer {version} · {len(runs)} {'run' if len(runs) == 1 else 'runs'}"
