"""Damage to files, for fuzzers: bytes that change, JSON that says something else; and a watch on
what reading them does."""

from __future__ import annotations

import copy
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from interp_steer.errors import InterpSteerError

fuzzed = settings(
    max_examples=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Of every fuzzer; for more examples, make it more."""

# ------------------------------------------------------------------ bytes


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with bytes flipped, cut, put in, repeated or swapped; or anything else."""
    found = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(found) - 1, 0)))
        size = draw(st.integers(1, 32))
        kind = draw(st.sampled_from(["flip", "cut", "end", "insert", "repeat", "fill", "swap"]))
        if kind == "flip" and found:
            found[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del found[place : place + size]
        elif kind == "end":
            del found[place:]
        elif kind == "insert":
            found[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "repeat":
            found[place:place] = found[place : place + size] * draw(st.integers(1, 4))
        elif kind == "fill":
            found[place : place + size] = draw(st.sampled_from([b"\0", b"\xff", b"9"])) * size
        else:
            found[place : place + size] = found[:size]
    return bytes(found)


def any_bytes(whole: bytes) -> st.SearchStrategy[bytes]:
    """A damaged file, or bytes that were never one."""
    return st.one_of(damaged(whole), damaged(whole), st.binary(max_size=200))


# ------------------------------------------------------------------ JSON

OTHERS: tuple[Any, ...] = (
    None, True, 0, -1, 7, 10**30, 10**400, 0.5, 1e308, -0.0, "", " ", "x", "../../x", "/etc/passwd",
    "a\0b", "\ud800", "\u2028", "x" * 10_000, [], [[]], [None], ["x"], [0, 0], [1, 2, 3], {},
    {"x": 1}, {"../../x": {}}, [[[[[[[[]]]]]]]],
)  # fmt: skip
"""What may stand where something else should."""

RAW = (
    "NaN", "-Infinity", "1e999", "9" * 5000, "[" * 3000, '{"a":' * 3000, "", "'x'", "tru", "\x00",
)  # fmt: skip
"""What may stand there and is no JSON, or none that everyone reads."""

_HERE = "\ue000"  # stands where raw text goes, and in no file


def _places(value: Any) -> list[tuple[Any, ...]]:
    """The paths to everything in a value, its own among them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if _lists(value) else ()
    return [(), *((key, *rest) for key, each in inner for rest in _places(each))]


def _lists(value: Any) -> bool:
    return isinstance(value, list)


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with parts replaced, removed, added or renamed; no more than three of them."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = (None, *draw(st.sampled_from(_places(found))))
        other = copy.deepcopy(draw(st.sampled_from(OTHERS)))
        if last is None:
            if draw(st.booleans()):
                return other
            continue
        holder = found
        for step in way[1:]:
            holder = holder[step]
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "rename"]))
        if kind == "remove":
            del holder[last]
        elif kind == "add" and _lists(holder):
            holder.insert(last, other)
        elif kind == "add":
            holder[draw(st.sampled_from(["x", "../../x", "a\0b"]))] = other
        elif kind == "rename" and not _lists(holder):
            holder[draw(st.sampled_from(["x", "-1", "../../x", ""]))] = holder.pop(last)
        else:
            holder[last] = other
    return found


@st.composite
def altered_text(draw: st.DrawFn, value: Any) -> str:
    """A JSON value altered and written; or with something in it that is no JSON."""
    if draw(st.integers(0, 4)):
        return json.dumps(draw(altered(value)), ensure_ascii=draw(st.booleans()))
    found = copy.deepcopy(value)
    places = [place for place in _places(found) if place]
    if not places:
        return draw(st.sampled_from(RAW))
    *way, last = draw(st.sampled_from(places))
    holder = found
    for step in way:
        holder = holder[step]
    holder[last] = _HERE
    return json.dumps(found, ensure_ascii=False).replace(f'"{_HERE}"', draw(st.sampled_from(RAW)))


def as_bytes(text: str) -> bytes:
    """The text of a file, halves of characters and all."""
    return text.encode("utf-8", "surrogatepass")


# ------------------------------------------------------------------ what reading may not do

_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen",
    "pty.spawn", "socket.connect", "socket.getaddrinfo", "pickle.find_class", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "shutil.rmtree", "shutil.move",
    "ctypes.dlopen", "marshal.loads", "exec", "compile",
)  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR
_done: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _done is None or threading.current_thread() is not threading.main_thread():
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
    if event not in _FORBIDDEN and not writes:
        return
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return  # a library that was not needed until now
        if frame.f_code.co_filename.endswith(("typing.py", "jaxtyping/_decorator.py")):
            return  # checks of types, which are written as code
        frame = frame.f_back
    _done.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_watch)


@contextmanager
def nothing_is_done() -> Iterator[None]:
    """No process, no connection, no code and no file is made or changed while it lasts."""
    global _done
    _done = done = []
    try:
        yield
    finally:
        _done = None
    assert not done, done


def survives(read: Callable[[Path], Any], path: Path, named: Path | None = None) -> Any:
    """What a reader makes of a file, None where it refuses it by an error that names it.

    Args:
        read: the reader.
        path: what it reads.
        named: what the error names, where that is something else.
    """
    with nothing_is_done(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read(path)
        except InterpSteerError as error:
            assert str(named or path) in str(error), error
            return None
