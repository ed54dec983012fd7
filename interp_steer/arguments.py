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
    kind = (
        "text"
        if isinstance(value, str | bytes)
        else "mapping"
        if isinstance(value, Mapping)
        else "path"
        if isinstance(value, os.PathLike)
        else None
    )
    if kind is not None:
        raise error(f"{name} is one {kind}, {value!r:.80}; give a list of them")
