"""Write and read tensors: safetensors with a JSON header, the kind of the file and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp_steer.errors import InterpSteerError
from interp_steer.storage.atomic import write_atomically
from interp_steer.storage.bounded import AGAIN, check_file

FORMAT = 1
"""The version of the layout, in every header."""

LARGEST = 2**38
"""The greatest size of a file in bytes: square matrices of every layer of a large model."""

LARGEST_HEADER = 2**24
"""The greatest size of a header in bytes."""

_DAMAGED = f"it is missing or damaged: {AGAIN}"


def write_tensors(
    path: str | Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    error: type[InterpSteerError],
) -> None:
    """Write tensors and a header, completely or not at all.

    Args:
        path: the file; its folder must exist.
        kind: the kind of the content, such as ``"SteeringVector"``; :func:`read_tensors` checks it.
        tensors: the tensors by name.
        header: values that JSON can hold.
        error: the type of the error to raise.

    Raises:
        InterpSteerError: of the given type, when the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    metadata = {
        "interp_steer": kind,
        "format": str(FORMAT),
        "header": text,
        "sha256": _checksum(kind, text, tensors),
    }
    try:
        with write_atomically(path) as aside:
            save_file(tensors, aside, metadata=metadata)
            _sort_metadata(aside)
    except (OSError, SafetensorError) as failure:
        raise error(
            f"{path} cannot be written: {failure}; make its folder, free some space, or use "
            "another path"
        ) from failure


def read_tensors(
    path: str | Path,
    kind: str,
    error: type[InterpSteerError],
    needed: Sequence[str],
    *,
    integers: Sequence[str] = (),
    largest: int = LARGEST,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what :func:`write_tensors` wrote, bit for bit.

    Args:
        path: the file.
        kind: the kind that the content must be of.
        error: the type of the error to raise.
        needed: the tensors and entries of the header that the file must have.
        integers: the tensors that hold int64; the others hold floating-point numbers.
        largest: the greatest size in bytes.

    Returns:
        The tensors by name, and the header.

    Raises:
        InterpSteerError: of the given type, when the file is missing, too large, truncated, changed
            since it was written, of another kind, or made by another program.
    """
    _check_size(path, error, largest)
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            if "interp_steer" not in metadata:
                raise error(
                    f"{path} is a safetensors file, but not a {kind} of interp_steer (it holds "
                    f"{_list_some(names)}); give a file that interp_steer saved"
                )
            if metadata["interp_steer"] != kind:
                holds = metadata["interp_steer"][:80]
                raise error(f"{path} holds {holds}, not {kind}; give another")
            version = str(metadata.get("format"))
            if version != str(FORMAT):
                raise error(
                    f"{path} has format {version[:80]}, this version reads {FORMAT}; "
                    "read it with the version of interp_steer that wrote it"
                )
            tensors = {name: opened.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as failure:
        raise error(f"{path} cannot be read as safetensors ({failure}); {_DAMAGED}") from failure
    text = metadata.get("header", "")
    if metadata.get("sha256") != _checksum(kind, text, tensors):
        raise error(
            f"{path} does not match its checksum: it was changed after it was written; {AGAIN}"
        )
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    held = {*header, *tensors} if isinstance(header, dict) else set()
    if not isinstance(header, dict) or not held.issuperset(needed):
        lacking = ", ".join(name for name in needed if name not in held) or "a header"
        raise error(
            f"{path} calls itself a {kind}, but lacks {lacking}; it was not written by "
            "interp_steer: give another file"
        )
    for name, tensor in tensors.items():
        if tensor.dtype != torch.int64 if name in integers else not tensor.is_floating_point():
            raise error(
                f"{path} has {name[:80]} in {tensor.dtype}; it was not written by interp_steer: "
                "give another file"
            )
    return tensors, header


@contextmanager
def report_as(path: str | Path, error: type[InterpSteerError]) -> Iterator[None]:
    """Report the errors of a block that uses the content of a file as errors of the file.

    Args:
        path: the file.
        error: the type of the error to raise.

    Raises:
        InterpSteerError: of the given type, for every other error of ours, and for values of wrong
            types.
    """
    try:
        yield
    except InterpSteerError as failure:
        raise error(f"{path}: {failure}") from failure
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as failure:
        raise error(
            f"{path} does not hold what it says ({type(failure).__name__}: {failure!s:.200}); it "
            "was not written by interp_steer: give another file"
        ) from failure


def check_types(stored: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return the values of a header by name, each of a type that it may have.

    Args:
        stored: the content of the header.
        kinds: the types of each value; a value may be missing.

    Raises:
        TypeError: for a value of another type or an unknown name, or for anything but a dictionary.
    """
    if not isinstance(stored, dict):
        raise TypeError(f"{stored!r:.80} is not a dictionary of values")
    for name, value in stored.items():
        if not isinstance(value, kinds.get(name, ())) or isinstance(value, bool):
            raise TypeError(f"{name[:80]} is {value!r:.80}")
    return stored


def _check_size(path: str | Path, error: type[InterpSteerError], largest: int) -> None:
    try:
        with open(check_file(Path(path), error, largest, _DAMAGED), "rb") as file:
            header = int.from_bytes(file.read(8), "little")
    except OSError as failure:
        raise error(f"{path} cannot be read: {failure}; {_DAMAGED}") from failure
    if header > LARGEST_HEADER:
        raise error(
            f"{path} cannot be read as safetensors: its header has {header:,} bytes, more than the "
            f"{LARGEST_HEADER:,} that are read; {_DAMAGED}"
        )


def _sort_metadata(path: Path) -> None:
    """Sort the metadata, which safetensors writes in random order, so that equal contents give
    identical files."""
    with open(path, "r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > size:  # a longer header would overwrite the tensors
            raise OSError(f"a header of {size} bytes has {len(text)} when sorted")
        file.seek(8)
        file.write(text.ljust(size))


def _checksum(kind: str, header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{kind}\n{header}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _list_some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(sorted(names)[:3]) or "nothing") + more
