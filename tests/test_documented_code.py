"""What the documentation shows is true: its Python runs, its commands are what the parsers take.

The blocks of a page run in order, in one namespace and an empty folder. One that needs a hub, a GPU
or a server is marked ``no-run`` behind its language, and says why in a line that begins with
``# not run here:``; it is compiled, and the names that it takes from interp_steer must be there.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import tyro
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

import interp_steer as ist
from analyses.kit import cli
from interp_steer.errors import InterchangeWarning
from tests.support.shapes import shapes_unchecked

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
REASON = "# not run here:"
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
EXTRAS = set(metadata("interp_steer").get_all("Provides-Extra") or ())


def evaluators() -> dict[str, Callable[[Example], str | None]]:
    """What is done with a block, by the words behind its fence; others are a wrong convention."""
    return {
        "": lambda _: None,
        "text": lambda _: None,
        "python": PythonEvaluator(),
        "python no-run": compiled,
        "bash": lambda example: commands(example.parsed),
        "bash no-run": lambda example: (
            reasoned(example.parsed) or commands(example.parsed, others=True)
        ),
    }


def blocks(document: Document) -> Iterator[Region]:
    known = evaluators()
    lexer = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))
    for region in lexer(document):
        info = region.lexemes["info"].strip()
        region.parsed = region.lexemes["source"]
        region.evaluator = known.get(info, lambda _, info=info: f"no block is marked {info!r}")
        yield region


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_blocks_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = Document.parse(str(page), blocks)
    document.namespace["__name__"] = "__main__"
    with shapes_unchecked(), warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        for example in document.examples():
            example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_commands_in_the_prose_of_a_page(page: Path) -> None:
    prose = re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))
    for name in re.findall(r"`python -m analyses\s+([a-z_]+)", prose):
        cli.find_analysis(name, cli.discover())
    for target in re.findall(r"`make\s+([a-z-]+)`", prose):
        assert target in TARGETS


def compiled(example: Example) -> str | None:
    """What is wrong with a block that is not run."""
    tree = ast.parse(example.parsed)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "ist" and not hasattr(ist, node.attr):
                return f"there is no ist.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("interp_steer"):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                if not hasattr(module, name.name):
                    return f"there is no {name.name} in {node.module}"
    return reasoned(example.parsed)


def reasoned(source: str) -> str | None:
    says = any(line.startswith(REASON) for line in source.splitlines()[:2])
    return None if says else f"say why in a first line that begins with {REASON!r}"


def commands(source: str, *, others: bool = False) -> str | None:
    """What is wrong with the lines of a shell; ``others`` allows commands that are not ours."""
    for line in source.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # FLAG=1 command
            del words[0]
        if "python" in words:  # srun ... python -m analyses
            words = words[words.index("python") :]
        wrong = wrong_with(words, others) if words else None
        if wrong is not None:
            return f"{line.strip()}: {wrong}"
    return None


def wrong_with(words: list[str], others: bool) -> str | None:
    if words[0] == "make":
        unknown = {word for word in words[1:] if "=" not in word} - TARGETS
        return f"no target {', '.join(unknown)} in the Makefile" if unknown else None
    if words[:2] == ["python", "-m"]:
        return refused(words[2], words[3:])
    if words[:2] == ["pip", "install"]:
        asked = set(re.findall(r"interp_steer\[([a-z,]+)\]", " ".join(words)))
        unknown = {each for extras in asked for each in extras.split(",")} - EXTRAS
        return f"no extra {', '.join(unknown)}" if unknown else None
    return None if others else f"{words[0]} is no command that the tests know"


def refused(module: str, arguments: list[str]) -> str | None:
    """Whether a module's own parser refuses the arguments; nothing is run."""
    try:
        if module == "analyses":
            if arguments:
                found = cli.find_analysis(arguments[0], cli.discover())
                config = importlib.import_module(found.module).Config
                takes = config if getattr(found, "serves", False) else cli._command(config)
                tyro.cli(takes, args=arguments[1:])
        elif module.startswith("figures."):
            tyro.cli(importlib.import_module(module).Config, args=arguments)
        elif module == "interp_steer.harness":
            from lm_eval._cli import HarnessCLI

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["harness", *arguments])
                HarnessCLI().parse_args()
        else:
            return None if find_spec(module) else f"there is no module {module}"
    except SystemExit as stopped:
        return "its parser refuses that" if stopped.code else None
    except ist.InterpSteerError as error:
        return str(error)
    return None
