"""Make the plain twin: an unchanged Hugging Face model that shares all tensors with the bridge.

A ``TransformerBridge`` rewrites the Hugging Face model that it wraps. The twin is that model before
the rewriting. It is the reference against which the bridge is checked, and it runs faster. It needs
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
    """Copy a Hugging Face model; the copy holds the same parameter and buffer objects.

    Args:
        hf_model: a model that no bridge has wrapped, and so rewritten, yet.
    """
    shared = {id(tensor): tensor for tensor in (*hf_model.parameters(), *hf_model.buffers())}
    return copy.deepcopy(hf_model, shared)


def use_fast_attention(plain: PreTrainedModel) -> PreTrainedModel:
    """Make a twin use PyTorch's fused attention where its architecture allows; return the twin.

    The bridge needs eager attention, whose parts have hook points; the twin does not. Where the
    attention scores are capped (Gemma-2), the fused kernel gives other results, so that the twin
    stays eager.
    """
    if getattr(plain.config, "attn_logit_softcapping", None) is None and plain._supports_sdpa:
        plain.set_attn_implementation("sdpa")
    return plain


def rebuilt_twin(bridge: TransformerBridge) -> PreTrainedModel:
    """Build the plain model that a bridge wraps, around the tensors of the bridge.

    Args:
        bridge: wraps a Hugging Face causal language model, with unprocessed weights.

    Raises:
        ModelError: when the bridge's tensors do not fit the model of its configuration.
    """
    wrapped = bridge.original_model
    config = copy.deepcopy(getattr(wrapped, "config", None))
    if config is None:
        raise ModelError(
            f"the bridge wraps a {type(wrapped).__name__}, which has no Hugging Face config; "
            "boot it with TransformerBridge.boot_transformers, or use interp_steer.load"
        )
    with torch.device("meta"):  # nothing is allocated, as every tensor is replaced
        plain = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    tensors: dict[str, Tensor] = {}
    for list_tensors in (wrapped.named_parameters, wrapped.named_buffers):
        named = list_tensors(remove_duplicate=False)
        tensors |= {_strip_wrapper_names(name): tensor for name, tensor in named}
    for name, module in plain.named_modules():
        for kind in (module._parameters, module._buffers):
            for leaf, empty in kind.items():
                if empty is None:
                    continue
                path = f"{name}.{leaf}" if name else leaf
                tensor = tensors.get(path)
                if tensor is None or tensor.shape != empty.shape:
                    actual = "missing from the bridge" if tensor is None else tuple(tensor.shape)
                    raise ModelError(
                        f"{path} is {actual}, and {tuple(empty.shape)} in a plain "
                        f"{type(plain).__name__}; wrap a bridge as boot_transformers returns it, "
                        "before enable_compatibility_mode or process_weights"
                    )
                kind[leaf] = tensor
    plain.generation_config = copy.deepcopy(wrapped.generation_config)
    return plain.eval()


def module_of(
    bridge: TransformerBridge, plain: PreTrainedModel, site: Site
) -> tuple[nn.Module, str]:
    """Find a site on the plain twin.

    The site's hook point is the ``hook_in`` or ``hook_out`` of a component of the bridge, and that
    component has the path of the plain module that it replaces.

    Returns:
        The module, and ``"input"`` or ``"output"``: its first argument, or its result (the first
        element of a tuple). ``z`` is flat in the plain model: heads and their dimensions share an
        axis.

    Raises:
        SiteError: when the architecture lacks the site.
    """
    point = bridge.hook_dict.get(site.hook_name)
    modules = dict(plain.named_modules())
    for path, component in bridge.original_model.named_modules(remove_duplicate=False):
        if point is None or not isinstance(component, GeneralizedComponent):
            continue
        for side in ("input", "output"):
            if getattr(component, _POINTS[side]) is point:
                place = _strip_wrapper_names(path)
                # The path may use a name that only the bridge has; the component knows the other.
                under = f"{place.rpartition('.')[0]}.{component.name}"
                module = modules.get(place, modules.get(under))
                if module is not None:
                    return module, side
    raise SiteError(
        f"{site} ({site.hook_name}) does not exist in a plain {type(plain).__name__}; "
        "use another component"
    )


_POINTS = {"input": "hook_in", "output": "hook_out"}


def write_at(
    module: nn.Module, side: str, edit: Callable[[Tensor], Tensor | None], n_heads: int | None
) -> RemovableHandle:
    """Register a function that reads and may replace the input or the output of a plain module.

    Args:
        module: from :func:`module_of`.
        side: ``"input"`` or ``"output"``.
        edit: returns the replacement of the activation, or None to leave it.
        n_heads: for ``z``, the number of heads: ``edit`` then receives the activation per head, as
            at TransformerLens' ``hook_z``. None for other components.

    Returns:
        The handle whose ``remove()`` removes the function.
    """

    def apply_edit(value: Tensor) -> Tensor:
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
            return (apply_edit(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": apply_edit(kwargs["hidden_states"])}

    def on_output(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (apply_edit(output[0]), *output[1:])
        return apply_edit(output)

    if side == "input":
        return module.register_forward_pre_hook(on_input, with_kwargs=True)
    return module.register_forward_hook(on_output)


def _strip_wrapper_names(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != _WRAPPED)
