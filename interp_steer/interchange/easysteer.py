"""EasySteer's GGUF (``StatisticalControlVector.export_gguf``), read and written.

repeng's keys, ``controlvector.method`` (how it was found) and other ``controlvector.*`` numbers
(f32); tensors ``direction.k``, F32. There is a ``direction.0``, for which llama.cpp refuses these
files.

Layers: ``k`` is ``resid_post`` of layer ``k``, from 0. EasySteer (in vLLM) adds to what leaves
decoder layer ``k``, at the positions and with the scale that a request names.
"""

from __future__ import annotations

from pathlib import Path

from interp_steer.interchange.conversion import UNKNOWN, Incoming, incoming, outgoing
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.gguf_files import FORMAT, Directions, write_gguf
from interp_steer.interchange.repeng import model_hint
from interp_steer.interventions import Intervention
from interp_steer.model import HookedLM
from interp_steer.steering_vector import SteeringVector

_KNOWN = ("model_hint", "method", "layer_count")


def read(
    content: Directions, path: Path, *, model: HookedLM | None = None, name: str | None = None
) -> Incoming:
    """From directions to a vector.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
    """
    more = [
        key
        for key in content.keys
        if key.startswith("controlvector.") and key.partition(".")[2] not in _KNOWN
    ]
    method = content.text("controlvector.method", "")
    return incoming(
        content.directions,
        path,
        tool=f"easysteer {method}".strip(),
        model=model,
        name=name,
        card=content.card,
        hint=content.text("controlvector.model_hint", UNKNOWN),
        lost=[f"the keys {', '.join(sorted(more))}"] if more else [],
    )


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector, or an intervention that adds, to a file.

    Args:
        what: the vector, whose raw directions are written, or the intervention.
        path: the file.
        model: whose ``model_type`` is written.
    """
    out = outgoing(what, "EasySteer", model)
    out = out.without((-1,), "EasySteer writes to what leaves a layer")
    method = "intervention" if out.card is None else out.card.estimator
    keys = {"model_hint": model_hint(out.model, model), "method": method}
    write_gguf(out, path, format="easysteer", architecture="controlvector", keys=keys)
    return out.lost


def _recognises(content: Directions, path: Path) -> bool:
    ours = content.text(FORMAT, "")
    return ours == "easysteer" or (not ours and "controlvector.method" in content.keys)


EASYSTEER = Format(
    name="easysteer",
    tool="EasySteer",
    file="GGUF, architecture controlvector, with a method",
    layers="k is resid_post.k, from 0",
    acts="adds to what leaves decoder layer k, at the positions of the request",
    kept="directions (float32, bit for bit), the card in files that we wrote",
    lost="targets and baseline; on reading, controlvector.* numbers besides",
    refused=f"the embedding, {ADDS_ONLY}",
    suffixes=(".gguf",),
    recognises=_recognises,
    read=read,
    write=write,
)
