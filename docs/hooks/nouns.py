"""The pages of the API: the public names of interp_steer, grouped by noun."""

from __future__ import annotations

import importlib
import inspect

import interp_steer

GROUPS = {
    "Models and sites": ("model", "sites"),
    "Contrast sets": ("pairs", "contrast", "language_sets", "parallel"),
    "Activations": ("capture", "moments"),
    "Vectors": ("vectors", "steering_vector", "stepped_vector", "stability", "transfer"),
    "Interventions": ("interventions", "schedules", "strength", "conditions", "transport"),
    "Answers": ("generation", "tracing", "answer_scores", "ledger", "cluster"),
    "Sweeps": ("grid", "racing", "selection"),
    "Scores and statistics": ("scoring", "statistics"),
    "Results and errors": ("results", "errors"),
    "Interchange": ("interchange",),
}
"""What stands together, by the modules that the names are from."""

SAYS = {
    "Models and sites": "A checkpoint with its hook points, and the places in it.",
    "Contrast sets": "Prompts with a property and without it, in splits that share nothing.",
    "Activations": "What one pass over prompts leaves: means and second moments, or rows.",
    "Vectors": "Directions with their card: fitted, checked, combined, stored, moved.",
    "Interventions": "What acts on a model: along what, how, how strongly, where, and when.",
    "Answers": "Text under interventions, and what it costs in likelihood.",
    "Sweeps": "Grids of layers and strengths, and the choice among them.",
    "Scores and statistics": "Verdicts on answers, and how sure an estimate is.",
    "Results and errors": "Results folders, and the errors that name the mend.",
    "Interchange": "Files of other tools.",
}

INNER = {
    "interchange": ("interp_steer.interchange.registry", "interp_steer.interchange.formats"),
    "scoring": (
        "interp_steer.scoring.ifeval",
        "interp_steer.scoring.early",
        "interp_steer.scoring.fluency",
        "interp_steer.scoring.language",
    ),
}
"""Packages whose parts are documented one by one."""


def pages() -> dict[str, str]:
    """From the path of each page to its Markdown, an index first.

    Raises:
        LookupError: for a public name whose module is in no group.
    """
    homes = {name: name for name in interp_steer._MODULES} | dict(interp_steer._HOMES)
    grouped = {module for modules in GROUPS.values() for module in modules}
    if lost := sorted({home for home in homes.values() if home not in grouped}):
        raise LookupError(
            f"the public names of {', '.join(lost)} are on no page of the API; put the module into "
            "a group of docs/hooks/nouns.py"
        )
    made = {"api/index.md": _index(homes)}
    for group, modules in GROUPS.items():
        names = [name for module in modules for name in homes if homes[name] == module]
        parts = [f"# {group}", SAYS[group], *map(_entry, names)]
        made[path(group)] = "\n\n".join(parts) + "\n"
    return made


def path(group: str) -> str:
    """Of a group's page."""
    return f"api/{group.lower().replace(' ', '-')}.md"


def _index(homes: dict[str, str]) -> str:
    rows = []
    for group, modules in GROUPS.items():
        names = [name for module in modules for name in homes if homes[name] == module]
        said = ", ".join(f"`ist.{name}`" for name in names)
        rows.append(f"| [{group}]({path(group).partition('/')[2]}) | {said} | {SAYS[group]} |")
    return "\n".join(
        [
            "# The API",
            "",
            "`import interp_steer as ist` takes a fraction of a second: a name is imported when it",
            "is first used. These are all public names, by what they are about.",
            "",
            "| | names | |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _entry(name: str) -> str:
    """mkdocstrings' directive for a public name, under the name that users write."""
    thing = getattr(interp_steer, name)
    if inspect.ismodule(thing):
        inner = INNER.get(name, (thing.__name__,))
        return "\n\n".join(_directive(module, _said(module)) for module in inner)
    home = getattr(thing, "__module__", "")
    named = getattr(thing, "__qualname__", None)
    if named is None or not home.startswith("interp_steer"):  # a value, such as `unsteered`
        home, named = f"interp_steer.{interp_steer._HOMES[name]}", name
    return _directive(f"{home}.{named}", f"ist.{name}")


def _said(module: str) -> str:
    """A module as users reach it."""
    shown = module.replace("interp_steer.interchange.registry", "interp_steer.interchange")
    return shown.replace("interp_steer", "ist", 1)


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
