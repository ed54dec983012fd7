"""Check the shapes of tensors in the tests, in every module that annotates them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping


def annotated_modules(package: str) -> list[str]:
    """Return the names of a package's modules that import jaxtyping, read from their source."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    return [
        ".".join((package, *path.relative_to(root).with_suffix("").parts))
        for path in sorted(root.rglob("*.py"))
        if "from jaxtyping import" in path.read_text("utf-8")
    ]


def check_shapes(*packages: str) -> None:
    """Check shapes at run time in the packages' modules that are imported from here on."""
    modules = [name for package in packages for name in annotated_modules(package)]
    jaxtyping.install_import_hook(modules, "beartype.beartype")


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """Switch the checks off for a while.

    Whole analyses run thousands of steps through parts whose shapes their own tests check; checked
    here too they would take twice as long.
    """
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
