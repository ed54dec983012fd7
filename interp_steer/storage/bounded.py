"""Text and JSON from files, read within bounds: no more than a stated size, and nothing is run.

Whatever is wrong with a file is said by an error of the caller's, which names the file.
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
"""The most bytes that are read of a file of text."""

AGAIN = "make it again, or copy it again from where it came"
"""The mend of a damaged file."""

Error = type[InterpSteerError]
"""What is raised."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Whatever error of ours comes from inside names the file.

    Raises:
        InterpSteerError: of its own type.
    """
    try:
        yield
    except InterpSteerError as failure:
        if str(path) in str(failure):
            raise
        raise type(failure)(f"{path}: {failure}") from failure


def regular(path: Path, error: Error, largest: int, mend: str = "give a file") -> Path:
    """Return the path when a regular file of at most so many bytes is there.

    Args:
        path: of the file.
        error: what to raise.
        largest: the most bytes.
        mend: what is to be done where there is none.

    Raises:
        InterpSteerError: of the given type, for anything else: no file, a folder, a device, too
            large a file.
    """
    try:
        there, size = path.is_file(), path.stat().st_size
    except (OSError, ValueError) as failure:
        raise error(f"{path} cannot be read: {failure}; {mend}") from failure
    if not there:
        raise error(f"{path} is no regular file; {mend}")
    if size > largest:
        raise error(
            f"{path} has {size:,} bytes, more than the {largest:,} that are read of such a file; "
            "look what it is, or split it"
        )
    return path


def read_text(
    path: Path, error: Error, largest: int = LARGEST_TEXT, mend: str = "give a UTF-8 file"
) -> str:
    """What a text file in UTF-8 holds.

    Args:
        path: of the file.
        error: what to raise.
        largest: the most bytes that are read.
        mend: what is to be done where there is no such file.

    Raises:
        InterpSteerError: of the given type, for a file that is not there, too large, or no such
            text.
    """
    try:
        with open(regular(path, error, largest, mend), "rb") as opened:
            return opened.read(largest).decode("utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise error(f"{path} cannot be read: {failure}; {mend}") from failure


def parse_json(text: str, where: str, error: Error, mend: str = AGAIN) -> Any:
    """What a text in JSON stands for.

    ``NaN`` and ``Infinity``, which JSON does not have, are refused, and so are numbers beyond a
    float and halves of characters (lone surrogates), which no tokenizer reads and no file takes.

    Args:
        text: the text.
        where: it stands.
        error: what to raise.
        mend: what is to be done about it.

    Raises:
        InterpSteerError: of the given type, for text that is no JSON.
    """

    def no_number(said: str) -> Any:
        raise ValueError(f"{said} is no number of JSON")

    def finite(said: str) -> float:
        number = float(said)
        return number if math.isfinite(number) else no_number(said)

    try:
        value = json.loads(text, parse_constant=no_number, parse_float=finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError, MemoryError) as failure:
        raise error(f"{where} is no JSON ({failure}); {mend}") from failure


def read_json(path: Path, error: Error, largest: int = LARGEST_TEXT) -> Any:
    """What a JSON file holds.

    Raises:
        InterpSteerError: of the given type, for a file that is not there, too large, or no JSON.
    """
    return parse_json(read_text(path, error, largest), str(path), error)


def read_json_lines(
    path: Path, error: Error, mend: str, otherwise: str = "give a JSONL file in UTF-8"
) -> dict[int, dict[str, Any]]:
    """The objects of a file that has one a line; blank lines are passed over.

    Args:
        path: the file.
        error: what to raise.
        mend: what is to be done about a line that is no object.
        otherwise: what is to be done where there is no such file.

    Returns:
        The objects by the number of their line, from 1.

    Raises:
        InterpSteerError: of the given type, for a file that is not there or too large, or a line
            that is no object, which is named.
    """
    rows = {}
    for number, line in enumerate(read_text(path, error, mend=otherwise).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number},"
            rows[number] = parse_json(line, where, error, mend)
            if not isinstance(rows[number], dict):
                raise error(f"{where} is a {type(rows[number]).__name__}; {mend}")
    return rows
