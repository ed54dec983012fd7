"""Make the contrast sets of the instructions that a config names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import interp_steer as ist
from interp_steer.contrast.instructions import FORMAT_IDS, LANGUAGE, ifeval_rows, ifeval_sets
from interp_steer.errors import OptionError

FORMATS = tuple(f"{name}?language=it" if name == LANGUAGE else name for name in FORMAT_IDS)
"""The thirteen instructions of the format experiment. Each language has its own vector, as in
Stolfo et al. Here the language is Italian, because it is one of the languages of the bundled
world."""


def contrast_sets(
    instructions: Sequence[str],
    seed: int,
    *,
    fit: int,
    select: int = 24,
    test: int = 48,
    data: str | None = None,
) -> dict[str, ist.ContrastSet]:
    """Make the contrast set of each instruction, by its name.

    A name is an IFEval id; append ``?ARGUMENT=VALUE`` to fix an argument in all pairs. With
    ``data``, the test prompts are IFEval's own, as many as there are up to ``test``; the other
    prompts are made of IFEval's queries.
    """
    sizes = {"seed": seed, "fit": fit, "select": select, "test": test}
    parsed = {name: (instruction_id(name), arguments(name)) for name in instructions}
    if data is None:
        return {
            name: ist.world.instruction(known, where=where, **sizes)
            for name, (known, where) in parsed.items()
        }
    rows = ifeval_rows.read(data)
    return {
        name: ifeval_sets.ifeval_set(known, rows, where=where, **sizes)
        for name, (known, where) in parsed.items()
    }


def instruction_id(name: str) -> str:
    """Return the IFEval id in the name of an instruction."""
    return name.partition("?")[0]


def arguments(name: str) -> dict[str, Any]:
    """Return the arguments in the name of an instruction.

    Raises:
        OptionError: for a name with a question mark that no argument follows.
    """
    given = name.partition("?")[2]
    argument, sign, value = given.partition("=")
    if "?" in name and not (argument and sign and value):
        raise OptionError(
            f"instruction {name!r} has no argument behind its question mark; write it like "
            "length_constraints:number_words?relation=less than"
        )
    return {argument: int(value) if value.isdigit() else value} if given else {}
