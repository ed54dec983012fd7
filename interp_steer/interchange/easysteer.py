"""EasySteer's GGUF (``StatisticalControlVector.export_gguf``), read and written.

repeng's keys, ``controlvector.method`` (how it was found) and ``controlvector.easysteer``, JSON of
a ``version``, the ``component`` that was captured, and ``metadata``, which earlier versions store
as ``controlvector.*`` numbers (f32); tensors ``direction.k``, F32. There is a ``direction.0``, for
which llama.cpp refuses these files.

Of the components only ``hidden_states`` is the residual stream: directions of ``attention_heads``
and ``router_logits`` are refused. A file that names none is taken to be of it, as EasySteer's own
loader takes it.

Layers: ``k`` is ``resid_post`` of layer ``k``, from 0. EasySteer (in vLLM) adds to what leaves
decoder layer ``k``, at the positions and with the scale that a request names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import parse_json
from interp_steer.interchange.conversion import UNKNOWN, Incoming, incoming, outgoing
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.gguf_files import FORMAT, Directions, write_gguf
from interp_steer.interchange.repeng import model_hint
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

_KNOWN = ("model_hint", "method", "layer_count", "easysteer")
_STREAM = "hidden_states"


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
    said = _said(content, path)
    lost = [f"the keys {', '.join(sorted(more))}"] if more else []
    if said.get("metadata") not in (None, {"mapping": []}):
        lost.append("EasySteer's metadata")
    method = content.text("controlvector.method", "")
    return incoming(
        content.directions,
        path,
        tool=f"easysteer {method}".strip(),
        model=model,
        name=name,
        card=content.card,
        hint=content.text("controlvector.model_hint", UNKNOWN),
        lost=lost,
    )


def _said(content: Directions, path: Path) -> dict[str, Any]:
    """What EasySteer says about its directions, where it does."""
    key = "controlvector.easysteer"
    if key not in content.keys:
        return {}
    said = parse_json(content.text(key, ""), f"{key} of {path}")
    if not isinstance(said, dict) or said.get("version") != 1:
        raise InterchangeError(
            f"{key} of {path} is {str(said)[:80]!r}, not of version 1; export it again, with an "
            "EasySteer that writes that"
        )
    if said.get("component") not in (None, _STREAM):
        raise InterchangeError(
            f"{path} has directions of {str(said['component'])[:40]!r}, which is no place in the "
            f"residual stream; extract them from {_STREAM}"
        )
    return said


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
    said = json.dumps({"version": 1, "component": _STREAM, "metadata": None})
    keys = {"model_hint": model_hint(out.model, model), "method": method, "easysteer": said}
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
    lost="targets and baseline; on reading, metadata and controlvector.* numbers besides",
    refused=f"directions of attention_heads and router_logits; the embedding, {ADDS_ONLY}",
    suffixes=(".gguf",),
    recognises=_recognises,
    read=read,
    write=write,
)
