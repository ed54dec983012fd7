"""What may stand in a pair of prompts, and how it is written as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from interp_steer.errors import ContrastError

_TEXTS = {"query", "split", "phrasing", "phrasing_kind", "key"}
_PROMPTS = {"present", "absent"}
_LISTS = {"instruction_ids": str, "kwargs": Mapping}


def brief(value: Any) -> str:
    """A value as error messages show it."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def check_types(values: Mapping[str, Any]) -> None:
    """Refuse what cannot be in the fields of a pair.

    Args:
        values: of the fields by name.

    Raises:
        ContrastError: naming the field, and what it must be.
    """
    for name, value in values.items():
        if name in _TEXTS and not isinstance(value, str):
            raise ContrastError(f"{name} is {brief(value)}; it must be a text")
        if name in _PROMPTS and not (isinstance(value, str) or _is_conversation(value)):
            raise ContrastError(
                f"{name} is {brief(value)}; give a text, or a conversation of turns such as "
                "{'role': 'user', 'content': 'Name a tree.'}"
            )
        if name in _LISTS and not _all(value, _LISTS[name]):
            raise ContrastError(
                f"{name} is {brief(value)}; instruction_ids is a list of IFEval ids, and kwargs a "
                "list with a mapping of arguments for each"
            )


def _all(values: Any, kind: type) -> bool:
    """Whether it is a list of nothing else."""
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    return listed and all(isinstance(each, kind) for each in values)


def _is_conversation(turns: Any) -> bool:
    return _all(turns, Mapping) and all(
        isinstance(turn.get(name), str) for turn in turns for name in ("role", "content")
    )


def canonical(content: Any) -> str:
    """Content as JSON, the same text whatever its order of keys.

    Raises:
        ContrastError: for what JSON cannot hold.
    """
    try:
        return json.dumps(
            content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise ContrastError(
            f"{brief(content)} cannot be written as JSON ({error}); use texts, finite numbers, "
            "lists and mappings"
        ) from error


def utf8(text: str) -> bytes:
    """A text as a file holds it.

    Raises:
        ContrastError: for half a character (a lone surrogate).
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ContrastError(
            f"{brief(text)} has half a character ({error}); read it anew as UTF-8"
        ) from error


def sha256(text: str) -> str:
    """The hash of a text."""
    return hashlib.sha256(utf8(text)).hexdigest()
