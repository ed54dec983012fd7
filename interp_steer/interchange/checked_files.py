"""Read files of other tools within bounds: run nothing in them, and read no more than a fixed size.

A fault of a file is reported by an :class:`~interp_steer.errors.InterchangeError`.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from interp_steer.errors import InterchangeError
from interp_steer.storage import bounded
from interp_steer.storage.atomic import write_atomically
from interp_steer.storage.bounded import AGAIN

LARGEST = 2**29
"""The greatest size of a file of tensors, in bytes."""

LARGEST_TEXT = 2**27
"""The greatest size of a file of text, in bytes."""

_MOST_ENTRIES = 4096  # of an archive; a vector of every layer has two for each


def check_file(path: Path) -> Path:
    """Return the path of a regular file of at most :data:`LARGEST` bytes.

    Raises:
        InterchangeError: for a missing file, a folder, a device, or a file that is too large.
    """
    return bounded.check_file(path, InterchangeError, LARGEST)


def check_name(name: str, what: str) -> str:
    """Return a name that may stand in a canonical line and is harmless as a part of a path.

    Args:
        name: the name.
        what: the thing that it names, for error messages.

    Raises:
        InterchangeError: for path separators, ``..``, control characters, ``@ [ ]``, or an empty
            name.
    """
    if (
        not 0 < len(name) <= 200
        or name != name.strip()
        or name.startswith((".", "~"))
        or ".." in name
        or re.search(r"[@\[\]/\\\x00-\x1f\x7f]", name)
    ):
        raise InterchangeError(
            f"{what} is {name[:80]!r}, which is empty or too long, begins in a dot or ~, begins or "
            "ends in a space, or holds a path separator, '..', a control character or one of "
            "@ [ ]; give another one with name="
        )
    return name


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; refuse ``NaN`` and ``Infinity``, which JSON lacks.

    Raises:
        InterchangeError: for a file that is missing, too large, or not JSON.
    """
    return bounded.read_json(path, InterchangeError, LARGEST_TEXT)


def parse_json(text: str, where: str) -> Any:
    """Return the value that a text in JSON stands for.

    Args:
        text: the text.
        where: the place of the text, for error messages.

    Raises:
        InterchangeError: for text that is not JSON.
    """
    return bounded.parse_json(text, where, InterchangeError)


def read_pt(path: Path) -> Any:
    """Load what ``torch.save`` wrote, with ``weights_only=True``: tensors and plain containers.

    The archive must be uncompressed, as ``torch.save`` writes it since PyTorch 1.6, so that its
    content is never larger than the file.

    Raises:
        InterchangeError: for a file that would run code when opened, of the older layout,
            damaged, too large, or of another kind.
    """
    _check_archive(check_file(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        does = f"would run {named[1]}" if named else "is more than tensors and containers"
        raise InterchangeError(
            f"{path} {does} when it is opened, so it was not opened; if you trust its author, "
            "load it with the tool that wrote it and save its tensors alone"
        ) from error
    except Exception as error:  # a damaged archive can make the loader raise anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InterchangeError(f"{path} cannot be read by PyTorch ({first}); {AGAIN}") from error


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:
        raise InterchangeError(
            f"{path} is not an archive of torch.save ({error}), or was written before PyTorch 1.6; "
            f"{AGAIN}, or load it with the tool that wrote it and save its tensors anew"
        ) from error
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    outside = [
        entry.filename
        for entry in entries
        if entry.filename.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", entry.filename)
    ]
    if packed or outside or len(entries) > _MOST_ENTRIES:
        wrong = (
            f"entries that lead out of it, such as {outside[0][:80]!r}"
            if outside
            else f"compressed entries, such as {packed[0][:80]!r}"
            if packed
            else f"{len(entries)} entries, more than {_MOST_ENTRIES}"
        )
        raise InterchangeError(f"{path} has {wrong}, as torch.save never writes; look what it is")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > LARGEST:
        raise InterchangeError(
            f"{path} says it holds {unpacked:,} bytes, more than the {LARGEST:,} that are read"
        )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Load a safetensors file: the tensors by name, and the metadata.

    Raises:
        InterchangeError: for a file that is missing, too large, damaged, or of another kind.
    """
    try:
        with safe_open(check_file(path), framework="pt") as opened:
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InterchangeError(f"{path} is not a safetensors file ({error}); {AGAIN}") from error


def check_tensor(value: Any, what: str, ndim: int = 1) -> Float[Tensor, "..."]:
    """Return a tensor from a file, checked and in float32.

    Args:
        value: the value in the file.
        what: its name, for error messages.
        ndim: the number of axes that it must have.

    Raises:
        InterchangeError: for anything but a dense tensor of finite real numbers with so many axes.
    """
    if (
        type(value) not in (Tensor, nn.Parameter)
        or value.layout != torch.strided
        or value.device.type != "cpu"
        or not value.is_floating_point()
    ):
        kind = f"a {value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise InterchangeError(
            f"{what} is {kind}; it must be a dense tensor of real floating-point numbers"
        )
    if value.ndim != ndim or 0 in value.shape:
        raise InterchangeError(
            f"{what} has shape {tuple(value.shape)}; it must have {ndim} "
            f"{'axis' if ndim == 1 else 'axes'}, none of them empty"
        )
    # A view can claim far more numbers than the storage that it views.
    if value.numel() * 4 > LARGEST or value.numel() > value.untyped_storage().nbytes():
        raise InterchangeError(
            f"{what} claims {value.numel():,} numbers, more than the file holds or than are read"
        )
    exact = value.detach().float().clone()
    if not bool(exact.isfinite().all()):
        raise InterchangeError(f"{what} has nan or inf, or numbers beyond float32; make it again")
    return exact


def check_numbers(value: Any, what: str) -> Float[Tensor, " d_model"]:
    """Return a list of numbers from a JSON file as a float32 tensor.

    Args:
        value: the value in the file.
        what: its name, for error messages.

    Raises:
        InterchangeError: for anything but a list of finite numbers.
    """
    if not isinstance(value, list) or not all(type(each) in (int, float) for each in value):
        raise InterchangeError(f"{what} is not a list of numbers; {AGAIN}")
    try:
        return check_tensor(torch.tensor(value, dtype=torch.float64), what)
    except (OverflowError, RuntimeError) as error:
        raise InterchangeError(f"{what} has a number out of range ({error}); {AGAIN}") from error


def check_integer(value: Any, what: str, least: int = 0, most: int = 4095) -> int:
    """Return an integer from a file.

    Args:
        value: the value in the file.
        what: its name, for error messages.
        least: the least that it may be.
        most: the most that it may be.

    Raises:
        InterchangeError: for anything but an integer in range.
    """
    if type(value) is not int or not least <= value <= most:
        raise InterchangeError(
            f"{what} is {str(value)[:40]!r}; it must be an integer from {least} to {most}"
        )
    return value


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a path that its tool would not recognise.

    Raises:
        InterchangeError: for another suffix than the tool expects.
    """
    if path.suffix not in suffixes:
        raise InterchangeError(
            f"{path} ends in {path.suffix!r}; its tool expects {' or '.join(suffixes)}"
        )


def write_file(path: Path, content: bytes) -> None:
    """Write a file completely, or not at all.

    Raises:
        InterchangeError: for a file that cannot be written.
    """
    try:
        with write_atomically(path) as aside:
            aside.write_bytes(content)
    except OSError as error:
        raise InterchangeError(
            f"{path} cannot be written: {error}; make its folder, free some space, or use another "
            "path"
        ) from error


def torch_bytes(content: Mapping[Any, Any] | Tensor) -> bytes:
    """Return the bytes that ``torch.save`` writes; they do not depend on the name of the file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
