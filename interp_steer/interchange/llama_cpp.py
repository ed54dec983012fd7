"""llama.cpp's control vectors: files of its generator read, files for its loader written.

The loader (``--control-vector FILE``, ``--control-vector-scaled FILE:SCALE``) looks at nothing but
the tensors: F32, one axis, of one length, each called ``direction.k``; a ``direction.0`` makes it
refuse the file. It adds after block ``k`` at every position, the prompt's included, within
``--control-vector-layer-range START END``, both included.

Layers: ``k`` is ``resid_post`` of layer ``k``, for ``k`` from 1; block 0 cannot be steered.

The generator (``llama-cvector-generator``) names the output of block ``il`` ``direction.{il + 1}``:
what it measures at ``resid_post`` of layer ``k - 1`` acts one layer later, at ``k``. Its files are
told by ``controlvector.layer_count`` being an i32. They are read as they act; the card says where
they were measured.
"""

from __future__ import annotations

from pathlib import Path

from interp_steer.interchange.conversion import UNKNOWN, Incoming, incoming
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.gguf_files import FORMAT, Directions
from interp_steer.interchange.repeng import write_from_1
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector


def read(
    content: Directions, path: Path, *, model: HookedLM | None = None, name: str | None = None
) -> Incoming:
    """From directions to a vector that acts where llama.cpp does.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
    """
    generated = content.kinds.get("controlvector.layer_count") == "INT32"
    return incoming(
        content.directions,
        path,
        tool="llama.cpp's generator (measured a layer earlier)" if generated else "llama_cpp",
        model=model,
        name=name,
        card=content.card,
        hint=content.text("controlvector.model_hint", UNKNOWN),
    )


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector, or an intervention that adds, to a file that llama.cpp loads.

    Args:
        what: the vector, whose raw directions are written, or the intervention.
        path: the file.
        model: whose ``model_type`` is written, for people; llama.cpp does not read it.
    """
    return write_from_1(what, path, "llama_cpp", "controlvector", model)


def _recognises(content: Directions, path: Path) -> bool:
    ours = content.text(FORMAT, "")
    return ours == "llama_cpp" or (
        not ours and content.kinds.get("controlvector.layer_count") == "INT32"
    )


LLAMA_CPP = Format(
    name="llama_cpp",
    tool="llama.cpp",
    file="GGUF, architecture controlvector",
    layers="k is resid_post.k, from 1; its generator measured it at resid_post.(k-1)",
    acts="adds after block k, at every position",
    kept="directions (float32, bit for bit), the card in files that we wrote",
    lost="layer 0; targets and baseline",
    refused=ADDS_ONLY,
    suffixes=(".gguf",),
    recognises=_recognises,
    read=read,
    write=write,
)
