"""axbench's weights, ``{Method}_weight.pt`` and ``{Method}_bias.pt``, read and written.

``weight`` is ``[concepts, d_model]``, a row for each concept; ``bias`` is what detection adds, and
steering does not use it. The layer is not in the files but in the YAML of the run: the caller
names it.

Layers: ``layer`` is ``resid_post`` of that layer, from 0. axbench adds ``max_act * factor *
weight[concept]`` to the output of the block, at every position.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import real, torch_bytes, whole, write_file
from interp_steer.interchange.conversion import Incoming, incoming, outgoing
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.steering_vectors import card_lost
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

_WEIGHT, _BIAS = "_weight.pt", "_bias.pt"


def read(
    content: Any,
    path: Path,
    *,
    model: HookedLM | None = None,
    name: str | None = None,
    layer: int | None = None,
    concept: int | None = None,
) -> Incoming:
    """From a row of the weights to a vector of one layer.

    Args:
        content: what the file holds.
        path: the file of weights.
        model: the model that the vector belongs to.
        name: what to call it.
        layer: of the run, from its YAML.
        concept: which row; needed where there are several.
    """
    weights = real(content, f"the weights of {path}", ndim=2)
    if layer is None:
        raise InterchangeError(
            f"{path} does not say its layer, which is in the YAML of the run; give layer="
        )
    if concept is None and len(weights) > 1:
        raise InterchangeError(f"{path} has {len(weights)} concepts; choose one with concept=")
    row = whole(concept or 0, "concept", most=len(weights) - 1)
    lost = [f"{len(weights) - 1} other concepts"] if len(weights) > 1 else []
    lost += ["the bias, which detects and does not steer"]
    place = whole(layer, "layer")
    return incoming({place: weights[row]}, path, tool="axbench", model=model, name=name, lost=lost)


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
        path: ``{Method}_weight.pt``; the bias, 0, goes beside it.
        model: to check sizes against.
        layer: which direction of a vector of several.
    """
    if not path.name.endswith(_WEIGHT) or path.name == _WEIGHT:
        raise InterchangeError(
            f"{path} is called {path.name!r}; axbench reads a file such as DiffMean{_WEIGHT}"
        )
    out = outgoing(what, "axbench", model).without((-1,), "axbench writes to what leaves a block")
    place, direction, others = out.only(layer, "the weights are of one layer")
    bias = path.with_name(path.name.removesuffix(_WEIGHT) + _BIAS)
    write_file(bias, torch_bytes(torch.zeros(1)), (".pt",))
    write_file(path, torch_bytes(direction[None].clone()), (".pt",))
    yaml = f"layer: put {place} in the YAML of the run"
    return (*out.lost, *card_lost(out), *others, yaml)


def _recognises(content: Any, path: Path) -> bool:
    return isinstance(content, Tensor) and content.ndim == 2


AXBENCH = Format(
    name="axbench",
    tool="axbench",
    file="{Method}_weight.pt and {Method}_bias.pt",
    layers="the caller's layer is resid_post.layer, from 0",
    acts="adds max_act * factor * weight to the output of the block, at every position",
    kept="one direction (float32, bit for bit; half precision widened)",
    lost="the layer, the card, other layers; targets and baseline; on reading, other concepts and "
    "the bias",
    refused=f"the embedding, {ADDS_ONLY}",
    suffixes=(".pt",),
    recognises=_recognises,
    read=read,
    write=write,
)
