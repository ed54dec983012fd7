"""The formats there are, and the two functions that use them."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from interp_steer.errors import InterchangeError, InterchangeWarning
from interp_steer.interchange.activation_steering import ACTIVATION_STEERING
from interp_steer.interchange.axbench import AXBENCH
from interp_steer.interchange.checked_files import read_json, read_pt, read_safetensors
from interp_steer.interchange.dialz import DIALZ
from interp_steer.interchange.easysteer import EASYSTEER
from interp_steer.interchange.formats import Format
from interp_steer.interchange.gguf_files import read_gguf
from interp_steer.interchange.llama_cpp import LLAMA_CPP
from interp_steer.interchange.lm_eval import LM_EVAL
from interp_steer.interchange.refusal_direction import REFUSAL_DIRECTION
from interp_steer.interchange.repeng import REPENG
from interp_steer.interchange.steering_vectors import STEERING_VECTORS
from interp_steer.interchange.vllm_lens import VLLM_LENS
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.storage.bounded import naming
from interp_steer.vectors.steering_vector import SteeringVector

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        REPENG,
        LLAMA_CPP,
        EASYSTEER,
        VLLM_LENS,
        DIALZ,
        STEERING_VECTORS,
        LM_EVAL,
        ACTIVATION_STEERING,
        REFUSAL_DIRECTION,
        AXBENCH,
    )
}
"""By name; a file that several could read is taken for the first that recognises it."""

_OPENED: Mapping[str, Callable[[Path], Any]] = {
    ".gguf": read_gguf,
    ".json": read_json,
    ".pt": read_pt,
    ".pth": read_pt,
    ".safetensors": read_safetensors,
    ".svec": read_json,
}
_OWN = ("content", "path", "what", "model", "name")  # the arguments that are no options


def read(
    path: str | os.PathLike[str],
    *,
    model: HookedLM | None = None,
    format: str | None = None,
    name: str | None = None,
    **options: Any,
) -> SteeringVector:
    """Read a vector that another tool left.

    It acts where the tool acts: ``vector.shift(1.0, positions="all")`` adds what the tool adds at
    strength 1, at the same hook points (clamped directions of lm-eval come with targets, for
    ``project()``). Nothing in the file is run.

    Args:
        path: the file.
        model: the model that the vector belongs to. Sizes are checked against it, its fingerprint
            is put on the card, and layers are counted by it; without it, the number of layers is
            taken to be what the file has.
        format: one of :data:`FORMATS`; found out by the content when not given.
        name: what to call the vector; by default the file's name, or what the file says.
        options: of the format: ``keep_last`` (repeng, dialz), ``component`` (activation_steering,
            refusal_direction), ``layer`` (refusal_direction, axbench), ``position``
            (refusal_direction), ``concept`` (axbench).

    Warns:
        InterchangeWarning: naming what was left out.

    Raises:
        InterchangeError: for a file that is damaged, too large, of no known format, for another
            model, or would run code.
        VectorError: for directions that are no vector.

    Example:
        >>> vector = ist.interchange.read("happy.gguf", model=model)            # doctest: +SKIP
        >>> ist.generate(model, prompts, vector.at(12).shift(0.8))              # doctest: +SKIP
    """
    path = Path(path).expanduser()
    if path.suffix not in _OPENED:
        raise InterchangeError(
            f"{path} ends in {path.suffix!r}; vectors are read from {', '.join(_OPENED)}"
        )
    content = _OPENED[path.suffix](path)
    chosen = _recognised(content, path) if format is None else _named(format)
    if path.suffix not in chosen.suffixes:
        raise InterchangeError(
            f"{path} ends in {path.suffix!r}, and files of {chosen.name} in "
            f"{' or '.join(chosen.suffixes)}; give another format"
        )
    _check_options(chosen, "read", chosen.read, options)
    with naming(path):
        vector, lost = chosen.read(content, path, model=model, name=name, **options)
    _warn(f"{path}, read as {chosen.name}", lost)
    return vector


def write(
    what: SteeringVector | Intervention,
    path: str | os.PathLike[str],
    *,
    format: str,
    model: HookedLM | None = None,
    **options: Any,
) -> tuple[str, ...]:
    """Write a vector, or what an intervention adds, for another tool.

    What changes what an intervention does is refused; what a vector carries besides its directions
    is left out, and said.

    Args:
        what: a vector, whose raw directions are written; or an intervention, which must do the
            same at every position and step, and is to be applied with strength 1.
        path: the file.
        format: one of :data:`FORMATS`.
        model: to check sizes against, and to name the model or its modules in the file.
        options: of the format: ``layer`` (refusal_direction, axbench).

    Returns:
        What was left out, a line for each.

    Warns:
        InterchangeWarning: with the same lines.

    Raises:
        InterchangeError: for what the format cannot hold, with the reason, another model's sizes,
            or a file that cannot be written.

    Example:
        >>> ist.interchange.write(vector, "mine.gguf", format="llama_cpp")      # doctest: +SKIP
    """
    path = Path(path).expanduser()
    chosen = _named(format)
    _check_options(chosen, "write", chosen.write, options)
    lost = chosen.write(what, path, model=model, **options)
    _warn(f"{path}, written for {chosen.tool}", lost)
    return lost


def table() -> list[dict[str, str]]:
    """The formats as rows of text: what is kept, what is lost, and how layers count."""
    return [each.row for each in FORMATS.values()]


def _named(format: str) -> Format:
    if format not in FORMATS:
        raise InterchangeError(f"unknown format {format!r}; use one of {', '.join(FORMATS)}")
    return FORMATS[format]


def _recognised(content: Any, path: Path) -> Format:
    for each in FORMATS.values():
        if path.suffix in each.suffixes and each.recognises(content, path):
            return each
    raise InterchangeError(
        f"{path} is of none of the formats {', '.join(FORMATS)}; if you know which it is, say so "
        "with format="
    )


def _check_options(
    chosen: Format, verb: str, function: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    known = [each for each in inspect.signature(function).parameters if each not in _OWN]
    if unknown := sorted(set(options) - set(known)):
        raise InterchangeError(
            f"{verb} of {chosen.name} does not know {', '.join(unknown)}; its options are "
            f"{', '.join(known) or 'none'}"
        )


def _warn(whose: str, lost: tuple[str, ...]) -> None:
    if lost:
        warnings.warn(f"{whose}: left out: {'; '.join(lost)}", InterchangeWarning, stacklevel=3)
