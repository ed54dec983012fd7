"""Define the shared part of the four formats of GGUF files: recognise, decode and encode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from interp_steer.interchange.conversion import UNKNOWN, Incoming, Outgoing
from interp_steer.interchange.formats import (
    ADDS_ONLY,
    KEEPS_DIRECTIONS,
    Encoded,
    Format,
    OpenedFile,
)
from interp_steer.interchange.gguf_files import FORMAT, Directions, gguf_bytes
from interp_steer.models.hooked_lm import HookedLM


class GgufFormat(Format):
    """A GGUF file of tensors ``direction.k``, in which ``k`` is ``resid_post`` of layer ``k``.

    ``direction.0`` is not written, because llama.cpp refuses a file that has it.
    """

    file = "GGUF, architecture controlvector"
    acts = "adds after block k, at every position"
    keeps = f"{KEEPS_DIRECTIONS}, the card in files that we wrote"
    loses = "layer 0; targets and baseline"
    refuses = ADDS_ONLY
    suffixes = (".gguf",)
    first_place = 1

    architecture: ClassVar[str] = "controlvector"
    """``general.architecture``, with which the names of the other keys begin."""

    def recognises(self, file: OpenedFile) -> bool:
        content: Directions = file.content
        ours = content.text(FORMAT, "")
        return ours == self.name or (not ours and self.recognises_foreign(content))

    def recognises_foreign(self, content: Directions) -> bool:
        """Return whether the keys of a file that we did not write are of this format."""
        raise NotImplementedError

    def decode(self, file: OpenedFile, model: HookedLM | None) -> Incoming:
        content: Directions = file.content
        return Incoming(
            content.directions,
            tool=self.source(content),
            card=content.card,
            hint=content.text(f"{self.architecture}.model_hint", UNKNOWN),
        )

    def source(self, content: Directions) -> str:
        """Return the estimator that the card names: the tool, and how the file was made."""
        return self.name

    def encode(self, vector: object, path: Path, model: HookedLM | None) -> Encoded:
        out = self.place(vector, model)
        keys = {"model_hint": model_hint(out.model, model), **self.more_keys(out)}
        return {path: gguf_bytes(out, self.name, self.architecture, keys)}, out.lost

    def more_keys(self, out: Outgoing) -> Mapping[str, str]:
        """Return texts that only this format has, by key."""
        return {}

    def explain_unreachable(self) -> str:
        return "direction.0 makes llama.cpp refuse the whole file, so block 0 cannot be steered"


def is_of_generator(content: Directions) -> bool:
    """Return whether llama.cpp's generator made a file, which counts the layers as an i32."""
    return content.kinds.get("controlvector.layer_count") == "INT32"


def model_hint(owner: str, model: HookedLM | None) -> str:
    """Return the ``model_type`` of the model's configuration, or the card's name of the model."""
    return owner if model is None else str(model.plain.config.model_type)
