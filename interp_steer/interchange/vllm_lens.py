"""vllm-lens: the ``SteeringVector`` of one request to vLLM, in the JSON that carries it.

A list of objects, each of them added::

    [{"activations": {"data": base64, "dtype": "float32", "shape": [n, d_model]},
      "layer_indices": [5, ...], "scale": 1.0, "norm_match": false, "position_indices": null}]

The text of the file is what a request names ``apply_steering_vectors``: in ``vllm_xargs`` over
HTTP, in ``SamplingParams(extra_args=...)`` in Python. The numbers of ``data`` are those of
``dtype``, bfloat16 as int16 beside ``"original_dtype": "torch.bfloat16"``, and packed where
``"compression"`` is ``"zstd"``, as vllm-lens writes them itself.

Layers: ``k`` is ``resid_post`` of layer ``k``, from 0. It adds ``scale`` times the row to what
leaves decoder layer ``k``, at every position of the request, in the type of the weights. Where a
layer hands the stream on in two parts that the next one sums, it adds to the first.

On reading the scale is in the directions, and the objects of a list are summed, so that
``shift(1.0)`` does what the file does. Refused are ``norm_match``, by which the activation's length
decides how much is added, and ``[n, positions, d_model]``, which acts at some positions; of those
version 1.3 counts each from the start of a forward pass, so that 0 is every generated token too.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.activation_steering import OURS
from interp_steer.interchange.checked_files import LARGEST, real, whole, write_file
from interp_steer.interchange.conversion import Incoming, card_of, card_text, incoming, outgoing
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector

_KEYS = ("activations", "layer_indices", "scale", "norm_match", "position_indices", OURS)
_TYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16}


def read(
    content: Any, path: Path, *, model: HookedLM | None = None, name: str | None = None
) -> Incoming:
    """From the vectors of a request to one that adds what they add together.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to.
        name: what to call it.
    """
    if not _recognises(content, path):
        raise InterchangeError(
            f"{path} should hold objects of activations and layer_indices; store "
            "[vector.model_dump(mode='json')]"
        )
    objects = content if isinstance(content, list) else [content]
    exact: dict[int, Tensor] = {}
    lost: list[str] = []
    for number, each in enumerate(objects):
        where = f"vector {number} of {path}"
        for layer, direction in _added(each, where).items():
            if layer in exact and exact[layer].shape != direction.shape:
                raise InterchangeError(
                    f"{where} has {len(direction)} numbers at layer {layer}, and one before it "
                    f"{len(exact[layer])}; they must be equal"
                )
            exact[layer] = exact[layer] + direction if layer in exact else direction
        lost += _ignored(each, where)
    ours = objects[0].get(OURS) if len(objects) == 1 else None
    return incoming(
        {layer: real(at, f"what layer {layer} of {path} adds") for layer, at in exact.items()},
        path,
        tool="vllm_lens",
        model=model,
        name=name,
        card=None if ours is None else card_of(ours, str(path)),
        lost=lost,
    )


def _added(said: Mapping[str, Any], where: str) -> dict[int, Tensor]:
    """What one vector adds at each of its layers, float64."""
    if said.get("norm_match", False) is not False:
        raise InterchangeError(
            f"{where} has norm_match, by which the length of the activation decides how much is "
            "added; a vector adds the same everywhere: set it to false to have the directions as "
            "they are"
        )
    scale = said.get("scale", 1.0)
    if type(scale) not in (int, float) or not abs(scale) < 1e30:  # which nan is not either
        raise InterchangeError(f"the scale of {where} is {str(scale)[:40]!r}; give a finite number")
    listed = said["layer_indices"]
    if not isinstance(listed, list) or not listed:
        raise InterchangeError(f"{where} should have a list of layer_indices, and has none")
    layers = [whole(each, f"a layer of {where}") for each in listed]
    rows = _rows(said["activations"], where)
    if len(set(layers)) < len(layers) or len(layers) != len(rows):
        raise InterchangeError(
            f"{where} has {len(rows)} directions for the layers {str(layers)[:80]}; it must have "
            "one for each, and no layer twice"
        )
    return {layer: float(scale) * row.double() for layer, row in zip(layers, rows, strict=True)}


def _rows(said: Any, where: str) -> Float[Tensor, "layer d_model"]:
    """The activations of one vector, checked and in float32."""
    if not isinstance(said, dict) or not isinstance(said.get("shape"), list):
        raise InterchangeError(f"the activations of {where} have no shape; make the file again")
    shape = [whole(each, f"a size of {where}", least=1, most=2**31) for each in said["shape"]]
    if len(shape) == 3:
        raise InterchangeError(
            f"{where} has activations of shape {tuple(shape)}, for {shape[1]} positions: a vector "
            "has one direction for all; store activations of shape (n_layers, d_model)"
        )
    kind = said.get("dtype")
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    if kind == "int16" and said.get("original_dtype") == "torch.bfloat16":
        dtype = torch.bfloat16
    if dtype is None:
        raise InterchangeError(
            f"the activations of {where} are of type {str(kind)[:40]!r}; store them as one of "
            f"{', '.join(_TYPES)}, or bfloat16 as int16"
        )
    size = math.prod(shape) * dtype.itemsize
    if size > LARGEST:
        raise InterchangeError(
            f"the activations of {where} claim {size:,} bytes, more than the {LARGEST:,} that are "
            "read"
        )
    data = _bytes(said, size, where)
    if len(data) != size:
        raise InterchangeError(
            f"the activations of {where} are not the {size:,} bytes of {tuple(shape)} in {kind}; "
            "make the file again"
        )
    held = torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
    return real(held, f"the activations of {where}", ndim=2)


def _bytes(said: Mapping[str, Any], size: int, where: str) -> bytes:
    """The bytes of the activations, unpacked no further than one beyond what the shape needs."""
    packing = said.get("compression")
    if packing not in (None, "zstd"):
        raise InterchangeError(
            f"the activations of {where} are packed as {str(packing)[:40]!r}; zstd is known"
        )
    try:
        data = base64.b64decode(said["data"], validate=True)
        if packing is None:
            return data
        import pyarrow  # takes a while, and only packed files need it

        with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
            return stream.read(size + 1)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InterchangeError(
            f"the activations of {where} cannot be unpacked ({type(error).__name__}: {error}); "
            "make the file again"
        ) from error


def _ignored(said: Mapping[str, Any], where: str) -> list[str]:
    """What vllm-lens does not look at either."""
    lost = []
    if more := sorted(set(said) - set(_KEYS)):
        lost.append(f"{', '.join(more)[:80]} of {where}, which vllm-lens ignores")
    if said.get("position_indices") is not None:
        lost.append(
            f"position_indices of {where}, which vllm-lens ignores beside one direction for a layer"
        )
    return lost


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector, or an intervention that adds, to the JSON of a request.

    Args:
        what: the vector, whose raw directions are written for ``scale`` to weigh; or the
            intervention, of which is written what it adds, with scale 1.
        path: the file.
        model: to check sizes against: vLLM leaves the request unsteered where a width is wrong.
    """
    out = outgoing(what, "vllm-lens", model)
    out = out.without((-1,), "vllm-lens writes to what leaves a layer")
    rows = torch.stack(list(out.places.values()))
    content: dict[str, Any] = {
        "activations": {
            "data": base64.b64encode(rows.numpy().astype("<f4").tobytes()).decode("ascii"),
            "dtype": "float32",
            "original_dtype": "torch.float32",
            "shape": list(rows.shape),
        },
        "layer_indices": list(out.places),
        "scale": 1.0,
        "norm_match": False,
        "position_indices": None,
    }
    if out.card is not None:
        content[OURS] = card_text(out.card)
    write_file(path, json.dumps([content]).encode(), VLLM_LENS.suffixes)
    return out.lost


def _recognises(content: Any, path: Path) -> bool:
    objects = content if isinstance(content, list) else [content]
    return bool(objects) and all(
        isinstance(each, dict) and {"activations", "layer_indices"} <= set(each) for each in objects
    )


VLLM_LENS = Format(
    name="vllm_lens",
    tool="vllm-lens, a plugin of vLLM",
    file=".json, the apply_steering_vectors of a request",
    layers="k is resid_post.k, from 0",
    acts="adds scale times the row to what leaves decoder layer k, at every position of the one "
    "request, in the type of the weights",
    kept="directions (float32, bit for bit; half precision widened), the card in files that we "
    "wrote",
    lost="targets and baseline; on reading, how much of a direction was its scale, and which of "
    "several vectors it was of",
    refused=f"norm_match; the embedding, {ADDS_ONLY}",
    suffixes=(".json",),
    recognises=_recognises,
    read=read,
    write=write,
)
