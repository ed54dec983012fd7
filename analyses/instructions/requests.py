"""Ask for several properties in one request, and check an answer for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import interp_steer as ist
from analyses.kit.instruction_sets import instruction_id
from interp_steer.contrast import Pair
from interp_steer.scoring import ifeval

Combination = tuple[str, ...]
"""The names of the properties that are combined."""


def ask_for_all(names: Combination, sets: Mapping[str, ist.ContrastSet]) -> ist.ContrastSet:
    """Make requests that ask for the named properties in words; the queries are always the same.

    Every answer can be checked for every property of ``sets``, not only for the named ones.

    Args:
        names: the properties that the text of a prompt asks for.
        sets: the contrast set of each property. The queries are those of the first set.

    Raises:
        ContrastError: where an instruction does not stand behind its request.
    """
    pairs = []
    ids = tuple(map(instruction_id, sets))
    for index, request in enumerate(next(iter(sets.values()))):
        by_name = {name: pairs_of[index % len(pairs_of)] for name, pairs_of in sets.items()}
        text = " ".join(by_name[name].instruction_text for name in names)
        pairs.append(
            Pair(
                query=request.query,
                present=f"{request.query} {text}",
                absent=request.query,
                split="test",
                phrasing=" ".join(by_name[name].phrasing for name in names),
                phrasing_kind=_least_known([by_name[name].phrasing_kind for name in names]),
                instruction_ids=ids,
                kwargs=tuple(pair.kwargs[0] for pair in by_name.values()),
                key=f"{index}/{request.key}",
            )
        )
    return ist.ContrastSet(" + ".join(names), tuple(pairs))


def _least_known(kinds: Sequence[str]) -> str:
    """Return the least known kind of phrasing among those of several instructions."""
    return next(kind for kind in ("unknown", "held-out", "trained") if kind in kinds)


def check_properties(
    names: Sequence[str], pair: Pair, completion: ist.Completion
) -> dict[str, Any]:
    """Check an answer for each property, by IFEval's strict rules."""
    return {
        name: ifeval.verify(completion.text, (known,), (kwargs,)).strict
        for name, known, kwargs in zip(names, pair.instruction_ids, pair.kwargs, strict=True)
    }
