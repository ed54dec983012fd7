"""IBM activation-steering's ``.svec`` (``SteeringVector.save``), read and written.

JSON: ``model_type``, ``directions`` (from a layer's number to a list of numbers) and
``explained_variances``.

Layers: a direction ``k`` is measured at ``hidden_states[k + 1]``, which is ``resid_post`` of layer
``k``, and added to what enters block ``k``: it acts at ``resid_pre`` of layer ``k``, which is
``resid_post`` of layer ``k - 1``. Files are read as they act. ``0`` acts on the embedding, which is
no ``resid_post``: it is left out with a warning unless ``component="resid_pre"``. What acts at
``resid_post`` of layer ``k`` is written as ``k + 1``, so the last layer's cannot be.

The tool adds at every position, to the first row of a batch alone, in float16.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import numbers, write_file
from interp_steer.interchange.conversion import (
    UNKNOWN,
    Incoming,
    Residual,
    card_of,
    card_text,
    incoming,
    outgoing,
)
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.repeng import model_hint
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

OURS = "interp_steer"
"""The key under which our own files say more; the tool reads the three that it knows."""


def read(
    content: Any,
    path: Path,
    *,
    model: HookedLM | None = None,
    name: str | None = None,
    component: Residual | None = None,
) -> Incoming:
    """From JSON to a vector that acts where the tool does.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
        component: by which of its two names a place is called: what the card says, or else
            ``"resid_post"``; ``"resid_pre"`` has layer 0 too.
    """
    if not _recognises(content, path):
        raise InterchangeError(
            f"{path} has no directions by layer; it is no .svec of activation-steering"
        )
    said = content["directions"]
    if not said or not all(key.isascii() and key.isdigit() and len(key) < 5 for key in said):
        raise InterchangeError(
            f"{path} should have directions by layer, and has {str(list(said)[:3])[:80]}"
        )
    places = {int(key) - 1: numbers(at, f"direction {key} of {path}") for key, at in said.items()}
    if len(places) < len(said):
        raise InterchangeError(f"{path} has two directions for one layer; make it again")
    ours = content.get(OURS)
    hint = content.get("model_type")
    return incoming(
        places,
        path,
        tool="activation-steering (measured a layer later)",
        model=model,
        name=name,
        component=component,
        card=None if ours is None else card_of(ours, str(path)),
        hint=hint if isinstance(hint, str) and hint else UNKNOWN,
        lost=["explained_variances"] if content.get("explained_variances") else [],
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
    out = outgoing(what, "activation-steering", model)
    reason = "activation-steering writes to what enters a block, and none follows the last"
    out = out.without((out.last,), reason)
    content = {
        "model_type": model_hint(out.model, model),
        "directions": {str(place + 1): at.tolist() for place, at in out.places.items()},
        "explained_variances": {},
    }
    if out.card is not None:
        content[OURS] = card_text(out.card)
    write_file(path, json.dumps(content).encode(), ACTIVATION_STEERING.suffixes)
    return (*out.lost, "explained_variances: not known")


def _recognises(content: Any, path: Path) -> bool:
    return isinstance(content, dict) and isinstance(content.get("directions"), dict)


ACTIVATION_STEERING = Format(
    name="activation_steering",
    tool="IBM activation-steering",
    file=".svec, JSON",
    layers="k acts at resid_pre.k, which is resid_post.(k-1); it was measured at resid_post.k",
    acts="adds to what enters block k, at every position of the first row, in float16",
    kept="directions (float32, bit for bit), the card in files that we wrote",
    lost="the last layer; targets and baseline; explained_variances; on reading, 0 unless "
    "component='resid_pre'",
    refused=ADDS_ONLY,
    suffixes=(".svec",),
    recognises=_recognises,
    read=read,
    write=write,
)
