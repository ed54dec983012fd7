"""Make the pages of the API: the public names of interp_steer, a page for each room."""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path

import interp_steer

ROOT = Path(interp_steer.__file__).parents[1]

GROUPS = {
    "Models and sites": ("models",),
    "Contrast sets": ("contrast", "world"),
    "Activations": ("capture",),
    "Vectors": ("vectors", "geometry"),
    "Interventions": ("interventions",),
    "Answers": ("generation",),
    "Sweeps": ("sweeps",),
    "Scores and statistics": ("scoring", "statistics"),
    "Results and errors": ("results", "errors"),
    "Other tools": ("interchange", "harness"),
}
"""The rooms whose public names stand on a page together."""

SAYS = {
    "Models and sites": "A checkpoint with its hook points, and the places in it.",
    "Contrast sets": "Prompts with a property and without it, in splits that share nothing.",
    "Activations": "Means, second moments or rows of activations, from one pass over prompts.",
    "Vectors": "Directions with their card: fitted, checked, combined, stored, transferred.",
    "Interventions": "Edits of a model: along which direction, how strongly, where, and when.",
    "Answers": "Text under interventions, and its cost in likelihood.",
    "Sweeps": "Grids of layers and strengths, and the choice among them.",
    "Scores and statistics": "Verdicts on answers, and intervals of estimates.",
    "Results and errors": "Results folders, and the errors that say how to fix what is wrong.",
    "Other tools": "Files of other tools, and lm-evaluation-harness.",
}


@cache
def home(package: str, name: str) -> str:
    """Return the module that a package's public name comes from, by the package's stub."""
    stub = ROOT / Path(*package.split(".")) / "__init__.pyi"
    if not stub.is_file():
        return package
    for node in ast.parse(stub.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return home(f"{package}.{node.module}" if node.module else f"{package}.{name}", name)
    return package


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path, an index first.

    Raises:
        LookupError: for a public name whose room is in no group.
    """
    rooms = {
        name: home("interp_steer", name).split(".")[1]
        for name in interp_steer.__all__
        if not name.startswith("_")
    }
    grouped = {room for group in GROUPS.values() for room in group}
    if lost := sorted({room for room in rooms.values() if room not in grouped}):
        raise LookupError(
            f"the public names of {', '.join(lost)} are on no page of the API; put the room into "
            "a group of docs/hooks/nouns.py"
        )
    made = {"api/index.md": _index(rooms)}
    for group, members in GROUPS.items():
        names = [name for room in members for name in rooms if rooms[name] == room]
        parts = [f"# {group}", SAYS[group]]
        parts += [_entry(name) for name in names if name not in members]
        parts += [_room(room) for room in members if room != "errors"]
        made[path(group)] = "\n\n".join(parts) + "\n"
    return made


def path(group: str) -> str:
    """Return the path of a group's page."""
    return f"api/{group.lower().replace(' ', '-')}.md"


def _index(rooms: dict[str, str]) -> str:
    rows = []
    for group, members in GROUPS.items():
        names = [name for room in members for name in rooms if rooms[name] == room]
        listed = ", ".join(f"`ist.{name}`" for name in names)
        rows.append(f"| [{group}]({path(group).partition('/')[2]}) | {listed} | {SAYS[group]} |")
    return "\n".join(
        [
            "# The API",
            "",
            "`import interp_steer as ist` takes a fraction of a second: a name is imported when it",
            "is first used. These are the public names of `ist`, by room. Each room has more, as",
            "`interp_steer.<room>.<name>`; its page lists them.",
            "",
            "| | names | |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _entry(name: str) -> str:
    """Return mkdocstrings' directive for a public name, under the name that users write."""
    thing = getattr(interp_steer, name)
    if inspect.ismodule(thing):
        return _directive(thing.__name__, f"ist.{name}")
    return _directive(f"{home('interp_steer', name)}.{name}", f"ist.{name}")


def _room(room: str) -> str:
    """Return a table of the room's other public names, with their first sentences."""
    package = importlib.import_module(f"interp_steer.{room}")
    rows = [
        f"## `interp_steer.{room}`",
        "",
        str(inspect.getdoc(package)),
        "",
        "| name | |",
        "|---|---|",
    ]
    for name in sorted(getattr(package, "__all__", ())):
        thing = getattr(package, name)
        about = (inspect.getdoc(thing) or "") if callable(thing) or inspect.ismodule(thing) else ""
        about = about.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{name}` | {about} |")
    return "\n".join(rows)


def _directive(identifier: str, heading: str) -> str:
    lines = [f"::: {identifier}", "    options:", f"      heading: {heading}"]
    lines.append(f"      toc_label: {heading}")
    try:
        importlib.import_module(identifier)
    except ModuleNotFoundError:
        pass
    else:
        lines.append("      show_root_toc_entry: true")
    return "\n".join(lines)
