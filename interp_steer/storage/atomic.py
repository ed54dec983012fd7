"""Write aside, then rename: a file is either whole or not there."""

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
    that a reader never meets a half-written file, whatever stops the writer. It lies in a hidden
    folder beside ``path``, with whatever the library that writes it puts next to it; what a killed
    writer left there is removed by the next one. Of several writers of one file each waits for the
    one before it.

    Args:
        path: where the finished file goes; its folder must exist.

    Raises:
        OSError: when the folder cannot be written (the caller names the mend).
    """
    path = Path(path)
    with _folder_of_our_own(path.with_name(f".{path.name}.part")) as folder:
        aside = folder / path.name
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # some libraries make private files
        os.replace(aside, path)


@contextmanager
def _folder_of_our_own(folder: Path) -> Iterator[Path]:
    """An empty folder that no other process uses meanwhile; it is gone afterwards."""
    held = _held(folder)
    try:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _held(folder: Path) -> int | None:
    """The folder, made and opened; the system lets go of it however its holder ends."""
    while True:
        folder.mkdir(exist_ok=True)
        if fcntl is None:
            return None
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # its last holder has just removed it
            continue
        with suppress(OSError):  # there are file systems without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        os.close(handle)
