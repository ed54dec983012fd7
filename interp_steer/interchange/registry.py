"""List the formats, and define the two functions that use them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from interp_steer.errors import InterchangeError, InterchangeWarning
from interp_steer.interchange.activation_steering import ActivationSteering
from interp_steer.interchange.axbench import AxBench
from interp_steer.interchange.checked_files import read_json, read_pt, read_safetensors
from interp_steer.interchange.dialz import Dialz
from interp_steer.interchange.easysteer import EasySteer
from interp_steer.interchange.formats import Format, OpenedFile
from interp_steer.interchange.gguf_files import read_gguf
from interp_steer.interchange.llama_cpp import LlamaCpp
from interp_steer.interchange.lm_eval import LmEval
from interp_steer.interchange.refusal_direction import RefusalDirection
from interp_steer.interchange.repeng import Repeng
from interp_steer.interchange.steering_vectors import SteeringVectors
from interp_steer.interchange.vllm_lens import VllmLens
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

FORMATS: Mapping[str, Format] = {
    format.name: format
    for format in (
        Repeng(),
        LlamaCpp(),
        EasySteer(),
        VllmLens(),
        Dialz(),
        SteeringVectors(),
        LmEval(),
        ActivationSteering(),
        RefusalDirection(),
        AxBench(),
    )
}
"""The formats by name; a file is taken to be of the first format that recognises it."""

_READERS: Mapping[str, Callable[[Path], Any]] = {
    ".gguf": read_gguf,
    ".json": read_json,
    ".pt": read_pt,
    ".pth": read_pt,
    ".safetensors": read_safetensors,
    ".svec": read_json,
}


def read(
    path: str | os.PathLike[str],
    *,
    model: HookedLM | None = None,
    format: str | None = None,
    name: str | None = None,
    **options: Any,
) -> SteeringVector:
    """Read the file of another tool as a vector.

    The vector acts where the tool acts: ``vector.shift(1.0, positions="all")`` adds what the tool
    adds at strength 1, at the same hook points. Clamped directions of lm-eval come with targets,
    for ``project()``. Nothing in the file is run.

    Args:
        path: the file.
        model: the model that the vector belongs to. Sizes are checked against it, its fingerprint
            is put on the card, and layers are counted by it. Without a model, the number of layers
            is taken to be what the file has.
        format: one of :data:`FORMATS`; recognised by the content when not given.
        name: the name of the vector; by default the card's, or else the file's.
        options: the options of the format: ``keep_last`` (repeng, dialz), ``component``
            (activation_steering, refusal_direction), ``layer`` (refusal_direction, axbench),
            ``position`` (refusal_direction), ``concept`` (axbench).

    Warns:
        InterchangeWarning: naming what was left out.

    Raises:
        InterchangeError: for a file that is damaged, too large, of no known format, for another
            model, or that would run code.
        VectorError: for directions that do not make a vector.

    Example::

        vector = ist.interchange.read("happy.gguf", model=model)
        ist.generate(model, prompts, vector.at(12).shift(0.8))
    """
    path = Path(path).expanduser()
    if path.suffix not in _READERS:
        raise InterchangeError(
            f"{path} ends in {path.suffix!r}; vectors are read from {', '.join(_READERS)}"
        )
    file = OpenedFile(path, _READERS[path.suffix](path))
    chosen = _recognise(file) if format is None else _get(format)
    vector, lost = chosen.read(file, model=model, name=name, **options)
    _warn(f"{path}, read as {chosen.name}", lost)
    return vector


def write(
    vector: SteeringVector | Intervention,
    path: str | os.PathLike[str],
    *,
    format: str,
    model: HookedLM | None = None,
    **options: Any,
) -> tuple[str, ...]:
    """Write a vector, or what an intervention adds, for another tool.

    An intervention whose effect the format cannot express is refused. The targets, the baseline and
    the card of a vector are left out where the format has no room for them, with a warning.

    Args:
        vector: a vector, whose raw directions are written; or an intervention, which must do the
            same at every position and step, and is to be applied with strength 1.
        path: the file.
        format: one of :data:`FORMATS`.
        model: the model, to check sizes against and to name it or its modules in the file.
        options: the options of the format: ``layer`` (refusal_direction, axbench).

    Returns:
        A line for each part of the vector that was left out.

    Warns:
        InterchangeWarning: with the same lines.

    Raises:
        InterchangeError: for what the format cannot hold, with the reason, another model's sizes,
            or a file that cannot be written.

    Example:
        >>> lost = ist.interchange.write(vector, "mine.gguf", format="llama_cpp")
        >>> ist.interchange.read("mine.gguf").layers == vector.layers[1:]  # block 0 is left out
        True
    """
    path = Path(path).expanduser()
    chosen = _get(format)
    lost = chosen.write(vector, path, model=model, **options)
    _warn(f"{path}, written for {chosen.tool}", lost)
    return lost


def table() -> list[dict[str, str]]:
    """Return the formats as rows of text: what is kept, what is lost, and how layers count."""
    return [format.row for format in FORMATS.values()]


def _get(name: str) -> Format:
    if name not in FORMATS:
        raise InterchangeError(f"unknown format {name!r}; use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _recognise(file: OpenedFile) -> Format:
    for format in FORMATS.values():
        if file.path.suffix in format.suffixes and format.recognises(file):
            return format
    raise InterchangeError(
        f"{file.path} is of none of the formats {', '.join(FORMATS)}; if you know its format, give "
        "format="
    )


def _warn(whose: str, lost: tuple[str, ...]) -> None:
    if lost:
        warnings.warn(f"{whose}: left out: {'; '.join(lost)}", InterchangeWarning, stacklevel=3)
