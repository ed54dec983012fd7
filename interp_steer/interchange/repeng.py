"""repeng's GGUF (``ControlVector.export_gguf``), read and written.

Keys ``general.architecture = "controlvector"``, ``controlvector.model_hint`` (the ``model_type`` of
the configuration) and ``controlvector.layer_count`` (u32, how many directions); tensors
``direction.k``, F32, of length 1.

Layers: ``k`` is ``resid_post`` of layer ``k``, for ``k`` from 1. repeng reads
``hidden_states[k + 1]`` and adds after block ``k``, at every position but pads. For the last block
that is the state after the final norm, while it adds before that norm: the direction of the last
layer is another one than it acts as, and is left out on reading, with a warning, unless
``keep_last=True``.

``direction.0`` is not written: repeng writes none, and llama.cpp refuses a file that has it.
"""

from __future__ import annotations

from pathlib import Path

from interp_steer.interchange.conversion import UNKNOWN, Incoming, incoming, outgoing
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.gguf_files import FORMAT, Directions, write_gguf
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

BLOCK_0 = "direction.0 makes llama.cpp refuse the whole file, so block 0 cannot be steered"


def read(
    content: Directions,
    path: Path,
    *,
    model: HookedLM | None = None,
    name: str | None = None,
    keep_last: bool = False,
) -> Incoming:
    """From directions to a vector.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
        keep_last: whether to take the last layer's direction, which repeng reads after the final
            norm.
    """
    return without_last(content, path, "repeng", "controlvector", model, name, keep_last)


def without_last(
    content: Directions,
    path: Path,
    tool: str,
    architecture: str,
    model: HookedLM | None,
    name: str | None,
    keep_last: bool,
) -> Incoming:
    """As repeng and what is made after it count and read: the last layer after the final norm."""
    places, lost = dict(content.directions), []
    if not keep_last and content.card is None and places:
        last = _last(places, model)
        if places.pop(last, None) is not None:
            lost.append(
                f"layer {last}: {tool} reads the last layer after the final norm and adds before "
                "it; keep_last=True takes it all the same"
            )
    return incoming(
        places,
        path,
        tool=tool,
        model=model,
        name=name,
        card=content.card,
        hint=content.text(f"{architecture}.model_hint", UNKNOWN),
        lost=lost,
    )


def _last(places: dict, model: HookedLM | None) -> int:
    if model is not None:
        return model.n_layers - 1
    # By default the tool writes every layer from 1 to the last.
    return max(places) if sorted(places) == list(range(1, len(places) + 1)) else -1


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector, or an intervention that adds, to a file.

    Args:
        what: the vector, whose raw directions are written (repeng's have length 1, so that its
            coefficients mean more here), or the intervention.
        path: the file.
        model: whose ``model_type`` is written; the name on the card where it is not given.
    """
    return write_from_1(what, path, "repeng", "controlvector", model)


def write_from_1(
    what: SteeringVector | Intervention,
    path: Path,
    format: str,
    architecture: str,
    model: HookedLM | None,
) -> tuple[str, ...]:
    """Write a file without ``direction.0``."""
    out = outgoing(what, format, model).without((-1, 0), BLOCK_0)
    keys = {"model_hint": model_hint(out.model, model)}
    write_gguf(out, path, format=format, architecture=architecture, keys=keys)
    return out.lost


def model_hint(owner: str, model: HookedLM | None) -> str:
    """The ``model_type`` of the model's configuration, or the name on the card without a model."""
    return owner if model is None else str(model.plain.config.model_type)


def _recognises(content: Directions, path: Path) -> bool:
    ours = content.text(FORMAT, "")
    return ours == "repeng" or (
        not ours
        and content.text("general.architecture", "") == "controlvector"
        and content.kinds.get("controlvector.layer_count") != "INT32"
        and "controlvector.method" not in content.keys
    )


REPENG = Format(
    name="repeng",
    tool="repeng",
    file="GGUF, architecture controlvector",
    layers="k is resid_post.k, from 1",
    acts="adds after block k, at every position but pads",
    kept="directions (float32, bit for bit), the card in files that we wrote",
    lost="layer 0; targets and baseline; on reading, the last layer of its own files, which was "
    "read after the final norm",
    refused=ADDS_ONLY,
    suffixes=(".gguf",),
    recognises=_recognises,
    read=read,
    write=write,
)
