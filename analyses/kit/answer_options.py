"""How sweeps ask: what the configs of several analyses say alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import interp_steer as ist


@dataclass(frozen=True)
class AnswerOptions:
    """How answers are made."""

    max_new_tokens: int = 160
    """Where an answer is cut."""
    batch_size: int = 192
    """Rows decoded at once."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers; gpt2 in the paper."""
    ray: str | None = None
    """The ray cluster that answers: local, or an address; this process when not given."""


@contextmanager
def asking(config: AnswerOptions, model: ist.HookedLM, run: ist.Run) -> Iterator[dict[str, Any]]:
    """The options of :func:`interp_steer.sweep` that a config stands for.

    Args:
        config: where answers are cut, how many are decoded at once, and by whom.
        model: the model that answers.
        run: whose ledger keeps the answers.
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
