"""Compute the fingerprint of a model: a digest of its configuration and of every weight."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

# Entries of a configuration that do not change the function that the weights compute.
_NOT_COMPUTED = re.compile(
    r"_name_or_path|transformers_version|architectures|(torch_)?dtype|output_.*|return_dict|"
    r"use_cache|.*_token_id|initializer_range|_attn_implementation.*|.*dropout|.*_pdrop"
)
_WHOLE = 2**20  # the largest tensor, in bytes, whose own bytes are hashed


def compute_fingerprint(plain: PreTrainedModel) -> str:
    """Compute the fingerprint of a Hugging Face model; see :func:`fingerprint_of`."""
    stated = plain.config.to_diff_dict()
    config = {key: value for key, value in stated.items() if not _NOT_COMPUTED.fullmatch(key)}
    return fingerprint_of(config, plain.named_parameters())


def fingerprint_of(config: Mapping[str, Any], parameters: Iterable[tuple[str, Tensor]]) -> str:
    """Compute 16 hexadecimal digits that change when any weight or the configuration changes.

    The digits are a BLAKE2b hash of the configuration and of each parameter's name, dtype, shape
    and bytes. For a matrix above a megabyte, the sums of its bit patterns along both axes replace
    the bytes: every weight enters both sums, and the device computes them at the speed of its
    memory. The same checkpoint in another dtype has another fingerprint.

    Args:
        config: the entries of the configuration that change the function of the weights.
        parameters: every weight by its name.
    """
    digest = hashlib.blake2b(json.dumps(config, sort_keys=True, default=str).encode())
    for name, parameter in sorted(parameters, key=lambda named: named[0]):
        tensor = parameter.detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        for part in _hashable_parts(tensor):
            digest.update(part.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _hashable_parts(tensor: Tensor) -> list[Tensor]:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.contiguous().view(integers[tensor.element_size()])
    if bits.ndim < 2 or bits.numel() * bits.element_size() <= _WHOLE:
        return [bits]
    matrix = bits.flatten(1)
    return [matrix.sum(dim=axis, dtype=torch.int64) for axis in (0, 1)]
