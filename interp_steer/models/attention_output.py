"""Read how the heads of a layer write to the residual stream."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site


def heads_add_up(model: HookedLM, layer: int) -> bool:
    """Return whether ``attn_out`` of a layer is the sum of what its heads write.

    It is where the output projection is the last module of the attention. Gemma-2 normalises the
    sum of the heads before it is added to the residual stream, so its heads do not add up.
    """
    projection, _ = model.module_of(Site("z", layer))
    attention, _ = model.module_of(Site("attn_out", layer))
    return projection in attention.modules()


def head_output_weights(model: HookedLM, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """Return the output projection of each head of a layer."""
    return model.bridge.blocks[layer].attn.W_O.detach()
