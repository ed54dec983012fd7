"""Convert vllm-lens' JSON, which carries the ``SteeringVector`` of one request to vLLM.

The JSON is a list of objects, each of which is added::

    [{"activations": {"data": base64, "dtype": "float32", "shape": [n, d_model]},
      "layer_indices": [5, ...], "scale": 1.0, "norm_match": false, "position_indices": null}]

A request names the text of the file ``apply_steering_vectors``: in ``vllm_xargs`` over HTTP, in
``SamplingParams(extra_args=...)`` in Python. The numbers in ``data`` are of type ``dtype``;
bfloat16 is stored as int16 with ``"original_dtype": "torch.bfloat16"``. They are packed where
``"compression"`` is ``"zstd"``, as vllm-lens writes them.

Layers: ``k`` is ``resid_post`` of layer ``k``, from 0. vllm-lens adds ``scale`` times the row to
the output of decoder layer ``k``, at every position of the request, in the type of the weights.
Where a layer hands the stream on in two parts that the next layer sums, it adds to the first part.

On reading, the scale is multiplied into the directions and the objects of a list are summed, so
that ``shift(1.0)`` has the effect of the file. ``norm_match`` is refused, since the activation's
length then decides how much is added. ``[n, positions, d_model]`` is refused, since it acts at some
positions only; version 1.3 counts the positions from the start of each forward pass, so that 0 is
every generated token too.
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
from interp_steer.interchange.checked_files import LARGEST, check_integer, check_tensor
from interp_steer.interchange.conversion import OURS, Incoming, find_card
from interp_steer.interchange.formats import (
    ADDS_ONLY,
    Encoded,
    Format,
    OpenedFile,
)
from interp_steer.models.hooked_lm import HookedLM

_KEYS = ("activations", "layer_indices", "scale", "norm_match", "position_indices", OURS)
_TYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16}


class VllmLens(Format):
    """The requests of vllm-lens. A vector is written with scale 1; vLLM leaves a request unsteered
    whose width is not the model's."""

    name = "vllm_lens"
    tool = "vllm-lens, a plugin of vLLM"
    called = "vllm-lens"
    file = ".json, the apply_steering_vectors of a request"
    layers = "k is resid_post.k, from 0"
    acts = (
        "adds scale times the row to what leaves decoder layer k, at every position of the one "
        "request, in the type of the weights"
    )
    keeps = (
        "directions (float32, bit for bit; half precision widened), the card in files that we wrote"
    )
    loses = (
        "targets and baseline; on reading, how much of a direction was its scale, and which of "
        "several vectors it was of"
    )
    refuses = f"norm_match; the embedding, {ADDS_ONLY}"
    suffixes = (".json",)

    def recognises(self, file: OpenedFile) -> bool:
        objects = _objects(file.content)
        return bool(objects) and all(
            isinstance(each, dict) and {"activations", "layer_indices"} <= set(each)
            for each in objects
        )

    def decode(self, file: OpenedFile, model: HookedLM | None) -> Incoming:
        path = file.path
        if not self.recognises(file):
            raise InterchangeError(
                f"{path} should hold objects of activations and layer_indices; store "
                "[vector.model_dump(mode='json')]"
            )
        objects = _objects(file.content)
        exact: dict[int, Tensor] = {}
        lost: list[str] = []
        for number, vector in enumerate(objects):
            where = f"vector {number} of {path}"
            for layer, direction in _added_by(vector, where).items():
                if layer in exact and exact[layer].shape != direction.shape:
                    raise InterchangeError(
                        f"{where} has {len(direction)} numbers at layer {layer}, and one before it "
                        f"{len(exact[layer])}; they must be equal"
                    )
                exact[layer] = exact[layer] + direction if layer in exact else direction
            lost += _ignored(vector, where)
        card = find_card(objects[0], str(path)) if len(objects) == 1 else None
        places = {
            layer: check_tensor(at, f"what layer {layer} of {path} adds")
            for layer, at in exact.items()
        }
        return Incoming(places, tool=self.name, card=card, lost=lost)

    def encode(self, vector: object, path: Path, model: HookedLM | None) -> Encoded:
        out = self.place(vector, model)
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
            **out.card_entry,
        }
        return {path: json.dumps([content]).encode()}, out.lost


def _objects(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _added_by(vector: Mapping[str, Any], where: str) -> dict[int, Tensor]:
    """Return what a vector of the file adds at each of its layers, float64."""
    if vector.get("norm_match", False) is not False:
        raise InterchangeError(
            f"{where} has norm_match, by which the length of the activation decides how much is "
            "added; a vector adds the same everywhere: set it to false to have the directions as "
            "they are"
        )
    scale = vector.get("scale", 1.0)
    if type(scale) not in (int, float) or not abs(scale) < 1e30:  # nan fails this too
        raise InterchangeError(f"the scale of {where} is {str(scale)[:40]!r}; give a finite number")
    indices = vector["layer_indices"]
    if not isinstance(indices, list) or not indices:
        raise InterchangeError(f"{where} should have a list of layer_indices, and has none")
    layers = [check_integer(index, f"a layer of {where}") for index in indices]
    rows = _rows(vector["activations"], where)
    if len(set(layers)) < len(layers) or len(layers) != len(rows):
        raise InterchangeError(
            f"{where} has {len(rows)} directions for the layers {str(layers)[:80]}; it must have "
            "one for each, and no layer twice"
        )
    return {layer: float(scale) * row.double() for layer, row in zip(layers, rows, strict=True)}


def _rows(activations: Any, where: str) -> Float[Tensor, "layer d_model"]:
    """Return the activations of a vector, checked and in float32."""
    if not isinstance(activations, dict) or not isinstance(activations.get("shape"), list):
        raise InterchangeError(f"the activations of {where} have no shape; make the file again")
    sizes = activations["shape"]
    shape = [check_integer(size, f"a size of {where}", least=1, most=2**31) for size in sizes]
    if len(shape) == 3:
        raise InterchangeError(
            f"{where} has activations of shape {tuple(shape)}, for {shape[1]} positions: a vector "
            "has one direction for all; store activations of shape (n_layers, d_model)"
        )
    kind = activations.get("dtype")
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    if kind == "int16" and activations.get("original_dtype") == "torch.bfloat16":
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
    data = _unpack(activations, size, where)
    if len(data) != size:
        raise InterchangeError(
            f"the activations of {where} are not the {size:,} bytes of {tuple(shape)} in {kind}; "
            "make the file again"
        )
    rows = torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
    return check_tensor(rows, f"the activations of {where}", ndim=2)


def _unpack(activations: Mapping[str, Any], size: int, where: str) -> bytes:
    """Return the bytes of the activations; stop one byte beyond what the shape needs."""
    packing = activations.get("compression")
    if packing not in (None, "zstd"):
        raise InterchangeError(
            f"the activations of {where} are packed as {str(packing)[:40]!r}; zstd is known"
        )
    try:
        data = base64.b64decode(activations["data"], validate=True)
        if packing is None:
            return data
        import pyarrow  # slow to import, and only packed files need it

        with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
            return stream.read(size + 1)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InterchangeError(
            f"the activations of {where} cannot be unpacked ({type(error).__name__}: {error}); "
            "make the file again"
        ) from error


def _ignored(vector: Mapping[str, Any], where: str) -> list[str]:
    """Return a line for each entry that vllm-lens does not read either."""
    lost = []
    if more := sorted(set(vector) - set(_KEYS)):
        lost.append(f"{', '.join(more)[:80]} of {where}, which vllm-lens ignores")
    if vector.get("position_indices") is not None:
        lost.append(
            f"position_indices of {where}, which vllm-lens ignores beside one direction for a layer"
        )
    return lost
