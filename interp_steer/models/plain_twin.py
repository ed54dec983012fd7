"""The plain twin: the Hugging Face model as it was, sharing every parameter with the bridge.

A ``TransformerBridge`` rewrites the Hugging Face model that it wraps. The twin is that model
unwrapped: the reference that the bridge is checked against, and the fast way to run it. It costs
no second copy of the weights: its parameters and buffers are the bridge's own tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import AutoModelForCausalLM, PreTrainedModel

from interp_steer.errors import ModelError, SiteError
from interp_steer.models.sites import Site

_WRAPPED = "_original_component"  # where a bridge component keeps the module that it wraps


def twin_of(hf_model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a Hugging Face model that holds the same parameter and buffer objects.

    Args:
        hf_model: not yet wrapped by a bridge, which would rewrite it in place.
    """
    shared = {id(tensor): tensor for tensor in (*hf_model.parameters(), *hf_model.buffers())}
    return copy.deepcopy(hf_model, shared)


def use_fast_attention(plain: PreTrainedModel) -> PreTrainedModel:
    """Let a twin use PyTorch's fused attention where its architecture allows, and return it.

    The bridge needs eager attention, whose parts have hook points; the twin does not. Where the
    scores are capped (Gemma-2) the fused kernel computes something else, so it stays eager.
    """
    if getattr(plain.config, "attn_logit_softcapping", None) is None and plain._supports_sdpa:
        plain.set_attn_implementation("sdpa")
    return plain


def rebuilt_twin(bridge: TransformerBridge) -> PreTrainedModel:
    """The plain model of a bridge that wraps it already, made anew around its tensors.

    Args:
        bridge: around a Hugging Face causal language model, its weights not processed.

    Raises:
        ModelError: when the bridge's tensors are not those of its configuration's model.
    """
    wrapped = bridge.original_model
    config = copy.deepcopy(getattr(wrapped, "config", None))
    if config is None:
        raise ModelError(
            f"the bridge wraps a {type(wrapped).__name__}, which has no Hugging Face config; "
            "boot it with TransformerBridge.boot_transformers, or use interp_steer.load"
        )
    with torch.device("meta"):  # nothing is allocated: every tensor is to be the bridge's
        plain = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    tensors: dict[str, Tensor] = {}
    for found in (wrapped.named_parameters, wrapped.named_buffers):
        tensors |= {_plain_name(name): tensor for name, tensor in found(remove_duplicate=False)}
    for name, module in plain.named_modules():
        for kind in (module._parameters, module._buffers):
            for leaf, empty in kind.items():
                if empty is None:
                    continue
                path = f"{name}.{leaf}" if name else leaf
                tensor = tensors.get(path)
                if tensor is None or tensor.shape != empty.shape:
                    held = "missing from the bridge" if tensor is None else tuple(tensor.shape)
                    raise ModelError(
                        f"{path} is {held}, and {tuple(empty.shape)} in a plain "
                        f"{type(plain).__name__}; wrap a bridge as boot_transformers leaves it, "
                        "before enable_compatibility_mode or process_weights"
                    )
                kind[leaf] = tensor
    plain.generation_config = copy.deepcopy(wrapped.generation_config)
    return plain.eval()


def module_of(
    bridge: TransformerBridge, plain: PreTrainedModel, site: Site
) -> tuple[nn.Module, str]:
    """Where a site lives on the plain twin.

    The bridge says it itself: the site's hook point is the ``hook_in`` or ``hook_out`` of one of
    its components, and that component stands where the plain module stood.

    Returns:
        The module, and ``"input"`` or ``"output"``: its first argument or what it returns (the
        first element where that is a tuple). ``z`` is flat there: heads and their dimensions are
        one axis.

    Raises:
        SiteError: when the architecture has no such place.
    """
    point = bridge.hook_dict.get(site.hook_name)
    modules = dict(plain.named_modules())
    for path, component in bridge.original_model.named_modules(remove_duplicate=False):
        if point is None or not isinstance(component, GeneralizedComponent):
            continue
        for side in ("input", "output"):
            if getattr(component, _POINTS[side]) is point:
                place = _plain_name(path)
                # A component may hang under a name of the bridge's own; it knows the plain one.
                under = f"{place.rpartition('.')[0]}.{component.name}"
                found = modules.get(place, modules.get(under))
                if found is not None:
                    return found, side
    raise SiteError(
        f"{site} ({site.hook_name}) is no place in a plain {type(plain).__name__}; "
        "use another component"
    )


_POINTS = {"input": "hook_in", "output": "hook_out"}


def write_at(
    module: nn.Module, side: str, edit: Callable[[Tensor], Tensor | None], n_heads: int | None
) -> RemovableHandle:
    """Let a function read, and replace, what enters or leaves a plain module.

    Args:
        module: as :func:`module_of` names it.
        side: ``"input"`` or ``"output"``.
        edit: from the activation to its replacement, or to None to leave it.
        n_heads: for ``z``, the number of heads: ``edit`` then sees the activation per head, as at
            TransformerLens' ``hook_z``. None for other components.

    Returns:
        The handle whose ``remove()`` takes the function away.
    """

    def edited(value: Tensor) -> Tensor:
        if n_heads is None:
            result = edit(value)
            return value if result is None else result
        heads = rearrange(value, "batch pos (head d_head) -> batch pos head d_head", head=n_heads)
        result = edit(heads)
        if result is None:
            return value
        return rearrange(result, "batch pos head d_head -> batch pos (head d_head)")

    def on_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (edited(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": edited(kwargs["hidden_states"])}

    def on_output(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (edited(output[0]), *output[1:])
        return edited(output)

    if side == "input":
        return module.register_forward_pre_hook(on_input, with_kwargs=True)
    return module.register_forward_hook(on_output)


def _plain_name(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != _WRAPPED)
