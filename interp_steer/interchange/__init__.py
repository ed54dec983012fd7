"""Vectors of other tools, read into this project's own nouns and written from them.

>>> vector = ist.interchange.read("happy.gguf", model=model)                    # doctest: +SKIP
>>> ist.interchange.write(vector, "mine.gguf", format="llama_cpp", model=model)  # doctest: +SKIP

One file for each format says what it holds and how its layers count; :data:`FORMATS` lists them,
and :func:`table` gives the list as rows of text. What other tools leave besides vectors has a file
each too: :mod:`interp_steer.sweeps.published_answers` reads paper A's stored answers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_steer.interchange.formats import Format as Format
    from interp_steer.interchange.registry import FORMATS as FORMATS
    from interp_steer.interchange.registry import read as read
    from interp_steer.interchange.registry import table as table
    from interp_steer.interchange.registry import write as write

_HOMES = {
    "Format": "formats",
    "FORMATS": "registry",
    "read": "registry",
    "table": "registry",
    "write": "registry",
}
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
