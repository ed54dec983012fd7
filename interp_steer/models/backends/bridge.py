"""Wrap a ``TransformerBridge``, with the plain model that shares its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel

from interp_steer.errors import ModelError
from interp_steer.models.basis import UNPROCESSED, basis_of
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.fingerprint import compute_fingerprint
from interp_steer.models.kv_cache import RowCache


@dataclass(frozen=True, eq=False)
class WrappedBridge:
    """A bridge and its plain twin; see :class:`interp_steer.models.backends.protocol.Wrapped`."""

    root: TransformerBridge
    twin: PreTrainedModel

    @property
    def basis(self) -> str:
        """Return the basis: that of the checkpoint, unless the bridge has processed its weights."""
        if not getattr(self.root, "_weights_processed", False):
            return UNPROCESSED
        norm = self.root.blocks[0].ln1.weight.detach()
        return basis_of(self.root, norms_folded=bool((norm == norm[0]).all()))

    def fingerprint(self) -> str:
        """Compute the fingerprint of the plain model."""
        return compute_fingerprint(self.twin)

    @property
    def device(self) -> torch.device:
        """Return the device of the embedding."""
        return self._embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating type of the plain model."""
        return self.twin.dtype

    @property
    def max_positions(self) -> int | None:
        """Return the longest sequence of the checkpoint's configuration, in tokens."""
        longest = getattr(self.twin.config, "max_position_embeddings", None)
        return None if longest is None else int(longest)

    @property
    def n_embeddings(self) -> int:
        """Count the rows of the embedding."""
        return len(self._embedding)

    @property
    def end_ids(self) -> tuple[Any, ...]:
        """Return the end tokens of the generation configuration and of the configuration."""
        configs = self.twin.generation_config, self.twin.config
        return tuple(getattr(config, "eos_token_id", None) for config in configs)

    @property
    def _embedding(self) -> Tensor:
        return self.twin.get_input_embeddings().weight  # type: ignore[return-value,union-attr]

    def new_cache(self) -> RowCache:
        """Make an empty cache, which the plain model accepts too."""
        return RowCache()

    def forward(
        self, batch: PaddedBatch, cache: RowCache | None, keep: int
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        """Run a pass through the bridge's hook points."""
        return self.root(
            batch.tokens,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=max(keep, 1),
            return_type="logits" if keep else None,
        )

    def readout(self, residual: Float[Tensor, "*row d"]) -> Float[Tensor, "*row vocabulary"]:
        """Return the logits of a residual stream, by TransformerLens' logit lens.

        Raises:
            ModelError: with a TransformerLens before 4.2, which has no logit lens.
        """
        try:
            from transformer_lens.tools.analysis import logit_readout
        except ImportError as missing:
            raise ModelError(
                "the bridge of this TransformerLens has no logit_readout; install "
                "transformer-lens>=4.2"
            ) from missing
        return logit_readout(self.root, residual).values
