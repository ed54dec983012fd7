"""Convert llama.cpp's control vectors: read files of its generator, write files for its loader.

The loader (``--control-vector FILE``, ``--control-vector-scaled FILE:SCALE``) reads only the
tensors: F32, one axis, all of one length, each named ``direction.k``. It refuses a file that has a
``direction.0``. It adds after block ``k`` at every position, the prompt's included, within
``--control-vector-layer-range START END``, both included.

Layers: ``k`` is ``resid_post`` of layer ``k``, for ``k`` from 1; block 0 cannot be steered.

The generator (``llama-cvector-generator``) names the output of block ``il`` ``direction.{il + 1}``:
a direction that was measured at ``resid_post`` of layer ``k - 1`` acts one layer later, at ``k``.
Its files are recognised by ``controlvector.layer_count``, which is an i32. They are read as they
act; the card says where the directions were measured.
"""

from __future__ import annotations

from interp_steer.interchange.gguf_files import Directions
from interp_steer.interchange.gguf_formats import GgufFormat, is_of_generator


class LlamaCpp(GgufFormat):
    """The control vectors of llama.cpp."""

    name = "llama_cpp"
    tool = "llama.cpp"
    called = "llama_cpp"
    layers = "k is resid_post.k, from 1; its generator measured it at resid_post.(k-1)"

    def recognises_foreign(self, content: Directions) -> bool:
        return is_of_generator(content)

    def source(self, content: Directions) -> str:
        generated = is_of_generator(content)
        return "llama.cpp's generator (measured a layer earlier)" if generated else self.name
