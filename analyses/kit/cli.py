"""Find the analyses, make their command lines, and run them into results folders.

An analysis is a module under ``analyses/`` with a frozen dataclass ``Config`` and a function
``main(config, run)``. Its docstring is its help text. The docstring under each field of its config
is the help text of that option. Nothing needs to be registered. A module with ``serve(config)`` in
place of ``main`` is a page for a browser: it runs until it is stopped and leaves no results folder.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from interp_steer.errors import InterpSteerError, OptionError

ROOT = Path(__file__).parents[1]
PROGRAM = "python -m analyses"


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Analysis as found on disk, before it is imported."""

    name: str
    """Its name on the command line."""
    module: str
    """Its importable name."""
    group: str
    """The folder that contains it; empty at the top."""
    about: str
    """Its docstring."""
    serves: bool = False
    """Whether it is a page for a browser, which leaves no results."""

    @property
    def line(self) -> str:
        """Return the first line of its docstring."""
        return self.about.split("\n", 1)[0]


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that every analysis takes."""

    results: Path = Path("results")
    """Folder for the results folders."""
    seed: int = 0
    """Seed of all random numbers: splits, sampling, random directions, bootstrap."""
    overwrite: bool = True
    """Replace earlier results of the same config. With --no-overwrite they are kept and the run is
    refused."""


def discover(root: Path = ROOT, package: str = "analyses") -> dict[str, Analysis]:
    """Find the analyses under a folder by reading their source, without importing them.

    Args:
        root: the folder of the package.
        package: its importable name.

    Returns:
        Analyses by name: first those at the top, then folder by folder.

    Raises:
        OptionError: when two have the same name.
    """
    analyses: dict[str, Analysis] = {}
    paths = sorted(root.rglob("*.py"), key=lambda p: (len(p.relative_to(root).parts), p))
    for path in paths:
        tree = ast.parse(path.read_text("utf-8"), filename=str(path))
        runs = _entry_points(tree)
        if not runs:
            continue
        relative = path.relative_to(root).with_suffix("")
        analysis = Analysis(
            name=relative.name,
            module=".".join((package, *relative.parts)),
            group="/".join(relative.parts[:-1]),
            about=ast.get_docstring(tree) or "(no docstring)",
            serves="main" not in runs,
        )
        if relative.name in analyses:
            raise OptionError(
                f"two analyses are called {relative.name!r}: {analyses[relative.name].module} and "
                f"{analysis.module}; rename one."
            )
        analyses[relative.name] = analysis
    return analyses


def _entry_points(tree: ast.Module) -> set[str]:
    """Return the functions that run a module as an analysis; none without a ``Config``."""
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {"main", "serve"} & functions if "Config" in classes else set()


def listing(analyses: dict[str, Analysis]) -> str:
    """List the analyses, one per line, under their folders."""
    width = max((len(name) for name in analyses), default=0)
    lines: list[str] = []
    group = ""
    for analysis in analyses.values():
        if analysis.group != group:
            group = analysis.group
            lines += ["", f"{group}/"]
        lines.append(f"  {analysis.name:<{width}}  {analysis.line}")
    return "\n".join(
        [
            f"usage: {PROGRAM} NAME [options]     (NAME --help shows the options)",
            "",
            *(lines or ["  no analyses found"]),
        ]
    )


def find_analysis(name: str, analyses: dict[str, Analysis]) -> Analysis:
    """Return the analysis called ``name``; hyphens may stand for underscores.

    Raises:
        OptionError: for an unknown name; the message suggests the nearest names.
    """
    plain = name.replace("-", "_")
    if plain in analyses:
        return analyses[plain]
    near = difflib.get_close_matches(plain, analyses, n=3, cutoff=0.5)
    near += [other for other in analyses if plain and plain in other and other not in near]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise OptionError(f"unknown analysis {name!r}; {hint}`{PROGRAM}` lists all analyses.")


def run(analysis: Analysis, arguments: Sequence[str]) -> None:
    """Run an analysis with command-line arguments, into its results folder; or serve a page.

    Raises:
        InterpSteerError: for a config that the analysis refuses.
        SystemExit: after ``--help``, or for arguments that cannot be parsed.
    """
    module = importlib.import_module(analysis.module)
    parser_options = {
        "prog": f"{PROGRAM} {analysis.name}",
        "description": analysis.about,
        "args": list(arguments),
    }
    if analysis.serves:
        module.serve(tyro.cli(module.Config, **parser_options))
        return
    command = tyro.cli(_command(module.Config), **parser_options)
    config, options = command.config, command.common
    _seed(options.seed)

    from figures.printing.export import print_figures
    from interp_steer.results import open_run

    with open_run(
        analysis.name,
        config,
        root=options.results.expanduser(),
        seed=options.seed,
        overwrite=options.overwrite,
        about=analysis.about,
        export=print_figures,
    ) as results:
        module.main(config, results)


def _command(config: type) -> type:
    """Join a config and the common options in one dataclass, for one flat command line."""
    common = {field.name for field in dataclasses.fields(Options)}
    clash = common & {field.name for field in dataclasses.fields(config)}
    if clash:
        raise OptionError(
            f"{config.__module__}.Config has fields that every analysis has already: "
            f"{', '.join(sorted(clash))}; read them from the run (run.seed, run.root)."
        )
    flat = tyro.conf.OmitArgPrefixes
    default = dataclasses.field(default_factory=Options)
    return dataclasses.make_dataclass(
        "Command", [("config", flat[config]), ("common", flat[Options], default)], frozen=True
    )


def _seed(seed: int) -> None:
    """Set the seeds of the global generators, for libraries that take no seed."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def command_line(arguments: Sequence[str]) -> int:
    """Run the command line of ``python -m analyses``, and return the exit code."""
    try:
        analyses = discover()
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(listing(analyses))
            return 0
        run(find_analysis(arguments[0], analyses), arguments[1:])
    except InterpSteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; no results folder was left half-written", file=sys.stderr)
        return 130
    return 0
