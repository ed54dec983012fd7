"""Convert IBM activation-steering's ``.svec`` (``SteeringVector.save``).

JSON: ``model_type``, ``directions`` (from a layer's number to a list of numbers) and
``explained_variances``.

Layers: a direction ``k`` is measured at ``hidden_states[k + 1]``, which is ``resid_post`` of layer
``k``, and added to what enters block ``k``. It acts at ``resid_pre`` of layer ``k``, which is
``resid_post`` of layer ``k - 1``. Files are read as they act. ``0`` acts on the embedding, which is
not a ``resid_post``: it is left out with a warning unless ``component="resid_pre"``. A direction
that acts at ``resid_post`` of layer ``k`` is written as ``k + 1``, so the last layer's cannot be
written.

The tool adds at every position, but only to the first row of a batch, in float16.
"""

from __future__ import annotations

import json
from pathlib import Path

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import check_numbers
from interp_steer.interchange.conversion import (
    UNKNOWN,
    Incoming,
    Residual,
    check_residual,
    find_card,
)
from interp_steer.interchange.formats import (
    ADDS_ONLY,
    KEEPS_DIRECTIONS,
    BlockInputFormat,
    Encoded,
    OpenedFile,
)
from interp_steer.interchange.gguf_formats import model_hint
from interp_steer.models.hooked_lm import HookedLM


class ActivationSteering(BlockInputFormat):
    """The files of IBM activation-steering."""

    name = "activation_steering"
    tool = "IBM activation-steering"
    called = "activation-steering"
    file = ".svec, JSON"
    layers = "k acts at resid_pre.k, which is resid_post.(k-1); it was measured at resid_post.k"
    acts = "adds to what enters block k, at every position of the first row, in float16"
    keeps = f"{KEEPS_DIRECTIONS}, the card in files that we wrote"
    loses = (
        "the last layer; targets and baseline; explained_variances; on reading, 0 unless "
        "component='resid_pre'"
    )
    refuses = ADDS_ONLY
    suffixes = (".svec",)

    def recognises(self, file: OpenedFile) -> bool:
        content = file.content
        return isinstance(content, dict) and isinstance(content.get("directions"), dict)

    def decode(
        self, file: OpenedFile, model: HookedLM | None, *, component: Residual | None = None
    ) -> Incoming:
        """Return the directions in a file.

        Args:
            file: the file.
            model: the model that the vector belongs to.
            component: the name by which a place is called; by default the card's, or else
                ``"resid_post"``. Only ``"resid_pre"`` has layer 0 of the file.
        """
        content, path = file.content, file.path
        if not self.recognises(file):
            raise InterchangeError(
                f"{path} has no directions by layer; it is not a .svec of activation-steering"
            )
        directions = content["directions"]
        keys = list(directions)
        if not keys or not all(key.isascii() and key.isdigit() and len(key) < 5 for key in keys):
            raise InterchangeError(
                f"{path} should have directions by layer, and has {str(keys[:3])[:80]}"
            )
        places = {
            int(key) - 1: check_numbers(at, f"direction {key} of {path}")
            for key, at in directions.items()
        }
        if len(places) < len(directions):
            raise InterchangeError(f"{path} has two directions for one layer; make it again")
        card, hint = find_card(content, str(path)), content.get("model_type")
        check_residual(component)
        return Incoming(
            places,
            tool="activation-steering (measured a layer later)",
            component=component,
            card=card,
            hint=hint if isinstance(hint, str) and hint else UNKNOWN,
            lost=["explained_variances"] if content.get("explained_variances") else [],
        )

    def encode(self, vector: object, path: Path, model: HookedLM | None) -> Encoded:
        out = self.place(vector, model)
        content = {
            "model_type": model_hint(out.model, model),
            "directions": {str(place + 1): at.tolist() for place, at in out.places.items()},
            "explained_variances": {},
            **out.card_entry,
        }
        lost = (*out.lost, "explained_variances: not known")
        return {path: json.dumps(content).encode()}, lost
