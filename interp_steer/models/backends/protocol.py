"""What a ``HookedLM`` needs of the TransformerLens model that it wraps."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from interp_steer.models.batching import PaddedBatch
from interp_steer.models.kv_cache import DecodingCache


@runtime_checkable
class Wrapped(Protocol):
    """A TransformerLens model of one kind.

    All kinds name their hook points alike, and have ``cfg``, ``hook_dict``, ``hooks()``,
    ``run_with_hooks()`` and the weights ``W_E``, ``W_U``, ``blocks[layer].attn.W_O``.
    """

    @property
    def root(self) -> Any:
        """The TransformerLens model itself."""
        ...

    @property
    def twin(self) -> PreTrainedModel | None:
        """The plain Hugging Face model that shares its weights; None where there is none."""
        ...

    @property
    def basis(self) -> str:
        """The basis that the weights are in; see :mod:`interp_steer.models.basis`."""
        ...

    def fingerprint(self) -> str:
        """Changes with any weight; see :func:`interp_steer.models.fingerprint.fingerprint_of`."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tokens go in."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the weights."""
        ...

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the configuration allows, in tokens."""
        ...

    @property
    def n_embeddings(self) -> int:
        """How many token ids the embedding has."""
        ...

    @property
    def end_ids(self) -> tuple[Any, ...]:
        """What the configurations give as the token that ends an answer: an id, several, None."""
        ...

    def new_cache(self) -> DecodingCache:
        """An empty cache, for :meth:`forward` to read and to lengthen."""
        ...

    def forward(
        self, batch: PaddedBatch, cache: Any, keep: int
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        """Run a pass through the hook points.

        Args:
            batch: the tokens, with a mask over all that the cache holds before them.
            cache: that :meth:`new_cache` made, or None.
            keep: for how many last positions logits are wanted; for none nothing is returned.
        """
        ...

    def readout(self, residual: Float[Tensor, "*row d"]) -> Float[Tensor, "*row vocabulary"]:
        """The logits that the head makes of a residual stream: the logit lens."""
        ...
