"""Hold the source to the plan of the house: levels of packages, no circles, functions of a page.

CONTRIBUTING.md draws the house; this test makes the drawing true. Imports are read from the source,
those inside functions and under ``TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "notebook", "version"),
    ("arguments",),
    ("statistics", "storage"),
    ("models", "results"),
    ("interventions",),
    ("contrast", "generation"),
    ("capture", "scoring"),
    ("vectors", "sweeps"),
    ("geometry", "interchange", "world"),
    ("harness", "burattino"),
)
"""The rooms of ``interp_steer``: a room imports from the rows above its own, and from no other."""

FIGURES: tuple[tuple[str, ...], ...] = (
    ("style", "published", "command_line"),
    ("steering", "languages", "geometry"),
    ("printing",),
    ("pages",),
)
"""The rooms of ``figures``."""

LONGEST_BODY = 60
MOST_PARAMETERS = 8


def modules(package: str) -> dict[str, Path]:
    """Return the modules of a package by dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / package).rglob("*.py"))
    }


ALL = {
    name: path
    for package in ("interp_steer", "analyses", "figures")
    for name, path in modules(package).items()
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


@cache
def home(module: str, name: str) -> str:
    """Return the module that a package's public name comes from, by the package's stub."""
    if f"{module}.{name}" in ALL:
        return f"{module}.{name}"
    path = ALL.get(module)
    stub = path.with_suffix(".pyi") if path is not None and path.name == "__init__.py" else None
    if stub is None or not stub.is_file():
        return module
    for node in tree_of(stub).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            source = f"{module}.{node.module}" if node.module else module
            return home(source, name)
    return module


@cache
def imports(module: str) -> frozenset[str]:
    """Return the project's modules that a module imports names from."""
    reached = set()
    for node in ast.walk(tree_of(ALL[module])):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            if node.module and node.module.split(".")[0] in ("interp_steer", "analyses", "figures"):
                reached |= {home(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            reached |= {alias.name for alias in node.names if alias.name in ALL}
    return frozenset(reached - {module})


def uses_of_the_top(module: str) -> frozenset[str]:
    """Return the modules that a module reaches as attributes of ``import interp_steer as ist``."""
    names = {
        node.attr
        for node in ast.walk(tree_of(ALL[module]))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "ist"
    }
    return frozenset(home("interp_steer", name) for name in names)


def levels(rows: tuple[tuple[str, ...], ...]) -> dict[str, int]:
    return {room: level for level, row in enumerate(rows) for room in row}


@pytest.mark.parametrize(("package", "rows"), [("interp_steer", LEVELS), ("figures", FIGURES)])
def test_every_room_is_in_the_plan(package: str, rows: tuple[tuple[str, ...], ...]) -> None:
    rooms = {name.split(".")[1] for name in modules(package) if "." in name}
    assert rooms <= set(levels(rows)), f"not in the plan: {sorted(rooms - set(levels(rows)))}"


@pytest.mark.parametrize(("package", "rows"), [("interp_steer", LEVELS), ("figures", FIGURES)])
def test_imports_go_down(package: str, rows: tuple[tuple[str, ...], ...]) -> None:
    level = levels(rows)
    wrong = []
    for module in modules(package):
        if "." not in module:
            continue
        room = module.split(".")[1]
        for other in imports(module) | uses_of_the_top(module):
            parts = other.split(".")
            if parts[0] != package or len(parts) < 2 or parts[1] == room:
                continue
            if level[parts[1]] >= level[room]:
                wrong.append(f"{module} imports {other}")
    assert not wrong, "\n".join(sorted(wrong))


def test_the_library_knows_neither_analyses_nor_figures() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in ALL
        for other in imports(module)
        if (module.startswith("interp_steer") and not other.startswith("interp_steer"))
        or (module.startswith("figures") and other.startswith("analyses"))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_is_part_of_a_circle() -> None:
    sorter = TopologicalSorter({module: imports(module) for module in ALL})
    try:
        sorter.prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


@pytest.mark.parametrize("package", ["interp_steer", "figures", "analyses"])
def test_a_package_says_what_it_is_for(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("__init__.py")
        if not ast.get_docstring(tree_of(path))
    ]
    assert not silent, f"packages without a sentence: {silent}"


def test_no_public_name_hides_a_module() -> None:
    """Names are imported when first used, so that a module of the same name would be handed out."""
    wrong = []
    for stub in (ROOT / "interp_steer").rglob("__init__.pyi"):
        for node in tree_of(stub).body:
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                beside = {p.stem for p in stub.parent.iterdir()}
                wrong += [f"{stub}: {a.name}" for a in node.names if a.name in beside]
    assert not wrong, "\n".join(wrong)


def test_every_public_name_can_be_imported() -> None:
    import importlib

    for stub in sorted((ROOT / "interp_steer").rglob("__init__.pyi")):
        package = ".".join(stub.parent.relative_to(ROOT).parts)
        loaded = importlib.import_module(package)
        for name in loaded.__all__:
            assert getattr(loaded, name) is not None, f"{package}.{name}"


@pytest.mark.parametrize("module", ALL)
def test_a_function_fits_on_a_page(module: str) -> None:
    wrong = []
    for node in ast.walk(tree_of(ALL[module])):
        if not isinstance(node, ast.FunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        body = node.body[1:] if text else node.body
        lines = node.body[-1].end_lineno - body[0].lineno + 1 if body else 0
        if lines > LONGEST_BODY:
            wrong.append(f"{node.name} (line {node.lineno}) has {lines} lines of body")
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([a for a in given if a.arg not in ("self", "cls")])
        if count > MOST_PARAMETERS and not re.search(r"\bparameters\b", text):
            wrong.append(f"{node.name} (line {node.lineno}) has {count} parameters, and no reason")
    assert not wrong, "\n".join(wrong)


def test_no_test_imports_another() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {node.module}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom)
        and re.search(r"^tests(\.\w+)*\.test_", node.module or "")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_test_of_the_library_needs_an_analysis() -> None:
    apart = ("analyses", "figures", "support")
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").glob("*/**/*.py")
        if path.relative_to(ROOT / "tests").parts[0] not in apart
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analyses")
    ]
    assert not wrong, "\n".join(wrong)
