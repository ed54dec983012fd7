"""Define a pair of prompts: the values that its fields take, and how they are written as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from interp_steer.errors import ContrastError

_TEXTS = {"query", "split", "phrasing", "phrasing_kind", "key"}
_PROMPTS = {"present", "absent"}
_LISTS = {"instruction_ids": str, "kwargs": Mapping}


def shorten(value: Any) -> str:
    """Return a value as error messages show it, in 60 characters at most."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def check_types(values: Mapping[str, Any]) -> None:
    """Refuse values of a type that the fields of a pair cannot have.

    Args:
        values: the values by the names of the fields.

    Raises:
        ContrastError: naming the field, and what its value must be.
    """
    for name, value in values.items():
        if name in _TEXTS and not isinstance(value, str):
            raise ContrastError(f"{name} is {shorten(value)}; it must be a text")
        if name in _PROMPTS and not (isinstance(value, str) or _is_conversation(value)):
            raise ContrastError(
                f"{name} is {shorten(value)}; give a text, or a conversation of turns such as "
                "{'role': 'user', 'content': 'Name a tree.'}"
            )
        if name in _LISTS and not _is_list_of(value, _LISTS[name]):
            raise ContrastError(
                f"{name} is {shorten(value)}; instruction_ids is a list of IFEval ids, and kwargs "
                "a list with a mapping of arguments for each"
            )


def _is_list_of(values: Any, kind: type) -> bool:
    """Check whether a value is a list whose items are all of one kind."""
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    return listed and all(isinstance(value, kind) for value in values)


def _is_conversation(turns: Any) -> bool:
    return _is_list_of(turns, Mapping) and all(
        isinstance(turn.get(name), str) for turn in turns for name in ("role", "content")
    )


def canonical_json(content: Any) -> str:
    """Write content as JSON, in the same text whatever the order of its keys.

    Raises:
        ContrastError: for values that JSON cannot hold.
    """
    try:
        return json.dumps(
            content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise ContrastError(
            f"{shorten(content)} cannot be written as JSON ({error}); use texts, finite numbers, "
            "lists and mappings"
        ) from error


def encode_utf8(text: str) -> bytes:
    """Encode a text as UTF-8.

    Raises:
        ContrastError: for half a character (a lone surrogate).
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ContrastError(
            f"{shorten(text)} has half a character ({error}); read it anew as UTF-8"
        ) from error


def sha256(text: str) -> str:
    """Compute the sha256 of a text, in hexadecimal digits."""
    return hashlib.sha256(encode_utf8(text)).hexdigest()


Prompt = str | list[dict[str, str]]
"""A user's request: a text, or the messages of a conversation."""


SPLITS = ("fit", "select", "test")
"""The splits: vectors are fitted on the first, layers and strengths chosen on the second, and
results are reported on the third."""


KINDS = ("trained", "held-out", "unknown")
"""Whether the model under study was trained on a phrasing; "unknown" for models made elsewhere."""


@dataclass(frozen=True)
class Pair:
    """One request with the instruction (``present``) and without it (``absent``).

    Raises:
        ContrastError: when a side is empty or not a prompt, when both sides are the same, for an
            unknown split, or for a field of another type.

    Example:
        >>> Pair("Name a tree.", "Name a tree. No capitals.", "Name a tree.").phrasing
        '{query} No capitals.'
    """

    query: str
    """The bare request; splits share none."""
    present: Prompt
    """The request with the instruction, as the user says it (before any chat template)."""
    absent: Prompt
    """The same request without the instruction."""
    split: str = "fit"
    """One of :data:`SPLITS`."""
    phrasing: str = ""
    """How the instruction is said, without its arguments; splits share no phrasing. When not given:
    ``present`` with the query cut out, or the whole of ``present`` where the query is not in it."""
    phrasing_kind: str = "unknown"
    """One of :data:`KINDS`."""
    instruction_ids: tuple[str, ...] = ()
    """IFEval ids that an answer is verified against."""
    kwargs: tuple[Mapping[str, Any], ...] = ()
    """The arguments of each of ``instruction_ids``."""
    key: str = ""
    """A name that no other pair of the set has; a hash of the content when not given."""

    def __post_init__(self) -> None:
        check_types(vars(self))
        for side in ("present", "absent"):
            prompt = getattr(self, side)
            if not (prompt.strip() if isinstance(prompt, str) else prompt):
                raise ContrastError(
                    f"the pair of query {shorten(self.query)} has no {side!r} prompt; a contrast "
                    "needs both sides: give it, or drop the row"
                )
        if not self.query.strip():
            raise ContrastError(f"the pair of {shorten(self.present)} has an empty query; give it")
        if self.present == self.absent:
            raise ContrastError(
                f"both sides of query {shorten(self.query)} are the same prompt; "
                "'present' must carry the instruction and 'absent' must not"
            )
        _check_choice("split", self.split, SPLITS)
        _check_choice("phrasing_kind", self.phrasing_kind, KINDS)
        if len(self.instruction_ids) != len(self.kwargs):
            raise ContrastError(
                f"the pair of query {shorten(self.query)} has {len(self.instruction_ids)} "
                f"instruction_ids and {len(self.kwargs)} kwargs; give one mapping for each id"
            )
        if not self.phrasing:
            text = self.present if isinstance(self.present, str) else canonical_json(self.present)
            object.__setattr__(self, "phrasing", text.replace(self.query, "{query}"))
        if not self.key:
            object.__setattr__(self, "key", sha256(canonical_json(asdict(self)))[:12])

    @property
    def instruction_text(self) -> str:
        """Return the text of the instruction, which stands in ``present`` after the query.

        Raises:
            ContrastError: when ``present`` does not begin with the query, so that the instruction
                cannot be joined with another.
        """
        present = self.present if isinstance(self.present, str) else ""
        if not present.startswith(self.query):
            raise ContrastError(
                f"{shorten(self.present)} does not begin with its query {shorten(self.query)}, so "
                "that its instruction cannot be joined with another; put the instruction behind "
                "the query"
            )
        return present[len(self.query) :].strip()


def _check_choice(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ContrastError(f"{what} {value!r} is unknown; use one of {', '.join(known)}")
