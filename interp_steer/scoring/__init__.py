"""Scores of an answer: instruction verifiers (`ifeval`, `early`), fluency, language.

Example:
    >>> import interp_steer as ist
    >>> ist.scoring.ifeval.verify("no commas here", ["punctuation:no_comma"], [{}]).strict
    True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_steer.scoring import early as early
    from interp_steer.scoring import fluency as fluency
    from interp_steer.scoring import ifeval as ifeval
    from interp_steer.scoring import language as language

__all__ = ["early", "fluency", "ifeval", "language"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # imported when first used: fluency needs PyTorch, verdicts do not
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
