"""The lines of Python that do what the page shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analyses.explorer.form import Ask, Source, Steer
from analyses.explorer.workspace import SAVED, Making, Workspace
from analyses.kit.instruction_sets import arguments, instruction_id
from analyses.kit.operations import READ_TOKENS
from interp_steer.interventions.intervention import Edit
from interp_steer.interventions.operations import Operation

_FITTED = {"component": "resid_post", "position": "last", "estimator": "difference_in_means"}
"""What goes without saying."""


def python_of(ask: Ask, shelf: Workspace) -> str:
    """A script that gives the same two answers.

    Strengths in other units stand in it as the coefficients that they were found to be, so that it
    runs at once.

    Args:
        ask: what was asked.
        shelf: whose vectors answered.
    """
    names = _names([steer.source for steer in ask.steers])
    given = bool(shelf.making.data) and any(not each.name.startswith(SAVED) for each in names)
    lines = ["import interp_steer as ist"]
    lines += ["from interp_steer import ifeval_rows, ifeval_sets"] * given
    lines += ["", f"model = ist.load({shelf.making.model!r})"]
    if given:
        lines.append(f"rows = ifeval_rows.read({shelf.making.data!r})")
    for source, name in names.items():
        lines += _vector(source, name, shelf.making)
    edits = [
        _edit(steer, layer, edit, names[steer.source])
        for steer in ask.steers
        for layer in steer.layers
        for edit in shelf.edit(steer, layer).edits
    ]
    lines += ["", f"steer = {edits[0]}" if len(edits) == 1 else _sum(edits), ""]
    options = [f"max_new_tokens={ask.max_new_tokens}"]
    if ask.sampling is not None:
        options.append(f"sampling=ist.Sampling({ask.temperature!r}, seed={ask.seed})")
    lines += [
        f"prompt = {ask.prompt!r}",
        "plain, steered = ist.generate(",
        f"    model, [prompt, prompt], [ist.unsteered, steer], {', '.join(options)}",
        ")",
        "print(plain.text)",
        "print(steered.text)",
    ]
    return "\n".join(lines) + "\n"


def _names(sources: Sequence[Source]) -> dict[Source, str]:
    """A variable for each vector, no two the same."""
    names: dict[Source, str] = {}
    for source in dict.fromkeys(sources):
        said = source.name.removeprefix(SAVED).removesuffix(".safetensors")
        said = re.sub(r"\?\w+=", "_", said.rpartition(":")[2])  # no argument without its value
        said = re.sub(r"\W+", "_", said).strip("_").lower()
        name = said if said and said[0].isalpha() else f"vector_{said}".rstrip("_")
        taken = {*names.values(), "ist", "model", "pairs", "prompt", "steer", "plain", "steered"}
        at = next(n for n in range(1, 100) if (name if n == 1 else f"{name}_{n}") not in taken)
        names[source] = name if at == 1 else f"{name}_{at}"
    return names


def _vector(source: Source, name: str, making: Making) -> list[str]:
    if source.name.startswith(SAVED):
        return [f"{name} = ist.SteeringVector.load({source.name.removeprefix(SAVED)!r})"]
    usual = Making()
    where = arguments(source.name)
    said = [repr(instruction_id(source.name))]
    said += ["rows"] * bool(making.data)
    said += [f"where={where!r}"] * bool(where)
    said += [f"seed={making.seed}"] * (making.seed != 0)
    said += [
        f"{size}={getattr(making, f'n_{size}')}"
        for size in ("fit", "select", "test")
        if making.data or getattr(making, f"n_{size}") != getattr(usual, f"n_{size}")
    ]
    build = "ifeval_sets.ifeval_set" if making.data else "ist.world.instruction"
    options = [
        f"{option}={getattr(source, option)!r}"
        for option, default in _FITTED.items()
        if getattr(source, option) != default
    ]
    options += [f"max_new_tokens={READ_TOKENS}"] * (source.position == "generated")
    return [
        f"pairs = {build}({', '.join(said)})",
        f"{name} = ist.fit({', '.join(['model', 'pairs.fit', *options])})",
    ]


def _edit(steer: Steer, layer: int, edit: Edit, name: str) -> str:
    """One edit; numbers are written so that they read back the same."""
    own_target = steer.operation is Operation.PROJECT and steer.strength is None
    said = [] if steer.operation.parameter is None or own_target else [repr(edit.value)]
    said += [f"positions={steer.positions!r}"] * (steer.positions != "all")
    if steer.schedule != "fixed":
        said.append(f"schedule=ist.schedules.parse({steer.schedule!r})")
    return f"{name}.at({layer}).{steer.operation}({', '.join(said)})"


def _sum(edits: Sequence[str]) -> str:
    return "steer = (\n    " + "\n    + ".join(edits) + "\n)"
