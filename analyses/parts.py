"""Analyses that are parts of a larger one, each with a results folder of its own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import interp_steer as ist
from figures.export import print_figures


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
