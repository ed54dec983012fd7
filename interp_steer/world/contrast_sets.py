"""Build contrast sets from the invented world of the bundled models."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.from_phrasings import check_sizes, combine_within_splits
from interp_steer.contrast.instructions import registry
from interp_steer.contrast.instructions.wordings import PHRASINGS
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ContrastError
from interp_steer.world.held_out import evaluation_queries
from interp_steer.world.queries import list_queries


def instruction(
    instruction_id: str,
    *,
    where: Mapping[str, Any] | None = None,
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int = 48,
) -> ContrastSet:
    """Make pairs for an instruction in the world of the bundled models.

    No bundled model was trained on any of the queries. The phrasings of ``fit`` and ``select`` are
    phrasings that the models were trained on. ``test`` has one more trained phrasing, and the
    phrasings that no bundled model was trained on; ``phrasing_kind`` of a pair says which it is.

    Args:
        instruction_id: one of :func:`instructions`.
        where: arguments that all pairs are to have, such as ``{"relation": "less than"}``.
        seed: of the draw of queries, arguments and phrasings; the same seed makes the same set.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.

    Returns:
        A set with the instruction's name, whose pairs carry what answers are verified against.

    Raises:
        ContrastError: for an unknown instruction, arguments that it never has, or more pairs than
            the queries can make.

    Example:
        >>> pairs = instruction("change_case:english_lowercase")
        >>> pairs.name, len(pairs.test), pairs.test[0].instruction_ids
        ('english_lowercase', 48, ('change_case:english_lowercase',))
    """
    known = registry.get(instruction_id)
    sizes = check_sizes(fit, select, test)
    rng = random.Random(f"{instruction_id}/{seed}")
    wanted, many = dict(where or {}), len(list_queries("held"))
    drawn = evaluation_queries(
        instruction_id, n=many if wanted else min(sum(sizes.values()), many), seed=seed
    )
    matching = {
        plain_text(query.text): (query, kwargs)
        for query, kwargs in drawn
        if all(kwargs.get(argument) == value for argument, value in wanted.items())
    }
    if not matching:
        raise ContrastError(
            f"{instruction_id} never has the arguments {wanted}; it has some like {drawn[0][1]}"
        )
    trained, held_out = (list(registry.phrasing_indices(kind)) for kind in ("trained", "held-out"))
    rng.shuffle(trained)
    phrasings = {"test": [trained[0], *held_out], "select": trained[1:3], "fit": trained[3:]}
    pairs = []
    for split, text, index in combine_within_splits(matching, phrasings, sizes, rng):
        query, kwargs = matching[text]
        relation = f"/{kwargs['relation']}" if "relation" in kwargs else ""
        pairs.append(
            Pair(
                query=query.text,
                present=registry.attach(query.text, registry.phrase(known, kwargs, index, rng)),
                absent=query.text,
                split=split,
                phrasing=PHRASINGS[f"{known.id}{relation}"][index],
                phrasing_kind="held-out" if index in held_out else "trained",
                instruction_ids=(known.id,),
                kwargs=(kwargs,),
                key=f"{query.key}/{known.id}/{index}",
            )
        )
    values = "".join(f" {value}" for value in wanted.values())
    return ContrastSet(known.id.rpartition(":")[2] + values, tuple(pairs))


def instructions() -> tuple[str, ...]:
    """List the IFEval ids that :func:`instruction` takes."""
    return registry.IDS
