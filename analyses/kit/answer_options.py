"""Hold the options of sweeps that the configs of several analyses share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import interp_steer as ist


@dataclass(frozen=True)
class AnswerOptions:
    """Options of generating and checking answers."""

    max_new_tokens: int = 160
    """Maximum number of new tokens per answer."""
    batch_size: int = 192
    """Number of rows decoded at once."""
    reference: str = "burattino-base"
    """Model whose perplexity shows which answers are degenerate (the paper: gpt2)."""
    ray: str | None = None
    """Ray cluster that generates the answers: local, or an address. Default: this process."""


@contextmanager
def open_sweep_options(
    config: AnswerOptions, model: ist.HookedLM, run: ist.Run
) -> Iterator[dict[str, Any]]:
    """Open the ledger, and the cluster if one is wanted, and yield the options of a sweep.

    Args:
        config: says how long answers may be, how many are decoded at once, and where.
        model: the model that answers.
        run: the run whose ledger keeps the answers.
    """
    options = {
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.batch_size,
        "ledger": ist.Ledger(run.answers),
    }
    if config.ray is None:
        yield options
    else:
        with ist.Cluster(model, config.ray) as cluster:
            yield options | {"options": ist.GenerationOptions(cluster=cluster)}
