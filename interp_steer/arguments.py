"""Check arguments that must be lists.

A text is a sequence of texts too, so that a function that takes a list of texts would read a single
text character by character; a mapping would be read as a list of its keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from interp_steer.errors import InterpSteerError


def check_list(name: str, value: Any, error: type[InterpSteerError]) -> None:
    """Refuse one text, path or mapping where a list is meant.

    Args:
        name: the name of the argument, for the message.
        value: the argument; None and every other value pass.
        error: the type of the error to raise.

    Raises:
        InterpSteerError: of the given type, showing the value.

    Example:
        >>> from interp_steer.errors import ScoringError
        >>> check_list("texts", ["one", "two"], ScoringError)
    """
    check_texts(name, value, error)
    if isinstance(value, Mapping):
        raise error(f"{name} is one mapping, {value!r:.80}; give a list of them")


def check_texts(name: str, value: Any, error: type[InterpSteerError]) -> None:
    """Refuse one text or path where several texts are meant.

    A mapping passes: where texts are only iterated over, its keys are texts in order.

    Args:
        name: the name of the argument, for the message.
        value: the argument; None and every other value pass.
        error: the type of the error to raise.

    Raises:
        InterpSteerError: of the given type, showing the value.

    Example:
        >>> from interp_steer.errors import ScoringError
        >>> check_texts("texts", dict.fromkeys(["one", "two", "one"]), ScoringError)
    """
    if isinstance(value, str | bytes | os.PathLike):
        kind = "path" if isinstance(value, os.PathLike) else "text"
        raise error(f"{name} is one {kind}, {value!r:.80}; give a list of them")
