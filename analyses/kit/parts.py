"""Analyses that are parts of a larger one, each with a results folder of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import interp_steer as ist
from figures.pages.report import write_report
from figures.printing.export import print_figures
from interp_steer.errors import OptionError, RunError
from interp_steer.results.finished import Results


def configured(analysis: Any, config: Any, **own: Any) -> Any:
    """The config of an analysis, with what the larger one says of the fields that both have.

    Args:
        analysis: its module.
        config: of the larger analysis.
        own: fields that are said for this analysis alone.
    """
    known = {field.name for field in fields(analysis.Config)}
    shared = {field.name: getattr(config, field.name) for field in fields(config)}
    return analysis.Config(**{k: v for k, v in shared.items() if k in known} | own)


def opened(run: ist.Run, analysis: Any, config: Any) -> ist.Run:
    """The results folder of an analysis, as if it had been run alone with its config."""
    return ist.open_run(
        analysis.__name__.rsplit(".", 1)[-1],
        config,
        root=run.root,
        seed=run.seed,
        about=analysis.__doc__ or "",
        export=print_figures,
    )


_LEFT: dict[tuple[Any, ...], Path] = {}
"""Where this process left what."""


def performed(run: ist.Run, analysis: Any, config: Any) -> Results:
    """The results of an analysis with this config, which is run unless this process did before.

    Several analyses may rest on the same one. What an earlier process left is made anew: its code
    may have been another.
    """
    key = (analysis.__name__, config, run.root.resolve(), run.seed)
    if key not in _LEFT or not _LEFT[key].exists():
        with opened(run, analysis, config) as part:
            analysis.main(config, part)
            _LEFT[key] = part.finish().path
    return ist.Run.read(_LEFT[key])


def perform(
    run: ist.Run,
    config: Any,
    experiments: Mapping[Any, Mapping[str, Any]],
    headlines: Mapping[str, tuple[str, ...]],
    title: str,
) -> None:
    """Run the experiments of a paper one after the other, and gather them into one page.

    What cannot be asked of a model is a finding of its own: the experiment is left out, and the
    page says why.

    Args:
        run: of the whole; the page is ``report.html`` in the folder of its analysis.
        config: of the whole; see :func:`configured`.
        experiments: the analyses, each with the fields that are said for it alone.
        headlines: what of each experiment's summary stands in the summary of the whole, by the
            beginnings of its names.
        title: of the page.
    """
    finished, notes = [], []
    for analysis, own in experiments.items():
        start, name = time.monotonic(), analysis.__name__.rsplit(".", 1)[-1]
        made = configured(analysis, config, **own)
        try:
            finished.append(performed(run, analysis, made))
        except (OptionError, RunError) as error:
            notes.append(f"{name} was left out: {error}")
            print(notes[-1])
            continue
        run.leave(summary={f"{name}.seconds": time.monotonic() - start})
        for key, value in finished[-1].summary.items():
            if key.startswith(headlines.get(name, ())):
                run.leave(summary={f"{name}.{key}": value})
    report = run.root / run.analysis / "report.html"
    write_report(finished, report, title=title, notes=notes)
    print(f"report: {report}")
