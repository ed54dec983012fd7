"""steering-vectors: the arguments of its ``SteeringVector``, which has no file of its own.

``layer_activations: dict[int, Tensor]`` and ``layer_type``. What people store is one of

- a ``.pt`` of ``{"layer_activations": {k: tensor}, "layer_type": "decoder_block"}``, which is what
  we write: ``SteeringVector(**torch.load(path, weights_only=True))`` makes it anew;
- a ``.pt`` of the dictionary ``{k: tensor}`` alone;
- a ``.safetensors`` whose tensors are called by the number, ``"5"`` or ``"layer_activations.5"``.

A pickled ``SteeringVector`` object is code, and is refused.

Layers: with ``decoder_block``, ``k`` is ``resid_post`` of layer ``k``; a negative ``k`` counts from
the end, for which ``model=`` is needed. It adds after block ``k`` at every position from
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
from interp_steer.interchange.checked_files import parse_json, torch_bytes, write_file
from interp_steer.interchange.conversion import (
    Incoming,
    Outgoing,
    card_of,
    card_text,
    directions_of,
    incoming,
    outgoing,
)
from interp_steer.interchange.formats import ADDS_ONLY, Format
from interp_steer.interchange.gguf_files import CARD
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.card import Card
from interp_steer.vectors.steering_vector import SteeringVector

BLOCK = "decoder_block"
"""The only ``layer_type`` that is a place in the residual stream."""

_NUMBERED = r"(?:layer_activations\.)?(-?[0-9]{1,4})"


def read(
    content: Any, path: Path, *, model: HookedLM | None = None, name: str | None = None
) -> Incoming:
    """From a dictionary to a vector.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to; needed for negative layers.
        name: what to call it.
    """
    held, kind, card = _parts(content, path)
    if kind != BLOCK:
        raise InterchangeError(
            f"{path} has layer_type {kind!r}, which acts inside a block; only {BLOCK!r} is a place "
            "in the residual stream"
        )
    if any(key < 0 for key in held) and model is None:
        raise InterchangeError(
            f"{path} counts layers from the end ({sorted(held)[:3]}); give model= to count by"
        )
    last = 0 if model is None else model.n_layers
    counted = {key + last if key < 0 else key: at for key, at in held.items()}
    if len(counted) < len(held) or min(counted, default=0) < 0:
        raise InterchangeError(
            f"{path} has the layers {sorted(held)}, of which two are one of {last}, or one is "
            "before the first"
        )
    places = directions_of(counted, path)
    return incoming(places, path, tool="steering_vectors", model=model, name=name, card=card)


def _parts(content: Any, path: Path) -> tuple[dict[int, Any], Any, Card | None]:
    if isinstance(content, tuple):  # a safetensors file
        tensors, metadata = content
        matches = [re.fullmatch(_NUMBERED, key) for key in tensors]
        numbers = [int(match[1]) for match in matches if match]
        if not tensors or len(set(numbers)) < len(tensors):
            raise _no_layers(path, list(tensors))
        said = metadata.get(CARD)
        card = None if said is None else card_of(parse_json(said, str(path)), str(path))
        held = dict(zip(numbers, tensors.values(), strict=True))
        return held, metadata.get("layer_type", BLOCK), card
    kind = BLOCK
    if isinstance(content, dict) and "layer_activations" in content:
        content, kind = content["layer_activations"], content.get("layer_type", BLOCK)
    if not isinstance(content, dict) or not _numbered(content):
        raise _no_layers(path, list(content) if isinstance(content, dict) else [])
    return content, kind, None


def _no_layers(path: Path, keys: list[Any]) -> InterchangeError:
    some = ", ".join(repr(key)[:40] for key in keys[:3]) or "nothing of the kind"
    return InterchangeError(
        f"{path} should hold tensors by layer, and holds {some}; store "
        "vector.layer_activations, or dataclasses.asdict(vector)"
    )


def _numbered(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(type(key) is int and abs(key) < 4096 for key in content)


def layer_activations(
    what: SteeringVector | Intervention, model: HookedLM | None = None
) -> dict[int, Float[Tensor, " d_model"]]:
    """What steering-vectors' ``SteeringVector`` is made of, in memory.

    Args:
        what: the vector, whose raw directions are given, or an intervention that adds.
        model: to check sizes against.

    Raises:
        InterchangeError: for what it cannot hold, with the reason.

    Example:
        >>> theirs = steering_vectors.SteeringVector(layer_activations(ours))  # doctest: +SKIP
    """
    return dict(_outgoing(what, model).places)


def _outgoing(what: SteeringVector | Intervention, model: HookedLM | None) -> Outgoing:
    out = outgoing(what, "steering-vectors", model)
    return out.without((-1,), "it writes to what leaves a block")


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector, or an intervention that adds, to a ``.pt`` or a ``.safetensors``.

    Args:
        what: the vector, whose raw directions are written, or the intervention.
        path: the file.
        model: to check sizes against.
    """
    out = _outgoing(what, model)
    if path.suffix == ".safetensors":
        metadata = {"layer_type": BLOCK}
        if out.card is not None:
            metadata[CARD] = json.dumps(card_text(out.card), sort_keys=True)
        tensors = {f"layer_activations.{place}": at for place, at in out.places.items()}
        write_file(path, save(tensors, metadata), STEERING_VECTORS.suffixes)
        return out.lost
    content = {"layer_activations": dict(out.places), "layer_type": BLOCK}
    write_file(path, torch_bytes(content), STEERING_VECTORS.suffixes)
    return (*out.lost, *card_lost(out))


def card_lost(out: Outgoing) -> tuple[str, ...]:
    """What is lost where a file has no room for the card."""
    return () if out.card is None else ("card: the file has no room for where it comes from",)


def _recognises(content: Any, path: Path) -> bool:
    if isinstance(content, tuple):
        return True
    return isinstance(content, dict) and ("layer_activations" in content or _numbered(content))


STEERING_VECTORS = Format(
    name="steering_vectors",
    tool="steering-vectors",
    file=".pt or .safetensors of layer_activations and layer_type",
    layers="k is resid_post.k, from 0; negative k from the end",
    acts="adds after block k, at every position from min_token_index on",
    kept="directions (float32, bit for bit; half precision widened), the card in .safetensors that "
    "we wrote",
    lost="targets and baseline; the card in .pt",
    refused=f"pickled objects, layer types inside a block; the embedding, {ADDS_ONLY}",
    suffixes=(".pt", ".pth", ".safetensors"),
    recognises=_recognises,
    read=read,
    write=write,
)
