"""refusal_direction's ``direction.pt`` and ``mean_diffs.pt`` (Arditi et al. 2024).

``direction.pt`` is one direction, float64, beside a ``direction_metadata.json`` with its ``layer``
and ``pos``, counted from the end of the prompt; it is read and written. ``mean_diffs.pt`` has all
candidates, ``[pos, layer, d_model]``, float64; it is read.

Layers: ``L`` is measured at, and added to, what enters block ``L``: ``resid_pre`` of layer ``L``,
which is ``resid_post`` of layer ``L - 1``. ``0`` is the embedding, which is no ``resid_post``: it
is left out with a warning unless ``component="resid_pre"``. What acts at ``resid_post`` of layer
``k`` is written as ``L = k + 1``, so the last layer's cannot be. The tool adds at every position.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.activation_steering import OURS
from interp_steer.interchange.checked_files import (
    read_json,
    real,
    torch_bytes,
    whole,
    write_file,
)
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
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

METADATA = "direction_metadata.json"
"""The file beside the direction."""


def read(
    content: Any,
    path: Path,
    *,
    model: HookedLM | None = None,
    name: str | None = None,
    layer: int | None = None,
    position: int = -1,
    component: Residual | None = None,
) -> Incoming:
    """From a direction, or from all candidates, to a vector that acts where the tool does.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
        layer: ``L`` of a direction without its metadata.
        position: of candidates, which ``pos`` is taken, from the end of the prompt.
        component: by which of its two names a place is called: what the card says, or else
            ``"resid_post"``; ``"resid_pre"`` has layer 0 too.
    """
    if isinstance(content, Tensor) and content.ndim == 3:
        every = real(content, f"the candidates of {path}", ndim=3)
        if not -len(every) <= position < 0:
            raise InterchangeError(
                f"{path} has candidates for the last {len(every)} positions, and not for "
                f"{position}; give one from -{len(every)} to -1"
            )
        places = {place - 1: at for place, at in enumerate(every[position])}
        lost = [f"{len(every) - 1} other positions"] if len(every) > 1 else []
        return incoming(
            places,
            path,
            tool="refusal_direction",
            model=model,
            name=name,
            component=component,
            position=_position(position),
            lost=lost,
        )
    direction = real(content, f"the direction of {path}")
    beside = path.with_name(METADATA)
    metadata = read_json(beside) if beside.exists() and layer is None else {"layer": layer}
    if not isinstance(metadata, dict) or metadata.get("layer") is None:
        raise InterchangeError(
            f"{path} does not say at which layer it was read, and {beside.name} is not beside it; "
            "give layer="
        )
    place = whole(metadata["layer"], f"the layer of {path}") - 1
    ours = metadata.get(OURS)
    return incoming(
        {place: direction},
        path,
        tool="refusal_direction",
        model=model,
        name=name,
        component=component,
        card=None if ours is None else card_of(ours, str(beside)),
        position=_position(metadata.get("pos")),
    )


def _position(pos: Any) -> str:
    return UNKNOWN if type(pos) is not int else "last" if pos == -1 else str(pos)


def write(
    what: SteeringVector | Intervention,
    path: Path,
    *,
    model: HookedLM | None = None,
    layer: int | None = None,
) -> tuple[str, ...]:
    """From one direction of a vector, or an intervention that adds at one place, to two files.

    Args:
        what: the vector, or the intervention.
        path: ``direction.pt``, which is how the tool calls it; its metadata goes beside it.
        model: to check sizes against.
        layer: which direction of a vector of several, by the ``resid_post`` of that layer.
    """
    if path.name != "direction.pt":
        raise InterchangeError(
            f"{path} is called {path.name!r}; the tool reads a direction.pt, with its metadata "
            "beside it: give a folder of its own to each"
        )
    out = outgoing(what, "refusal_direction", model)
    reason = "refusal_direction writes to what enters a block, and none follows the last"
    out = out.without((out.last,), reason)
    place, direction, others = out.only(layer, "direction.pt holds one direction")
    read_at = UNKNOWN if out.card is None else out.card.position
    pos = -1 if read_at == "last" else int(read_at) if read_at.lstrip("-").isdigit() else None
    metadata: dict[str, Any] = {"pos": pos, "layer": place + 1}
    if out.card is not None:
        metadata[OURS] = card_text(out.card)
    write_file(path.with_name(METADATA), json.dumps(metadata, indent=4).encode(), (".json",))
    write_file(path, torch_bytes(direction.double()), (".pt",))
    unsaid = [] if pos is not None else [f"pos: it was read at {read_at!r}, which is no index"]
    return (*out.lost, *others, *unsaid)


def _recognises(content: Any, path: Path) -> bool:
    return isinstance(content, Tensor) and (
        content.ndim == 3 or (content.ndim == 1 and path.name == "direction.pt")
    )


REFUSAL_DIRECTION = Format(
    name="refusal_direction",
    tool="refusal_direction",
    file="direction.pt with direction_metadata.json; mean_diffs.pt",
    layers="L is resid_pre.L, which is resid_post.(L-1)",
    acts="adds to what enters block L, at every position",
    kept="one direction (float32, bit for bit; its float64 is rounded to float32), the card in "
    "files that we wrote",
    lost="other layers and, on reading, other positions; targets and baseline; 0 unless "
    "component='resid_pre'",
    refused=f"the last layer; {ADDS_ONLY}",
    suffixes=(".pt",),
    recognises=_recognises,
    read=read,
    write=write,
)
