"""Convert the arguments of steering-vectors' ``SteeringVector``, which has no format of its files.

The arguments are ``layer_activations: dict[int, Tensor]`` and ``layer_type``. Users store

- a ``.pt`` of ``{"layer_activations": {k: tensor}, "layer_type": "decoder_block"}``, which is what
  we write: ``SteeringVector(**torch.load(path, weights_only=True))`` restores the object;
- a ``.pt`` of the dictionary ``{k: tensor}`` alone;
- a ``.safetensors`` whose tensors are named by the number, ``"5"`` or ``"layer_activations.5"``.

A pickled ``SteeringVector`` object is code, and is refused.

Layers: with ``decoder_block``, ``k`` is ``resid_post`` of layer ``k``. A negative ``k`` counts from
the end, for which ``model=`` is needed. The tool adds after block ``k`` at every position from
``min_token_index`` on, 0 by default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import parse_json, torch_bytes
from interp_steer.interchange.conversion import (
    Incoming,
    card_to_json,
    check_directions,
    parse_card,
)
from interp_steer.interchange.formats import ADDS_ONLY, Encoded, Format, OpenedFile
from interp_steer.interchange.gguf_files import CARD
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.card import Card
from interp_steer.vectors.steering_vector import SteeringVector

BLOCK = "decoder_block"
"""The only ``layer_type`` that is a place in the residual stream."""

_NUMBERED = r"(?:layer_activations\.)?(-?[0-9]{1,4})"


class SteeringVectors(Format):
    """The dictionaries of steering-vectors, in a ``.pt`` or a ``.safetensors``."""

    name = "steering_vectors"
    tool = "steering-vectors"
    called = "steering-vectors"
    file = ".pt or .safetensors of layer_activations and layer_type"
    layers = "k is resid_post.k, from 0; negative k from the end"
    acts = "adds after block k, at every position from min_token_index on"
    keeps = (
        "directions (float32, bit for bit; half precision widened), the card in .safetensors that "
        "we wrote"
    )
    loses = "targets and baseline; the card in .pt"
    refuses = f"pickled objects, layer types inside a block; the embedding, {ADDS_ONLY}"
    suffixes = (".pt", ".pth", ".safetensors")

    def recognises(self, file: OpenedFile) -> bool:
        content = file.content
        if isinstance(content, tuple):
            return True
        return isinstance(content, dict) and (
            "layer_activations" in content or _is_numbered(content)
        )

    def decode(self, file: OpenedFile, model: HookedLM | None) -> Incoming:
        path = file.path
        tensors, kind, card = _parts(file.content, path)
        if kind != BLOCK:
            raise InterchangeError(
                f"{path} has layer_type {kind!r}, which acts inside a block; only {BLOCK!r} is a "
                "place in the residual stream"
            )
        if any(key < 0 for key in tensors) and model is None:
            raise InterchangeError(
                f"{path} counts layers from the end ({sorted(tensors)[:3]}); give model= to count "
                "by"
            )
        end = 0 if model is None else model.n_layers
        counted = {key + end if key < 0 else key: at for key, at in tensors.items()}
        if len(counted) < len(tensors) or min(counted, default=0) < 0:
            raise InterchangeError(
                f"{path} has the layers {sorted(tensors)}, of which two are one of {end}, or one "
                "is before the first"
            )
        return Incoming(check_directions(counted, path), tool=self.name, card=card)

    def encode(self, vector: object, path: Path, model: HookedLM | None) -> Encoded:
        out = self.place(vector, model)
        if path.suffix == ".safetensors":
            metadata = {"layer_type": BLOCK}
            if out.card is not None:
                metadata[CARD] = json.dumps(card_to_json(out.card), sort_keys=True)
            tensors = {f"layer_activations.{place}": at for place, at in out.places.items()}
            return {path: save(tensors, metadata)}, out.lost
        content = {"layer_activations": dict(out.places), "layer_type": BLOCK}
        return {path: torch_bytes(content)}, (*out.lost, *out.card_lost)


def layer_activations(
    vector: SteeringVector | Intervention, model: HookedLM | None = None
) -> dict[int, Float[Tensor, " d_model"]]:
    """Return the first argument of steering-vectors' ``SteeringVector``, without a file.

    Args:
        vector: the vector, whose raw directions are given, or an intervention that adds.
        model: the model, to check sizes against.

    Raises:
        InterchangeError: for a vector or an intervention that directions alone cannot stand for,
            with the reason.

    Example::

        theirs = steering_vectors.SteeringVector(layer_activations(ours))
    """
    return dict(SteeringVectors().place(vector, model).places)


def _parts(content: Any, path: Path) -> tuple[dict[int, Any], Any, Card | None]:
    """Return the tensors by number, the layer type and the card."""
    if isinstance(content, tuple):  # a safetensors file
        tensors, metadata = content
        matches = [re.fullmatch(_NUMBERED, key) for key in tensors]
        numbers = [int(match[1]) for match in matches if match]
        if not tensors or len(set(numbers)) < len(tensors):
            raise _no_layers(path, list(tensors))
        text = metadata.get(CARD)
        card = None if text is None else parse_card(parse_json(text, str(path)), str(path))
        by_number = dict(zip(numbers, tensors.values(), strict=True))
        return by_number, metadata.get("layer_type", BLOCK), card
    kind = BLOCK
    if isinstance(content, dict) and "layer_activations" in content:
        content, kind = content["layer_activations"], content.get("layer_type", BLOCK)
    if not isinstance(content, dict) or not _is_numbered(content):
        raise _no_layers(path, list(content) if isinstance(content, dict) else [])
    return content, kind, None


def _no_layers(path: Path, keys: list[Any]) -> InterchangeError:
    some = ", ".join(repr(key)[:40] for key in keys[:3]) or "nothing of the kind"
    return InterchangeError(
        f"{path} should hold tensors by layer, and holds {some}; store "
        "vector.layer_activations, or dataclasses.asdict(vector)"
    )


def _is_numbered(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(type(key) is int and abs(key) < 4096 for key in content)
