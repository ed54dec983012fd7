"""The pages of the analyses, from their docstrings, their configs and their figures."""

from __future__ import annotations

import ast
import dataclasses
import html
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docstrings import markdown

from analyses.kit.cli import Analysis, Options, discover

GROUPS = {
    "": "Whole jobs",
    "instructions": "Instructions",
    "languages": "Languages",
    "geometry": "Geometry",
    "speed": "Speed",
}
"""What the folders of the analyses are called, in the order of the site."""

FIGURES = Path("docs/images/analyses")
"""Holds ``<analysis>/<figure>.png`` and, beside them, ``captions.json``."""


def pages() -> dict[str, str]:
    """From the path of each page to its Markdown, an index first."""
    found = discover()
    made = {"analyses/index.md": _index(found)}
    return made | {path(analysis): _page(analysis) for analysis in found.values()}


def path(analysis: Analysis) -> str:
    """Of an analysis' page."""
    return f"analyses/{analysis.name}.md"


def navigation() -> list[dict[str, Any]]:
    """The pages by folder, for the menu."""
    by_group: dict[str, list[dict[str, str]]] = {said: [] for said in GROUPS.values()}
    for analysis in discover().values():
        by_group[_group(analysis)].append({analysis.name: path(analysis)})
    return [{said: pages} for said, pages in by_group.items() if pages]


def _group(analysis: Analysis) -> str:
    return GROUPS.get(analysis.group, analysis.group)


def _index(found: dict[str, Analysis]) -> str:
    lines = [
        "# Analyses",
        "",
        "An analysis is a question, a module that answers it, and a command:",
        "",
        "```bash",
        "python -m analyses                       # what there is",
        "python -m analyses layer_sweep --help    # every option, with what it means",
        "```",
        "",
        "They run from a checkout. Each leaves a folder of its own: config, provenance, records,",
        "vectors, figures and a summary ([Results](../api/results-and-errors.md)). The pages here",
        "are made from the analyses themselves.",
    ]
    for folder, said in GROUPS.items():
        rows = [one for one in found.values() if one.group == folder]
        lines += ["", f"## {said}", "", "| analysis | |", "|---|---|"]
        lines += [f"| [`{one.name}`]({one.name}.md) | {_cell(one.line)} |" for one in rows]
    return "\n".join(lines) + "\n"


def _page(analysis: Analysis) -> str:
    module = importlib.import_module(analysis.module)
    first, _, rest = analysis.about.partition("\n")
    source = analysis.module.replace(".", "/") + ".py"
    parts = [
        f"# {analysis.name}",
        f"**{first.strip()}**",
        markdown(textwrap.dedent(rest).strip()),
        f"```bash\npython -m analyses {analysis.name}\n```",
        *_figures(analysis.name),
        "## Options",
        "Defaults are for the bundled models. With `--help` the command says the same.",
        _options(module.Config, serves=analysis.serves),
        f"Its source reads like a method section: `{source}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(name: str) -> list[str]:
    folder = FIGURES / name
    if not folder.is_dir():
        return []
    file = folder / "captions.json"
    captions = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    shown = []
    for picture in sorted(folder.glob("*.png")):
        said = captions.get(picture.stem, picture.stem.replace("_", " "))
        alt = re.sub(r"[\[\]\"\n]", " ", said.split(". ")[0])
        image = f"![{alt}](../images/analyses/{name}/{picture.name})"
        shown.append(
            f'<figure class="measured" markdown="span">\n{image}\n'
            f"<figcaption>{html.escape(said)}</figcaption>\n</figure>"
        )
    return shown


def _options(config: type, *, serves: bool) -> str:
    """Its own options in a table; what it shares with others in one that unfolds."""
    own = {name for name in config.__annotations__ if not name.startswith("_")}
    fields = dataclasses.fields(config)
    first = [field for field in fields if field.name in own]
    shared = [field for field in fields if field.name not in own]
    common = _table(Options, dataclasses.fields(Options))
    if not first:
        first, shared = shared, []
    parts = [_table(config, tuple(first))]
    unfolds = [_table(config, tuple(shared))] if shared else []
    unfolds += [] if serves else [common]  # a page for a browser leaves no results
    if not unfolds:
        return parts[0]
    rows = "\n".join(table if not at else _rows(table) for at, table in enumerate(unfolds))
    parts.append(
        '??? note "Options that it shares with others"\n\n' + textwrap.indent(rows, " " * 4)
    )
    return "\n\n".join(parts)


def _rows(table: str) -> str:
    return "\n".join(table.splitlines()[2:])


def _table(config: type, fields: tuple[dataclasses.Field[Any], ...]) -> str:
    said = _said(config)
    rows = [
        f"| `--{field.name.replace('_', '-')}`<br>{_default(field)} | {_cell(said[field.name])} |"
        for field in fields
    ]
    return "\n".join(["| option, default | |", "|---|---|", *rows])


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "needed"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        shown = " ".join(map(_word, value))
        return f"`{shown}`" if len(shown) <= 40 else f"{len(value)} of them"
    return f"`{_word(value)}`"


def _word(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def _cell(text: str) -> str:
    """A text for a table: one line, whose signs stand for themselves outside of code."""
    said, *more = re.split(r"(`[^`]*`)", " ".join(markdown(text).split()))
    parts = [_plain(said)]
    for code, said in zip(more[::2], more[1::2], strict=True):
        parts += [code.replace("|", "\\|"), _plain(said)]
    return "".join(parts)


def _plain(text: str) -> str:
    return re.sub(r"([|\[\]*_])", r"\\\1", text).replace("<", "&lt;")


@cache
def _said(config: type) -> dict[str, str]:
    """The docstring under each field, of the class or of what it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        found |= dict(_under_fields(base))
    return found


def _under_fields(config: type) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, body.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield field.target.id, inspect.cleandoc(str(after.value.value))
