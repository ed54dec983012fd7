"""Store answers in a file, so that a sweep that is repeated, extended or resumed computes only the
answers that are new."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from interp_steer.errors import GenerationError
from interp_steer.generation.request import Answer
from interp_steer.interventions.intervention import Intervention
from interp_steer.storage.bounded import check_file

try:
    import fcntl
except ImportError:  # Windows: appends of one process at a time are safe without it
    fcntl = None

_PACKAGES = ("torch", "transformers", "transformer-lens", "tokenizers")
"""Installed packages whose version can change an answer."""

ANSWERING_PACKAGES = ("models", "interventions", "generation")
"""Packages of interp_steer whose code can change an answer; changed code is not served stored
answers. The code of other packages (fitting, scoring, figures) reaches an answer only through the
prompts and the interventions, which are in its key."""

LARGEST = 2**34
"""The largest ledger, in bytes, that is read."""


class Ledger:
    """A file of answers, each under a hash of everything that can change the answer.

    Every answer is one line with a checksum, appended as soon as the answer has ended. After
    ``kill -9`` or a full disk at most one incomplete line is left; it is skipped, and its answer is
    computed again. Several processes may append to one ledger.

    Args:
        path: the file; made with its folder when the first answer is kept.

    Attributes:
        damaged: the number of lines that were skipped because they do not match their checksum.
        reused: the number of answers that were taken from the ledger.

    Raises:
        GenerationError: when the file exists and cannot be read.

    Example:
        >>> ledger = Ledger("results/answers.jsonl")
        >>> answers = ist.generate(model, prompts, steer, max_new_tokens=8, ledger=ledger)
        >>> len(ledger)
        2
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.damaged = 0
        self.reused = 0
        self._answers: dict[str, Answer] = {}
        for line in self._lines():
            entry = _parse_line(line)
            if entry is None:
                self.damaged += 1
            else:
                self._answers[entry[0]] = entry[1]

    def _lines(self) -> Iterator[bytes]:
        fix = "give another path"
        try:
            if self.path.exists():
                with open(check_file(self.path, GenerationError, LARGEST, fix), "rb") as file:
                    yield from filter(None, (line.rstrip(b"\n") for line in file))
        except (OSError, ValueError) as error:
            if isinstance(error, GenerationError):
                raise
            raise GenerationError(
                f"the ledger {self.path} cannot be read ({error}); {fix}"
            ) from None

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def take(self, key: str) -> Answer:
        """Return the answer under a key that the ledger has, and count it as reused."""
        self.reused += 1
        return self._answers[key]

    def keep(self, key: str, answer: Answer) -> None:
        """Append an answer.

        Raises:
            GenerationError: when the answer cannot be written, for instance because the disk is
                full; the earlier answers are kept.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                incomplete = file.read(1) not in (b"", b"\n")
                # One write, which first closes a line that a killed process left open.
                file.write((b"\n" if incomplete else b"") + _format_line(key, answer) + b"\n")
        except OSError as error:
            raise GenerationError(
                f"an answer could not be kept in {self.path} ({error.strerror}); free some space "
                f"or give another path. The {len(self)} earlier answers are kept"
            ) from None
        self._answers[key] = answer


def _format_line(key: str, answer: Answer) -> bytes:
    content: list[Any] = [key, answer.finish_reason, list(answer.tokens), answer.text]
    text = json.dumps(content, ensure_ascii=True)
    return json.dumps([hashlib.sha256(text.encode()).hexdigest()[:16], *content]).encode()


def _parse_line(line: bytes) -> tuple[str, Answer] | None:
    """Return the key and the answer of a line, or None for a line that was not written whole."""
    try:
        _, key, finish_reason, tokens, text = json.loads(line)
        texts = all(isinstance(value, str) for value in (key, finish_reason, text))
        if not texts or not all(type(token) is int for token in tokens):
            return None
        answer = Answer(text, tuple(tokens), finish_reason)
        return (key, answer) if _format_line(key, answer) == line else None
    except (ValueError, TypeError, RecursionError):
        return None


def compute_keys(
    fingerprint: str,
    prompts: Sequence[Sequence[int]],
    steering: Sequence[Intervention],
    choices: Sequence[str],
    **settings: Any,
) -> list[str]:
    """Compute the key of each row: a hash of everything that can change its answer.

    Args:
        fingerprint: of the model's weights and configuration.
        prompts: token ids of each row.
        steering: the intervention of each row; every number of its directions is hashed.
        choices: a text per row that says how its tokens are drawn.
        settings: everything else that can change an answer.
    """
    common = json.dumps([fingerprint, _identify_program(), settings], sort_keys=True)
    acting = {id(intervention): _hash_steering(intervention) for intervention in steering}
    return [
        hashlib.sha256(
            json.dumps([common, list(prompt), acting[id(intervention)], choice]).encode()
        ).hexdigest()
        for prompt, intervention, choice in zip(prompts, steering, choices, strict=True)
    ]


def _hash_steering(intervention: Intervention) -> list[str]:
    """Return the line of an intervention, and the hashes of its directions."""
    parts = [str(intervention)]
    for edit in intervention.edits:
        linear = edit.direction.linear
        tensors = [] if linear is None else [linear.matrix, linear.origin]
        for tensor in (edit.direction.vector, *tensors):
            raw = tensor.detach().float().cpu().contiguous()
            parts.append(hashlib.sha256(raw.numpy().tobytes()).hexdigest())
        parts.append(repr(edit.value))
    return parts


@cache
def _identify_program() -> str:
    """Return what identifies the running program: a hash of its sources and the versions."""
    versions = (f"{name}-{version(name)}" for name in _PACKAGES)
    return " ".join([hash_sources(Path(__file__).parents[1]), *versions])


def hash_sources(root: Path) -> str:
    """Hash the sources of the packages whose code can change an answer.

    Args:
        root: the folder of ``interp_steer``.

    Returns:
        64 hexadecimal digits, which change with the content, the path or the number of the files.
    """
    digest = hashlib.sha256()
    for package in ANSWERING_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            content = path.read_bytes()
            name = path.relative_to(root).as_posix()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
