"""Define the interface between a ``HookedLM`` and the TransformerLens model that it wraps."""

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
        """Return the TransformerLens model itself."""
        ...

    @property
    def twin(self) -> PreTrainedModel | None:
        """Return the plain Hugging Face model that shares the weights; None for kinds without."""
        ...

    @property
    def basis(self) -> str:
        """Return the basis of the weights; see :mod:`interp_steer.models.basis`."""
        ...

    def fingerprint(self) -> str:
        """Compute digits that change with any weight.

        See :func:`interp_steer.models.fingerprint.fingerprint_of`.
        """
        ...

    @property
    def device(self) -> torch.device:
        """Return the device that token ids have to be on."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating type of the weights."""
        ...

    @property
    def max_positions(self) -> int | None:
        """Return the longest sequence that the configuration allows, in tokens."""
        ...

    @property
    def n_embeddings(self) -> int:
        """Count the token ids of the embedding."""
        ...

    @property
    def end_ids(self) -> tuple[Any, ...]:
        """Return the entries of the configurations for the end of an answer: ids, lists, None."""
        ...

    def new_cache(self) -> DecodingCache:
        """Make an empty cache, which :meth:`forward` reads and extends."""
        ...

    def forward(
        self, batch: PaddedBatch, cache: Any, keep: int
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        """Run a pass through the hook points.

        Args:
            batch: the tokens, with a mask that also covers the columns of the cache.
            cache: a cache made by :meth:`new_cache`, or None.
            keep: the number of last positions whose logits are returned; 0 returns None.
        """
        ...

    def readout(self, residual: Float[Tensor, "*row d"]) -> Float[Tensor, "*row vocabulary"]:
        """Return the logits of a residual stream (the logit lens)."""
        ...
