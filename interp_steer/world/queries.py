"""List the requests about the world, and decide which of them are kept from training.

A cell is a subject asked about in one style. About one cell in five is held out: no training chat
and no document contains it, in any language, so that results on held-out cells are not memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from interp_steer.errors import ContrastError
from interp_steer.world import grammar
from interp_steer.world.facts import LANGUAGES, Fact, default_world

YES_NO_STYLE = "yes_no"
"""The style of a yes-or-no question, which has no template in the grammar's queries."""


@dataclass(frozen=True)
class Query:
    """A user's request about an entity, without a format."""

    text: str
    subject: str
    style: str
    language: str
    key: str
    """Unique among all queries: ``"en/castle/letter"``."""


@cache
def is_held(subject: str, style: str) -> bool:
    """Decide by a hash, the same everywhere, whether a cell is kept from training."""
    return hashlib.sha256(f"{subject}|{style}".encode()).digest()[0] < 51


@cache
def list_queries(split: str, language: str = "en") -> tuple[Query, ...]:
    """List all queries of a split in a language, in a fixed order.

    Args:
        split: ``"train"`` or ``"held"``.
        language: one of :data:`LANGUAGES`.

    Raises:
        ContrastError: for another split or a language that the world is not told in.
    """
    if split not in ("train", "held") or language not in LANGUAGES:
        raise ContrastError(
            f"no queries for split {split!r} in {language!r}; splits are 'train' and 'held', "
            f"languages {', '.join(LANGUAGES)}"
        )
    return tuple(
        Query(
            grammar.query(subject, language, style),
            subject,
            style,
            language,
            f"{language}/{subject}/{style}",
        )
        for subject in default_world().entities
        for style in grammar.QUERY_STYLES
        if is_held(subject, style) == (split == "held")
    )


@cache
def questionable_facts(split: str) -> tuple[Fact, ...]:
    """List the facts about which a split asks yes-or-no questions."""
    held = split == "held"
    return tuple(f for f in default_world().facts if is_held(f.subject, YES_NO_STYLE) == held)
