"""The contrast sets of the instructions that a config names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import interp_steer as ist
from interp_steer.contrast.instructions import ifeval_rows, ifeval_sets
from interp_steer.contrast.instructions.registry import FORMAT_IDS, LANGUAGE
from interp_steer.errors import OptionError

FORMATS = tuple(f"{name}?language=it" if name == LANGUAGE else name for name in FORMAT_IDS)
"""The thirteen instructions of the format experiment. A language has a vector of its own, as in
Stolfo et al.; of those that the bundled world is told in, Italian."""


def contrast_sets(
    instructions: Sequence[str],
    seed: int,
    *,
    fit: int,
    select: int = 24,
    test: int = 48,
    data: str | None = None,
) -> dict[str, ist.ContrastSet]:
    """The contrast set of each instruction, by its name.

    A name is an IFEval id, with ``?ARGUMENT=VALUE`` behind it where all pairs are to have it. With
    ``data`` the test prompts are IFEval's own, as many as there are up to ``test``, and the others
    are made of its queries.
    """
    sizes = {"seed": seed, "fit": fit, "select": select, "test": test}
    each = {name: (instruction_id(name), arguments(name)) for name in instructions}
    if data is None:
        return {
            name: ist.world.instruction(known, where=where, **sizes)
            for name, (known, where) in each.items()
        }
    rows = ifeval_rows.read(data)
    return {
        name: ifeval_sets.ifeval_set(known, rows, where=where, **sizes)
        for name, (known, where) in each.items()
    }


def instruction_id(name: str) -> str:
    """The IFEval id in the name of an instruction."""
    return name.partition("?")[0]


def arguments(name: str) -> dict[str, Any]:
    """The arguments in the name of an instruction.

    Raises:
        OptionError: for a name that has a question mark and no argument behind it.
    """
    given = name.partition("?")[2]
    argument, sign, value = given.partition("=")
    if "?" in name and not (argument and sign and value):
        raise OptionError(
            f"instruction {name!r} has no argument behind its question mark; write it so: "
            "length_constraints:number_words?relation=less than"
        )
    return {argument: int(value) if value.isdigit() else value} if given else {}
