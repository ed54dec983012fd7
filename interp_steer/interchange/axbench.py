"""Convert axbench's weights, ``{Method}_weight.pt`` and ``{Method}_bias.pt``.

``weight`` is ``[concepts, d_model]``, a row for each concept. ``bias`` is added in detection, and
steering does not use it. The layer is not in the files but in the YAML of the run: the caller
names it.

Layers: ``layer`` is ``resid_post`` of that layer, from 0. axbench adds ``max_act * factor *
weight[concept]`` to the output of the block, at every position.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import check_integer, check_tensor, torch_bytes
from interp_steer.interchange.conversion import Incoming
from interp_steer.interchange.formats import ADDS_ONLY, Encoded, Format, OpenedFile
from interp_steer.models.hooked_lm import HookedLM

_WEIGHT, _BIAS = "_weight.pt", "_bias.pt"


class AxBench(Format):
    """The weights of axbench: a direction for each concept."""

    name = "axbench"
    tool = "axbench"
    called = "axbench"
    file = "{Method}_weight.pt and {Method}_bias.pt"
    layers = "the caller's layer is resid_post.layer, from 0"
    acts = "adds max_act * factor * weight to the output of the block, at every position"
    keeps = "one direction (float32, bit for bit; half precision widened)"
    loses = (
        "the layer, the card, other layers; targets and baseline; on reading, other concepts and "
        "the bias"
    )
    refuses = f"the embedding, {ADDS_ONLY}"
    suffixes = (".pt",)

    def recognises(self, file: OpenedFile) -> bool:
        return isinstance(file.content, Tensor) and file.content.ndim == 2

    def decode(
        self,
        file: OpenedFile,
        model: HookedLM | None,
        *,
        layer: int | None = None,
        concept: int | None = None,
    ) -> Incoming:
        """Return the direction of a concept.

        Args:
            file: the file of weights.
            model: the model that the vector belongs to.
            layer: the layer of the run, from its YAML.
            concept: the row; needed where there are several.
        """
        weights = check_tensor(file.content, f"the weights of {file.path}", ndim=2)
        if layer is None:
            raise InterchangeError(
                f"{file.path} does not say its layer, which is in the YAML of the run; give layer="
            )
        if concept is None and len(weights) > 1:
            raise InterchangeError(
                f"{file.path} has {len(weights)} concepts; choose one with concept="
            )
        row = check_integer(concept or 0, "concept", most=len(weights) - 1)
        lost = [f"{len(weights) - 1} other concepts"] if len(weights) > 1 else []
        lost += ["the bias, which detects and does not steer"]
        return Incoming({check_integer(layer, "layer"): weights[row]}, tool=self.name, lost=lost)

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
            path: ``{Method}_weight.pt``; the bias, 0, goes to the same folder.
            model: the model, to check sizes against.
            layer: the layer whose direction is written; needed for a vector of several.
        """
        if not path.name.endswith(_WEIGHT) or path.name == _WEIGHT:
            raise InterchangeError(
                f"{path} is called {path.name!r}; axbench reads a file such as DiffMean{_WEIGHT}"
            )
        out = self.place(vector, model)
        place, direction, others = out.only(layer, "the weights are of one layer")
        bias = path.with_name(path.name.removesuffix(_WEIGHT) + _BIAS)
        files = {bias: torch_bytes(torch.zeros(1)), path: torch_bytes(direction[None].clone())}
        yaml = f"layer: put {place} in the YAML of the run"
        return files, (*out.lost, *out.card_lost, *others, yaml)
