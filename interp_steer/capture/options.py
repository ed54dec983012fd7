"""Configure how a pass over prompts is run: batches, checkpoints and a callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interp_steer.errors import CaptureError

PAIRS_AT_ONCE = 256
"""The default number of pairs whose activations are held while their differences are taken."""


@dataclass(frozen=True)
class CaptureOptions:
    """Options of how a capture is run; they do not change which activations are read.

    Neighbours in a batch and padding change an activation by less than 1e-4 in float32.

    Raises:
        CaptureError: for a size below 1.
    """

    batch_size: int = 32
    """The most prompts in a batch. A batch that does not fit in memory is halved."""
    batch_tokens: int = 8192
    """The most tokens in a batch, padding included."""
    pairs_at_once: int = PAIRS_AT_ONCE
    """How many pairs' activations are held at a time, where single pairs are compared."""
    checkpoint: str | Path | None = None
    """Where to write the moments as they grow: a file for
    :func:`interp_steer.capture.capture_moments`, the beginning of the names of files for
    :func:`interp_steer.capture.capture_contrast`, a folder for :func:`interp_steer.fit`.

    An interrupted pass continues from there and leaves the same moments, bit for bit. A checkpoint
    does not record edits made within ``model.steered(...)``: give each of those a file of its own.
    """
    checkpoint_seconds: float = 60.0
    """The least time between two writes, in seconds."""
    on_read: Callable[[int], None] | None = None
    """Called after each batch with its number of prompts. An exception that it raises ends the
    pass."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_tokens", "pairs_at_once"):
            if getattr(self, name) < 1:
                raise CaptureError(f"{name} is {getattr(self, name)}; it must be at least 1")


DEFAULT_OPTIONS = CaptureOptions()
"""The options of a capture that is given none."""
