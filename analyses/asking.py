"""How sweeps ask: what the configs of several analyses say alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import interp_steer as ist


class Asks(Protocol):
    """A config that says how answers are made."""

    @property
    def max_new_tokens(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def ray(self) -> str | None: ...


@contextmanager
def asking(config: Asks, model: ist.HookedLM, run: ist.Run) -> Iterator[dict[str, Any]]:
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
            yield options | {"cluster": cluster}
