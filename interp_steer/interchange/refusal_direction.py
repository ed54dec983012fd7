"""Convert refusal_direction's ``direction.pt``, and read ``mean_diffs.pt`` (Arditi et al. 2024).

``direction.pt`` is one direction, float64. ``direction_metadata.json`` in the same folder has its
``layer`` and ``pos``, counted from the end of the prompt. ``mean_diffs.pt`` has all candidates,
``[pos, layer, d_model]``, float64.

Layers: ``L`` is measured at, and added to, what enters block ``L``: ``resid_pre`` of layer ``L``,
which is ``resid_post`` of layer ``L - 1``. ``0`` is the embedding, which is not a ``resid_post``:
it is left out with a warning unless ``component="resid_pre"``. A direction that acts at
``resid_post`` of layer ``k`` is written as ``L = k + 1``, so the last layer's cannot be written.
The tool adds at every position.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import (
    check_integer,
    check_tensor,
    read_json,
    torch_bytes,
)
from interp_steer.interchange.conversion import (
    UNKNOWN,
    Incoming,
    Residual,
    check_residual,
    find_card,
)
from interp_steer.interchange.formats import ADDS_ONLY, BlockInputFormat, Encoded, OpenedFile
from interp_steer.models.hooked_lm import HookedLM

METADATA = "direction_metadata.json"
"""The file of the metadata, in the folder of the direction."""


class RefusalDirection(BlockInputFormat):
    """The files of refusal_direction: one direction with its metadata, or all candidates."""

    name = "refusal_direction"
    tool = "refusal_direction"
    called = "refusal_direction"
    file = "direction.pt with direction_metadata.json; mean_diffs.pt"
    layers = "L is resid_pre.L, which is resid_post.(L-1)"
    acts = "adds to what enters block L, at every position"
    keeps = (
        "one direction (float32, bit for bit; its float64 is rounded to float32), the card in "
        "files that we wrote"
    )
    loses = (
        "other layers and, on reading, other positions; targets and baseline; 0 unless "
        "component='resid_pre'"
    )
    refuses = f"the last layer; {ADDS_ONLY}"
    suffixes = (".pt",)

    def recognises(self, file: OpenedFile) -> bool:
        return isinstance(file.content, Tensor) and (
            file.content.ndim == 3 or (file.content.ndim == 1 and file.path.name == "direction.pt")
        )

    def decode(
        self,
        file: OpenedFile,
        model: HookedLM | None,
        *,
        layer: int | None = None,
        position: int = -1,
        component: Residual | None = None,
    ) -> Incoming:
        """Return the direction in a file, or all candidates for a position.

        Args:
            file: the file.
            model: the model that the vector belongs to.
            layer: ``L`` of a direction without its metadata.
            position: of candidates, the ``pos`` to be taken, from the end of the prompt.
            component: the name by which a place is called; by default the card's, or else
                ``"resid_post"``. Only ``"resid_pre"`` has layer 0 of the file.
        """
        if isinstance(file.content, Tensor) and file.content.ndim == 3:
            return self._candidates(file, position, component)
        path = file.path
        direction = check_tensor(file.content, f"the direction of {path}")
        beside = path.with_name(METADATA)
        metadata = read_json(beside) if beside.exists() and layer is None else {"layer": layer}
        if not isinstance(metadata, dict) or metadata.get("layer") is None:
            raise InterchangeError(
                f"{path} does not say at which layer it was read, and {beside.name} is not beside "
                "it; give layer="
            )
        place = check_integer(metadata["layer"], f"the layer of {path}") - 1
        card = find_card(metadata, str(beside))
        check_residual(component)
        return Incoming(
            {place: direction},
            tool=self.name,
            component=component,
            card=card,
            position=_position_text(metadata.get("pos")),
        )

    def _candidates(self, file: OpenedFile, position: int, component: Residual | None) -> Incoming:
        candidates = check_tensor(file.content, f"the candidates of {file.path}", ndim=3)
        count = len(candidates)
        if not -count <= position < 0:
            raise InterchangeError(
                f"{file.path} has candidates for the last {count} positions, and not for "
                f"{position}; give one from -{count} to -1"
            )
        check_residual(component)
        return Incoming(
            {place - 1: at for place, at in enumerate(candidates[position])},
            tool=self.name,
            component=component,
            position=_position_text(position),
            lost=[f"{count - 1} other positions"] if count > 1 else [],
        )

    def encode(
        self,
        vector: object,
        path: Path,
        model: HookedLM | None,
        *,
        layer: int | None = None,
    ) -> Encoded:
        """Return the two files of one direction, and what they do not hold.

        Args:
            vector: the vector, or an intervention that adds at one place.
            path: ``direction.pt``, the name that the tool reads.
            model: the model, to check sizes against.
            layer: the layer whose ``resid_post`` is written; needed for a vector of several.
        """
        if path.name != "direction.pt":
            raise InterchangeError(
                f"{path} is called {path.name!r}; the tool reads a direction.pt, with its metadata "
                "beside it: give each vector its own folder"
            )
        out = self.place(vector, model)
        place, direction, others = out.only(layer, "direction.pt holds one direction")
        read_at = UNKNOWN if out.card is None else out.card.position
        pos = -1 if read_at == "last" else int(read_at) if read_at.lstrip("-").isdigit() else None
        metadata: dict[str, Any] = {"pos": pos, "layer": place + 1, **out.card_entry}
        no_index = f"pos: the direction was read at {read_at!r}, which is not an index"
        lost = (*out.lost, *others, *([] if pos is not None else [no_index]))
        files = {
            path.with_name(METADATA): json.dumps(metadata, indent=4).encode(),
            path: torch_bytes(direction.double()),
        }
        return files, lost


def _position_text(pos: Any) -> str:
    return UNKNOWN if type(pos) is not int else "last" if pos == -1 else str(pos)
