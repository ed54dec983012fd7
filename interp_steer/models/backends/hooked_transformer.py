"""Wrap a ``HookedTransformer``, the model of TransformerLens up to 3.9.

A ``HookedTransformer`` is converted from a checkpoint and holds no Hugging Face model: every pass
runs through its hook points, which is slower, with TransformerLens' own key-value cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

from interp_steer.models.basis import basis_of
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.fingerprint import fingerprint_of

# Entries of the configuration that do not change the function that the weights compute.
_NOT_COMPUTED = {
    *("device", "n_devices", "dtype", "seed", "model_name", "n_params", "trust_remote_code"),
    *("init_mode", "init_weights", "initializer_range", "use_hook_tokens", "use_attn_result"),
    *("use_attn_in", "use_split_qkv_input", "use_hook_mlp_in", "default_prepend_bos"),
    *("tokenizer_name", "tokenizer_prepends_bos", "from_checkpoint", "checkpoint_index"),
    *("checkpoint_label_type", "checkpoint_value", "ungroup_grouped_query_attention"),
}


def is_hooked_transformer(model: Any) -> bool:
    """Check for a ``HookedTransformer``, a class that TransformerLens 4 does not have any more."""
    return any(
        kind.__name__ == "HookedTransformer" and kind.__module__.startswith("transformer_lens")
        for kind in type(model).__mro__
    )


@dataclass(frozen=True, eq=False)
class WrappedTransformer:
    """A ``HookedTransformer``; see :class:`interp_steer.models.backends.protocol.Wrapped`.

    Args:
        root: the ``HookedTransformer``.
        end_ids: the tokens that end an answer by the checkpoint's generation configuration, which
            the model itself does not know.
    """

    root: Any
    end_ids: tuple[Any, ...] = ()
    twin: None = None

    @property
    def basis(self) -> str:
        """Return the basis; the type of the norms shows whether their gains are folded."""
        kind = self.root.cfg.normalization_type
        return basis_of(self.root, norms_folded=kind is not None and kind.endswith("Pre"))

    def fingerprint(self) -> str:
        """Compute the fingerprint, which differs from the checkpoint's: the layout is another."""
        stated = self.root.cfg.to_dict().items()
        config = {key: value for key, value in stated if key not in _NOT_COMPUTED}
        return fingerprint_of(config, self.root.named_parameters())

    @property
    def device(self) -> torch.device:
        """Return the device of the embedding."""
        return self.root.embed.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating type of the embedding."""
        return self.root.embed.W_E.dtype

    @property
    def max_positions(self) -> int:
        """Return ``n_ctx``, which TransformerLens sets below the checkpoint's for some models."""
        return int(self.root.cfg.n_ctx)

    @property
    def n_embeddings(self) -> int:
        """Count the rows of the embedding."""
        return len(self.root.embed.W_E)

    def new_cache(self) -> TransformerCache:
        """Make an empty cache of TransformerLens."""
        return TransformerCache(self.root.cfg, self.device)

    def forward(
        self, batch: PaddedBatch, cache: TransformerCache | None, keep: int
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        """Run a pass through the hook points.

        The head is run for the kept positions only; the model's own ``forward`` runs it for all.
        """
        root, new = self.root, batch.tokens.shape[1]
        residual = root(
            batch.tokens,
            attention_mask=batch.attention_mask[:, -new:],
            past_kv_cache=None if cache is None else cache.held(len(batch.tokens)),
            stop_at_layer=root.cfg.n_layers,
        )
        if not keep:
            return None
        return self.readout(residual[:, -keep:])

    def readout(self, residual: Float[Tensor, "*row d"]) -> Float[Tensor, "*row vocabulary"]:
        """Apply the final norm, the unembedding, and the cap on logits where the model has one."""
        root = self.root
        if root.cfg.normalization_type is not None:
            residual = root.ln_final(residual)
        logits = root.unembed(residual)
        cap = root.cfg.output_logits_soft_cap
        return cap * torch.tanh(logits / cap) if cap > 0 else logits


class TransformerCache:
    """TransformerLens' key-value cache, for a batch that rows join and leave.

    Rows are padded on the left. The cache holds the attention mask, which hides the pads.

    Args:
        cfg: the model's configuration.
        device: the device of the first layer.
    """

    def __init__(self, cfg: Any, device: torch.device) -> None:
        self._cfg, self._device = cfg, device
        self._held: TransformerLensKeyValueCache | None = None

    def held(self, rows: int) -> TransformerLensKeyValueCache:
        """Return the model's ``past_kv_cache``, which is made for the rows of the first pass."""
        if self._held is None:
            self._held = TransformerLensKeyValueCache.init_cache(self._cfg, self._device, rows)
        return self._held

    def keep(self, rows: Int[Tensor, " kept"], first: int = 0) -> None:
        """Keep the rows at these places, and drop the columns before ``first``."""
        held = self._filled
        held.previous_attention_mask = held.previous_attention_mask[rows, first:]
        for entry in held.entries:
            at = rows.to(entry.past_keys.device)  # the layers of one model may lie on several
            entry.past_keys = entry.past_keys[at, first:]
            entry.past_values = entry.past_values[at, first:]

    def join(self, other: TransformerCache) -> None:
        """Append the rows of another cache of the model; pad the narrower cache on the left."""
        mine, theirs = self._filled, other._filled
        masks = [held.previous_attention_mask for held in (mine, theirs)]
        mine.previous_attention_mask = _stack_rows(*masks)
        for entry, joining in zip(mine.entries, theirs.entries, strict=True):
            entry.past_keys = _stack_rows(entry.past_keys, joining.past_keys)
            entry.past_values = _stack_rows(entry.past_values, joining.past_values)

    @property
    def _filled(self) -> TransformerLensKeyValueCache:
        assert self._held is not None  # rows are kept and joined after a pass
        return self._held


def _stack_rows(mine: Tensor, theirs: Tensor) -> Tensor:
    """Stack rows ``[row, pos, ...]``; the narrower are padded on the left with zeros."""
    width = max(mine.shape[1], theirs.shape[1])
    both = []
    for states in (mine, theirs):
        empty = states.new_zeros(len(states), width - states.shape[1], *states.shape[2:])
        both.append(torch.cat([empty, states], dim=1))
    return torch.cat(both)
