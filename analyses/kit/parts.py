"""Run analyses as parts of a larger one, each into its own results folder."""

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
from interp_steer.results import Results


def configure(analysis: Any, config: Any, **own: Any) -> Any:
    """Make the config of an analysis; fields that both configs have are taken from the larger one.

    Args:
        analysis: the module of the analysis.
        config: the config of the larger analysis.
        own: fields that are set for this analysis alone.
    """
    known = {field.name for field in fields(analysis.Config)}
    shared = {field.name: getattr(config, field.name) for field in fields(config)}
    return analysis.Config(**{k: v for k, v in shared.items() if k in known} | own)


def open_part(run: ist.Run, analysis: Any, config: Any) -> ist.Run:
    """Open the results folder of an analysis, as if it were run alone with its config."""
    return ist.open_run(
        analysis.__name__.rsplit(".", 1)[-1],
        config,
        root=run.root,
        seed=run.seed,
        about=analysis.__doc__ or "",
        export=print_figures,
    )


_DONE: dict[tuple[Any, ...], Path] = {}
"""The results folders of this process, by analysis, config, results root and seed."""


def run_once(run: ist.Run, analysis: Any, config: Any) -> Results:
    """Return the results of an analysis with this config; run it unless this process already did.

    Several analyses may build on the same one. Results of earlier processes are not reused, because
    the code may have changed.
    """
    key = (analysis.__name__, config, run.root.resolve(), run.seed)
    if key not in _DONE or not _DONE[key].exists():
        with open_part(run, analysis, config) as part:
            analysis.main(config, part)
            _DONE[key] = part.finish().path
    return ist.Run.read(_DONE[key])


def run_experiments(
    run: ist.Run,
    config: Any,
    experiments: Mapping[Any, Mapping[str, Any]],
    headlines: Mapping[str, tuple[str, ...]],
    title: str,
) -> None:
    """Run the experiments of a paper one after the other, and gather them into one page.

    An experiment that cannot be run on a model is left out, and the page says why.

    Args:
        run: the run of the whole; the page is ``report.html`` in the folder of its analysis.
        config: the config of the whole; see :func:`configure`.
        experiments: the analyses, each with the fields that are set for it alone.
        headlines: for each experiment, the beginnings of the names of those summary values that are
            repeated in the summary of the whole.
        title: the title of the page.
    """
    finished, notes = [], []
    for analysis, own in experiments.items():
        start, name = time.monotonic(), analysis.__name__.rsplit(".", 1)[-1]
        made = configure(analysis, config, **own)
        try:
            finished.append(run_once(run, analysis, made))
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
