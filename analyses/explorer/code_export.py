"""Write the Python script that generates the answers on the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analyses.explorer.form import Request, Source, SteeringChoice
from analyses.explorer.workspace import SAVED, FitOptions, Workspace
from analyses.kit.instruction_sets import arguments, instruction_id
from analyses.kit.operations import READ_TOKENS
from interp_steer.interventions import Edit, Operation

_DEFAULTS = {"component": "resid_post", "position": "last", "estimator": "difference_in_means"}
"""Fit options that need not be written."""


def write_python(request: Request, workspace: Workspace) -> str:
    """Return a script that generates the same two answers.

    Strengths are written as coefficients, so that the script need not calibrate them again.

    Args:
        request: the prompt and the steering.
        workspace: the vectors that steered.
    """
    names = _name_variables([choice.source for choice in request.choices])
    lines = ["import interp_steer as ist"]
    lines += ["", f"model = ist.load({workspace.fit_options.model!r})"]
    for source, name in names.items():
        lines += _write_vector(source, name, workspace.fit_options)
    edits = [
        _write_edit(choice, layer, edit, names[choice.source])
        for choice in request.choices
        for layer in choice.layers
        for edit in workspace.make_edit(choice, layer).edits
    ]
    lines += ["", f"steer = {edits[0]}" if len(edits) == 1 else _write_sum(edits), ""]
    options = [f"max_new_tokens={request.max_new_tokens}"]
    if request.sampling is not None:
        options.append(f"sampling=ist.Sampling({request.temperature!r}, seed={request.seed})")
    lines += [
        f"prompt = {request.prompt!r}",
        "plain, steered = ist.generate(",
        f"    model, [prompt, prompt], [ist.unsteered, steer], {', '.join(options)}",
        ")",
        "print(plain.text)",
        "print(steered.text)",
    ]
    return "\n".join(lines) + "\n"


def _name_variables(sources: Sequence[Source]) -> dict[Source, str]:
    """Return a unique variable name for each vector."""
    names: dict[Source, str] = {}
    for source in dict.fromkeys(sources):
        text = source.name.removeprefix(SAVED).removesuffix(".safetensors")
        text = re.sub(r"\?\w+=", "_", text.rpartition(":")[2])  # the value names the argument
        text = re.sub(r"\W+", "_", text).strip("_").lower()
        name = text if text and text[0].isalpha() else f"vector_{text}".rstrip("_")
        taken = {*names.values(), "ist", "model", "pairs", "prompt", "steer", "plain", "steered"}
        at = next(n for n in range(1, 100) if (name if n == 1 else f"{name}_{n}") not in taken)
        names[source] = name if at == 1 else f"{name}_{at}"
    return names


def _write_vector(source: Source, name: str, fit_options: FitOptions) -> list[str]:
    if source.name.startswith(SAVED):
        return [f"{name} = ist.SteeringVector.load({source.name.removeprefix(SAVED)!r})"]
    defaults = FitOptions()
    where = arguments(source.name)
    call = [repr(instruction_id(source.name))]
    call += [repr(fit_options.data)] * bool(fit_options.data)
    call += [f"where={where!r}"] * bool(where)
    call += [f"seed={fit_options.seed}"] * (fit_options.seed != 0)
    call += [
        f"{size}={getattr(fit_options, f'n_{size}')}"
        for size in ("fit", "select", "test")
        if fit_options.data or getattr(fit_options, f"n_{size}") != getattr(defaults, f"n_{size}")
    ]
    build = "ist.contrast.ifeval" if fit_options.data else "ist.world.instruction"
    options = [
        f"{option}={getattr(source, option)!r}"
        for option, default in _DEFAULTS.items()
        if getattr(source, option) != default
    ]
    options += [f"max_new_tokens={READ_TOKENS}"] * (source.position == "generated")
    return [
        f"pairs = {build}({', '.join(call)})",
        f"{name} = ist.fit({', '.join(['model', 'pairs.fit', *options])})",
    ]


def _write_edit(choice: SteeringChoice, layer: int, edit: Edit, name: str) -> str:
    """Return the code of one edit; `repr` writes numbers that Python reads back exactly."""
    own_target = choice.operation is Operation.PROJECT and choice.strength is None
    call = [] if choice.operation.parameter is None or own_target else [repr(edit.value)]
    call += [f"positions={choice.positions!r}"] * (choice.positions != "all")
    if choice.schedule != "fixed":
        call.append(f"schedule=ist.schedules.parse({choice.schedule!r})")
    return f"{name}.at({layer}).{choice.operation}({', '.join(call)})"


def _write_sum(edits: Sequence[str]) -> str:
    return "steer = (\n    " + "\n    + ".join(edits) + "\n)"
