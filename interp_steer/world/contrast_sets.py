"""Build contrast sets from the invented world of the bundled models."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.from_phrasings import combine_within_splits, check_sizes
from interp_steer.contrast.instructions import registry
from interp_steer.contrast.instructions.wordings import PHRASINGS
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ContrastError
from interp_steer.world.held_out import evaluation_chats
from interp_steer.world.queries import list_queries as known_queries


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

    The queries are held out: no bundled model was trained on one. Of the instruction's phrasings
    ``fit`` and ``select`` have some that were trained on; ``test`` has another one of those, and
    the phrasings that no bundled model was trained on; each pair says which kind its own is.

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
    wanted, many = dict(where or {}), len(known_queries("held"))
    drawn = evaluation_chats(
        instruction_id, n=many if wanted else min(sum(sizes.values()), many), seed=seed
    )
    fitting = [chat for chat in drawn if all(chat.kwargs[0].get(k) == v for k, v in wanted.items())]
    if not fitting:
        raise ContrastError(
            f"{instruction_id} never has the arguments {wanted}; it has some like "
            f"{dict(drawn[0].kwargs[0])}"
        )
    asked = {plain_text(chat.query.text): chat for chat in fitting if chat.query is not None}
    trained, held_out = (list(registry.phrasing_indices(kind)) for kind in ("trained", "held-out"))
    rng.shuffle(trained)
    said = {"test": [trained[0], *held_out], "select": trained[1:3], "fit": trained[3:]}
    pairs = []
    for split, text, index in combine_within_splits(asked, said, sizes, rng):
        query, kwargs = asked[text].query, asked[text].kwargs[0]
        assert query is not None
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
    said_of = "".join(f" {value}" for value in wanted.values())
    return ContrastSet(known.id.rpartition(":")[2] + said_of, tuple(pairs))


def instructions() -> tuple[str, ...]:
    """The IFEval ids that :func:`instruction` takes."""
    return registry.IDS
