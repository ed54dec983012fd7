"""Write to a temporary path, then rename: a file is complete or missing, never half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: a file is written by one process at a time
    fcntl = None


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` when the block succeeds.

    The temporary file is flushed to disk before the rename and removed when the block raises, so
    that a reader never meets a half-written file, whatever stops the writer. The file lies in a
    hidden folder next to ``path``, together with any files that the writing library adds. Files
    that a killed writer left there are removed by the next writer. Several writers of a file write
    one after the other.

    Args:
        path: the finished file; its folder must exist.

    Raises:
        OSError: when the folder cannot be written (the caller names the fix).
    """
    path = Path(path)
    with _make_private_folder(path.with_name(f".{path.name}.part")) as folder:
        aside = folder / path.name
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # some libraries make private files
        os.replace(aside, path)


@contextmanager
def _make_private_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that no other process uses meanwhile; remove it afterwards."""
    handle = _lock_folder(folder)
    try:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _lock_folder(folder: Path) -> int | None:
    """Make and lock a folder, and return its handle; None without locks.

    The system releases the lock when the process ends, however it ends.
    """
    while True:
        folder.mkdir(exist_ok=True)
        if fcntl is None:
            return None
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another writer has just removed the folder
            continue
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        os.close(handle)
