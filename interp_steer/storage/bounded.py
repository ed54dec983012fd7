"""Read text and JSON from files within bounds: no more than a fixed size, and nothing is run.

A fault of a file raises an error of the caller's type, which names the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interp_steer.errors import InterpSteerError

LARGEST_TEXT = 2**30
"""The greatest size of a file of text, in bytes."""

AGAIN = "make it again, or copy it again from where it came"
"""The fix of a damaged file."""

Error = type[InterpSteerError]
"""The type of the error to raise."""


@contextmanager
def add_path_to_errors(path: Path) -> Iterator[None]:
    """Make every error of ours that the block raises name the file.

    Args:
        path: the file.

    Raises:
        InterpSteerError: of the type that the block raised.
    """
    try:
        yield
    except InterpSteerError as failure:
        if str(path) in str(failure):
            raise
        raise type(failure)(f"{path}: {failure}") from failure


def check_file(path: Path, error: Error, largest: int, fix: str = "give a file") -> Path:
    """Return the path of a regular file of at most so many bytes.

    Args:
        path: the file.
        error: the type of the error to raise.
        largest: the greatest size in bytes.
        fix: the fix that the error names where the file is missing.

    Raises:
        InterpSteerError: of the given type, for a missing file, a folder, a device, or a file that
            is too large.
    """
    try:
        there, size = path.is_file(), path.stat().st_size
    except (OSError, ValueError) as failure:
        raise error(f"{path} cannot be read: {failure}; {fix}") from failure
    if not there:
        raise error(f"{path} is not a regular file; {fix}")
    if size > largest:
        raise error(
            f"{path} has {size:,} bytes, more than the {largest:,} that are read of such a file; "
            "look what it is, or split it"
        )
    return path


def read_text(
    path: Path, error: Error, largest: int = LARGEST_TEXT, fix: str = "give a UTF-8 file"
) -> str:
    """Return the content of a text file in UTF-8.

    Args:
        path: the file.
        error: the type of the error to raise.
        largest: the greatest size in bytes.
        fix: the fix that the error names where the file is missing or not UTF-8.

    Raises:
        InterpSteerError: of the given type, for a file that is missing, too large, or not UTF-8.
    """
    try:
        with open(check_file(path, error, largest, fix), "rb") as opened:
            return opened.read(largest).decode("utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise error(f"{path} cannot be read: {failure}; {fix}") from failure


def parse_json(text: str, where: str, error: Error, fix: str = AGAIN) -> Any:
    """Return the value that a text in JSON stands for.

    ``NaN`` and ``Infinity``, which JSON does not have, are refused, and so are numbers beyond a
    float and halves of characters (lone surrogates), which no tokenizer reads and no file takes.

    Args:
        text: the text.
        where: the place of the text, for the error message.
        error: the type of the error to raise.
        fix: the fix that the error names.

    Raises:
        InterpSteerError: of the given type, for text that is not JSON.
    """

    def refuse_number(literal: str) -> Any:
        raise ValueError(f"{literal} is not a number of JSON")

    def parse_finite(literal: str) -> float:
        number = float(literal)
        return number if math.isfinite(number) else refuse_number(literal)

    try:
        value = json.loads(text, parse_constant=refuse_number, parse_float=parse_finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError, MemoryError) as failure:
        raise error(f"{where} is not JSON ({failure}); {fix}") from failure


def read_json(path: Path, error: Error, largest: int = LARGEST_TEXT) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        error: the type of the error to raise.
        largest: the greatest size in bytes.

    Raises:
        InterpSteerError: of the given type, for a file that is missing, too large, or not JSON.
    """
    return parse_json(read_text(path, error, largest), str(path), error)


def read_json_lines(
    path: Path, error: Error, fix: str, otherwise: str = "give a JSONL file in UTF-8"
) -> dict[int, dict[str, Any]]:
    """Return the objects of a file with one object on each line; skip blank lines.

    Args:
        path: the file.
        error: the type of the error to raise.
        fix: the fix that the error names for a line that is not an object.
        otherwise: the fix that the error names where the file cannot be read.

    Returns:
        The objects by the number of their line, from 1.

    Raises:
        InterpSteerError: of the given type, for a file that is missing or too large, or naming the
            line that is not an object.
    """
    rows = {}
    for number, line in enumerate(read_text(path, error, fix=otherwise).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number},"
            rows[number] = parse_json(line, where, error, fix)
            if not isinstance(rows[number], dict):
                raise error(f"{where} is a {type(rows[number]).__name__}; {fix}")
    return rows
