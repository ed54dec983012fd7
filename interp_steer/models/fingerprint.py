"""What tells a model from every other: a digest of its configuration and of every weight."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

# What a configuration says besides the function that the weights compute.
_NOT_COMPUTED = re.compile(
    r"_name_or_path|transformers_version|architectures|(torch_)?dtype|output_.*|return_dict|"
    r"use_cache|.*_token_id|initializer_range|_attn_implementation.*|.*dropout|.*_pdrop"
)
_WHOLE = 2**20  # bytes up to which a tensor is hashed as it is


def compute_fingerprint(plain: PreTrainedModel) -> str:
    """The fingerprint of a Hugging Face model; see :func:`fingerprint_of`."""
    stated = plain.config.to_diff_dict()
    config = {key: value for key, value in stated.items() if not _NOT_COMPUTED.fullmatch(key)}
    return fingerprint_of(config, plain.named_parameters())


def fingerprint_of(config: Mapping[str, Any], parameters: Iterable[tuple[str, Tensor]]) -> str:
    """16 hexadecimal digits that change when any weight or the configuration changes.

    A BLAKE2b over the configuration and each parameter's name, dtype, shape and bytes. Of a
    matrix above a megabyte the sums of its bit patterns along both axes stand for the bytes:
    every single weight enters both, and they are taken on the device at the speed of memory. The
    same checkpoint in another dtype has another fingerprint.

    Args:
        config: what bears on the function that the weights compute, and nothing else.
        parameters: every weight by its name.
    """
    digest = hashlib.blake2b(json.dumps(config, sort_keys=True, default=str).encode())
    for name, parameter in sorted(parameters, key=lambda named: named[0]):
        tensor = parameter.detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        for part in _traces(tensor):
            digest.update(part.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _traces(tensor: Tensor) -> list[Tensor]:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.contiguous().view(integers[tensor.element_size()])
    if bits.ndim < 2 or bits.numel() * bits.element_size() <= _WHOLE:
        return [bits]
    matrix = bits.flatten(1)
    return [matrix.sum(dim=axis, dtype=torch.int64) for axis in (0, 1)]
