"""Write aside, then rename: a file is either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    The temporary file is flushed to disk before the rename and removed when the block raises, so
    that a reader never meets a half-written file, whatever stops the writer.

    Args:
        path: where the finished file goes; its folder must exist.

    Raises:
        OSError: when the folder cannot be written (the caller names the mend).
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(
            0o666 & ~umask
        )  # mkstemp makes private files; a result is as readable as others
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
