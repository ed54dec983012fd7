"""Answers that were given before, so that a sweep that is repeated, extended or taken up again
computes only what is new."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from interp_steer.errors import GenerationError
from interp_steer.interventions.intervention import Intervention
from interp_steer.storage.bounded import check_file

try:
    import fcntl
except ImportError:  # Windows: appends of one process at a time are safe without it
    fcntl = None

_MATTER = ("torch", "transformers", "transformer-lens", "tokenizers")
"""Packages another version of which may answer otherwise."""


LARGEST = 2**34
"""The most bytes of a ledger that is read."""


@dataclass(frozen=True)
class CachedAnswer:
    """An answer as the ledger keeps it; the fields are those of a completion."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: str


class Ledger:
    """A file of answers, each under a hash of everything that can change it.

    Every answer is one line, appended as soon as it is whole, with a checksum of its own: after
    ``kill -9`` or a full disk a torn line is left at most, which is passed over and computed again.
    Several processes may append to one ledger.

    Args:
        path: the file; made with its folder when the first answer is kept.

    Attributes:
        damaged: how many lines were passed over because they do not match their checksum.
        reused: how many answers were taken from the ledger.

    Raises:
        GenerationError: when the file is there and cannot be read.

    Example:
        >>> ledger = Ledger("results/answers.jsonl")                      # doctest: +SKIP
        >>> ist.generate(model, prompts, steer, ledger=ledger)            # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.damaged = 0
        self.reused = 0
        self._kept: dict[str, CachedAnswer] = {}
        for line in self._lines():
            entry = _entry(line)
            if entry is None:
                self.damaged += 1
            else:
                self._kept[entry[0]] = entry[1]

    def _lines(self) -> Iterator[bytes]:
        mend = "give another path"
        try:
            if self.path.exists():
                with open(check_file(self.path, GenerationError, LARGEST, mend), "rb") as file:
                    yield from filter(None, (line.rstrip(b"\n") for line in file))
        except (OSError, ValueError) as error:
            if isinstance(error, GenerationError):
                raise
            raise GenerationError(
                f"the ledger {self.path} cannot be read ({error}); {mend}"
            ) from None

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __getitem__(self, key: str) -> CachedAnswer:
        return self._kept[key]

    def take(self, key: str) -> CachedAnswer:
        """The answer under a key that the ledger has, counted as reused."""
        self.reused += 1
        return self._kept[key]

    def keep(self, key: str, kept: CachedAnswer) -> None:
        """Append an answer.

        Raises:
            GenerationError: when it cannot be written, for instance because the disk is full; the
                answers before it are kept.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                torn = file.read(1) not in (b"", b"\n")
                # In one write, after closing a line that a killed process left open.
                file.write((b"\n" if torn else b"") + _line(key, kept) + b"\n")
        except OSError as error:
            raise GenerationError(
                f"an answer could not be kept in {self.path} ({error.strerror}); free some room or "
                f"give another path. The {len(self)} answers before it are kept"
            ) from None
        self._kept[key] = kept


def _line(key: str, kept: CachedAnswer) -> bytes:
    content: list[Any] = [key, kept.finish_reason, list(kept.tokens), kept.text]
    text = json.dumps(content, ensure_ascii=True)
    return json.dumps([hashlib.sha256(text.encode()).hexdigest()[:16], *content]).encode()


def _entry(line: bytes) -> tuple[str, CachedAnswer] | None:
    """The key and answer of a line; None when it is not what was written."""
    try:
        _, key, finish_reason, tokens, text = json.loads(line)
        texts = all(isinstance(each, str) for each in (key, finish_reason, text))
        if not texts or not all(type(token) is int for token in tokens):
            return None
        kept = CachedAnswer(text, tuple(tokens), finish_reason)
        return (key, kept) if _line(key, kept) == line else None
    except (ValueError, TypeError, RecursionError):
        return None


def keys(
    fingerprint: str,
    prompts: Sequence[Sequence[int]],
    steering: Sequence[Intervention],
    choices: Sequence[str],
    **settings: Any,
) -> list[str]:
    """The key of each row.

    Args:
        fingerprint: of the model's weights and configuration.
        prompts: token ids of each row.
        steering: the intervention of each row; its directions count with every number.
        choices: of each row, whatever decides how its tokens are drawn.
        settings: whatever else can change an answer.
    """
    common = json.dumps([fingerprint, _program(), settings], sort_keys=True)
    acting = {id(one): _steering(one) for one in steering}
    return [
        hashlib.sha256(
            json.dumps([common, list(prompt), acting[id(one)], choice]).encode()
        ).hexdigest()
        for prompt, one, choice in zip(prompts, steering, choices, strict=True)
    ]


def _steering(intervention: Intervention) -> list[str]:
    said = [str(intervention)]
    for edit in intervention.edits:
        linear = edit.direction.linear
        parts = [] if linear is None else [linear.matrix, linear.origin]
        for tensor in (edit.direction.vector, *parts):
            raw = tensor.detach().float().cpu().contiguous()
            said.append(hashlib.sha256(raw.numpy().tobytes()).hexdigest())
        said.append(repr(edit.value))
    return said


@cache
def _program() -> str:
    """What runs the model: this package as it stands, and the versions that matter."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    ours = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return " ".join([ours, *(f"{name}-{version(name)}" for name in _MATTER)])
