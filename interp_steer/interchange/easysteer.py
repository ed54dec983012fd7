"""Convert EasySteer's GGUF (``StatisticalControlVector.export_gguf``).

Keys: repeng's, ``controlvector.method`` (the method that estimated the directions) and
``controlvector.easysteer``, JSON of a ``version``, the ``component`` that was captured, and
``metadata``, which earlier versions store as ``controlvector.*`` numbers (f32). Tensors:
``direction.k``, F32. There is a ``direction.0``, for which llama.cpp refuses these files.

Of the components only ``hidden_states`` is the residual stream: directions of ``attention_heads``
and ``router_logits`` are refused. A file that names no component is taken to be of
``hidden_states``, as EasySteer's own loader takes it.

Layers: ``k`` is ``resid_post`` of layer ``k``, from 0. EasySteer (in vLLM) adds to the output of
decoder layer ``k``, at the positions and with the scale that a request names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import parse_json
from interp_steer.interchange.conversion import Incoming, Outgoing
from interp_steer.interchange.formats import ADDS_ONLY, Format, OpenedFile
from interp_steer.interchange.gguf_files import Directions
from interp_steer.interchange.gguf_formats import GgufFormat
from interp_steer.models.hooked_lm import HookedLM

_KNOWN_KEYS = ("model_hint", "method", "layer_count", "easysteer")
_STREAM = "hidden_states"


class EasySteer(GgufFormat):
    """The files of EasySteer."""

    name = "easysteer"
    tool = "EasySteer"
    called = "EasySteer"
    file = "GGUF, architecture controlvector, with a method"
    layers = "k is resid_post.k, from 0"
    acts = "adds to what leaves decoder layer k, at the positions of the request"
    loses = "targets and baseline; on reading, metadata and controlvector.* numbers besides"
    refuses = f"directions of attention_heads and router_logits; the embedding, {ADDS_ONLY}"
    first_place = 0

    def recognises_foreign(self, content: Directions) -> bool:
        return "controlvector.method" in content.keys

    def decode(self, file: OpenedFile, model: HookedLM | None) -> Incoming:
        content: Directions = file.content
        more = [
            key
            for key in content.keys
            if key.startswith("controlvector.") and key.partition(".")[2] not in _KNOWN_KEYS
        ]
        description = _description(content, file.path)
        lost = [f"the keys {', '.join(sorted(more))}"] if more else []
        if description.get("metadata") not in (None, {"mapping": []}):
            lost.append("EasySteer's metadata")
        return replace(super().decode(file, model), lost=lost)

    def source(self, content: Directions) -> str:
        return f"easysteer {content.text('controlvector.method', '')}".strip()

    def more_keys(self, out: Outgoing) -> Mapping[str, str]:
        description = {"version": 1, "component": _STREAM, "metadata": None}
        method = "intervention" if out.card is None else out.card.estimator
        return {"method": method, "easysteer": json.dumps(description)}

    def explain_unreachable(self) -> str:
        return Format.explain_unreachable(self)


def _description(content: Directions, path: Path) -> dict[str, Any]:
    key = "controlvector.easysteer"
    if key not in content.keys:
        return {}
    description = parse_json(content.text(key, ""), f"{key} of {path}")
    if not isinstance(description, dict) or description.get("version") != 1:
        raise InterchangeError(
            f"{key} of {path} is {str(description)[:80]!r}, not of version 1; export it again, "
            "with an EasySteer that writes that version"
        )
    if description.get("component") not in (None, _STREAM):
        raise InterchangeError(
            f"{path} has directions of {str(description['component'])[:40]!r}, which is not a "
            f"place in the residual stream; extract them from {_STREAM}"
        )
    return description
