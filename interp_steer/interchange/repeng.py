"""Convert repeng's GGUF (``ControlVector.export_gguf``).

Keys: ``general.architecture = "controlvector"``, ``controlvector.model_hint`` (the ``model_type``
of the configuration) and ``controlvector.layer_count`` (u32, the number of directions). Tensors:
``direction.k``, F32, of length 1.

Layers: ``k`` is ``resid_post`` of layer ``k``, for ``k`` from 1. repeng reads
``hidden_states[k + 1]`` and adds after block ``k``, at every position but pads. For the last block
it reads the state after the final norm, but adds before that norm. The direction of the last layer
therefore belongs to another place than it acts at: it is left out on reading, with a warning,
unless ``keep_last=True``.

``direction.0`` is not written: repeng writes none, and llama.cpp refuses a file that has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from interp_steer.interchange.conversion import Incoming
from interp_steer.interchange.formats import OpenedFile
from interp_steer.interchange.gguf_files import Directions
from interp_steer.interchange.gguf_formats import GgufFormat, is_of_generator
from interp_steer.models.hooked_lm import HookedLM


class Repeng(GgufFormat):
    """The files of repeng. Its directions have length 1; ours are written as long as they are, so
    that a coefficient of repeng means more."""

    name = "repeng"
    tool = "repeng"
    called = "repeng"
    layers = "k is resid_post.k, from 1"
    acts = "adds after block k, at every position but pads"
    loses = (
        "layer 0; targets and baseline; on reading, the last layer of its own files, which was "
        "read after the final norm"
    )

    def recognises_foreign(self, content: Directions) -> bool:
        return (
            content.text("general.architecture", "") == self.architecture
            and not is_of_generator(content)
            and "controlvector.method" not in content.keys
        )

    def decode(
        self, file: OpenedFile, model: HookedLM | None, *, keep_last: bool = False
    ) -> Incoming:
        """Return the directions in a file.

        Args:
            file: the file.
            model: the model that the vector belongs to.
            keep_last: whether to take the last layer's direction, which the tool reads after the
                final norm.
        """
        incoming = super().decode(file, model)
        if keep_last or incoming.card is not None or not incoming.places:
            return incoming
        last = _last_layer(incoming.places, model)
        if last not in incoming.places:
            return incoming
        return replace(
            incoming,
            places={place: at for place, at in incoming.places.items() if place != last},
            lost=[
                f"layer {last}: {self.called} reads the last layer after the final norm and adds "
                "before it; keep_last=True takes it all the same"
            ],
        )


def _last_layer(places: Mapping[int, Any], model: HookedLM | None) -> int:
    if model is not None:
        return model.n_layers - 1
    # By default the tool writes every layer from 1 to the last.
    return max(places) if sorted(places) == list(range(1, len(places) + 1)) else -1
