"""Handle the files of results folders: safe names, one writer at a time, checksums, errors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interp_steer.errors import InterpSteerError, RunError
from interp_steer.storage import bounded

try:
    import fcntl
except ImportError:  # Windows, where two runs of one config can overwrite each other
    fcntl = None

FORMAT = 1
"""The version of the folder's layout, stored in its manifest."""

MANIFEST = "manifest.json"
"""The file that is written last: a folder without a manifest was not finished."""

AGAIN = "run the analysis again, or copy the folder again from where it was made"

LARGEST_DOCUMENT = 2**27
"""The greatest size of a JSON file of a results folder, in bytes."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_IN_WORDS = re.compile(r"no space left|os error 28|file too large|quota exceeded", re.I)


def folder_name(name: str) -> str:
    """Return a name as one safe path component.

    A path keeps its last part (``/data/models/my-model/`` becomes ``my-model``) and a hub name its
    owner (``google/gemma-2-2b-it`` becomes ``google--gemma-2-2b-it``). The result has only letters,
    digits and ``._+-``, no leading dot, and at most 80 characters.
    """
    text = unicodedata.normalize("NFKC", str(name)).replace("\\", "/").strip().rstrip("/")
    if text.startswith((".", "~", "/")) or re.match(r"^[A-Za-z]:/", text):
        text = text.rsplit("/", 1)[-1]
    text = text.replace("/", "--")
    text = re.sub(r"[^\w.+-]+", "-", text).strip(".-") or "unnamed"
    if len(text.encode()) > 80:
        text = text.encode()[:70].decode(errors="ignore") + "-" + _sha(text.encode())[:8]
    return text


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a failure to write below ``path`` into a :class:`RunError` that names a fix.

    Libraries that write through native code report a full disk in other errors, so the text of
    every error is searched.
    """
    try:
        yield
    except InterpSteerError:
        raise
    except Exception as error:
        if "null byte" in str(error):
            raise RunError(f"{str(path)!r} is not a path; give another results root") from error
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or _FULL_IN_WORDS.search(str(error)):
            raise RunError(f"{path} cannot be written: {_explain_full_disk(path)}") from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(
                f"{path} cannot be written ({error}); give a results root that "
                "this user may write to, for example --results ~/results"
            ) from error
        if isinstance(error, (NotADirectoryError, FileExistsError)):
            raise RunError(
                f"{path} cannot be made: a file lies where a folder should be ({error}); move the "
                "file, or give another results root with --results"
            ) from error
        if isinstance(error, OSError):
            raise RunError(
                f"{path} cannot be written ({error}); fix that, or give another results root "
                "with --results"
            ) from error
        raise


def _explain_full_disk(path: Path) -> str:
    existing = next((p for p in (path, *path.parents) if p.exists()), Path())
    free = shutil.disk_usage(existing).free
    return (
        f"no room is left on its disk ({free / 1e6:.1f} MB free); free some, or give a results "
        "root on another disk with --results; earlier results are unchanged"
    )


class Lock:
    """A lock that admits one writer to a results folder; the system releases it with the process.

    Args:
        path: the lock file.

    Raises:
        RunError: from :meth:`acquire` when another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def acquire(self) -> None:
        """Take the lock."""
        with explain_write_errors(self.path):
            self._file = open(self.path, "a+")  # noqa: SIM115  held until release
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            self._file = None
            raise RunError(
                f"{self.path.parent} has a run of this config under way (process {holder}); wait "
                "for it to end, or give another --results or --seed"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def to_json_values(value: Any) -> Any:
    """Return a value as plain JSON values, whatever types a config used.

    Raises:
        RunError: for values that JSON does not have, such as nan.
    """
    try:
        text = json.dumps(value, default=str, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return bounded.parse_json(text, "the config", RunError)
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(
            f"{value!r:.200} cannot be written as JSON ({error}); give texts, finite numbers, "
            "lists and mappings"
        ) from error


def resolve_inside(folder: Path, name: str) -> Path:
    """Return the path of a name in a folder.

    Raises:
        RunError: for a name that leads out of the folder.
    """
    try:
        path = folder / name
        if folder.resolve() in path.resolve().parents:
            return path
    except (OSError, ValueError) as error:
        raise RunError(f"file {name!r:.200} is not a path ({error}); give a plain name") from error
    raise RunError(f"file {name!r:.200} lies outside of {folder}; give a plain name")


def document_hash(document: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of a JSON document with sorted keys."""
    return _sha(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())[:12]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file of a results folder.

    Raises:
        RunError: for a file that is missing, too large or not JSON.
    """
    return bounded.read_json(path, RunError, LARGEST_DOCUMENT)


def make_manifest(folder: Path, **facts: Any) -> dict[str, Any]:
    """Make the manifest of a folder with all other files: facts, and a checksum per file."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    return {"format": FORMAT, **facts, "files": sums}


def check_manifest(folder: Path) -> dict[str, Any]:
    """Check a folder against its manifest and return the manifest.

    Raises:
        RunError: when the folder is missing, half-written, edited or of another format.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is not a results folder; run the analysis that leaves it")
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{folder} has no {MANIFEST}: it was not finished; {AGAIN}")
    contents = read_json(folder / MANIFEST)
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        version = contents.get("format") if isinstance(contents, dict) else None
        raise RunError(
            f"{folder / MANIFEST} has format {version!r} and this version reads {FORMAT}; read it "
            "with the version of interp_steer that wrote it"
        )
    files = contents.get("files")
    if not isinstance(files, dict) or not all(isinstance(each, str) for each in files.values()):
        raise RunError(f"{folder / MANIFEST} lists no files; {AGAIN}")
    for name, expected in files.items():
        try:
            path = resolve_inside(folder, name)
        except RunError as error:
            raise RunError(f"{folder / MANIFEST} does not belong to a run: {error}") from None
        if not path.is_file():
            raise RunError(f"{path} is missing; {AGAIN}")
        if (actual := checksum(path)) != expected:
            raise RunError(
                f"{path} is not the file that the run left (sha256 {actual[:12]}, "
                f"manifest {expected[:12]}); {AGAIN}"
            )
    return contents


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
