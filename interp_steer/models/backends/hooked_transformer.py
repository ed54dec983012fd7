"""A ``HookedTransformer``, as TransformerLens has it up to 3.9.

It is a model of its own, converted from a checkpoint, with no Hugging Face model inside: everything
runs through its hook points, at their pace, and with TransformerLens' own key-value cache.
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

# What the configuration says besides the function that the weights compute.
_NOT_COMPUTED = {
    *("device", "n_devices", "dtype", "seed", "model_name", "n_params", "trust_remote_code"),
    *("init_mode", "init_weights", "initializer_range", "use_hook_tokens", "use_attn_result"),
    *("use_attn_in", "use_split_qkv_input", "use_hook_mlp_in", "default_prepend_bos"),
    *("tokenizer_name", "tokenizer_prepends_bos", "from_checkpoint", "checkpoint_index"),
    *("checkpoint_label_type", "checkpoint_value", "ungroup_grouped_query_attention"),
}


def is_hooked_transformer(model: Any) -> bool:
    """Whether a model is a ``HookedTransformer``, a class that TransformerLens 4 no longer has."""
    return any(
        kind.__name__ == "HookedTransformer" and kind.__module__.startswith("transformer_lens")
        for kind in type(model).__mro__
    )


@dataclass(frozen=True, eq=False)
class WrappedTransformer:
    """See :class:`interp_steer.models.backends.protocol.Wrapped`.

    Args:
        root: the ``HookedTransformer``.
        end_ids: what the checkpoint's generation configuration gives as the tokens that end an
            answer, which the model itself does not know.
    """

    root: Any
    end_ids: tuple[Any, ...] = ()
    twin: None = None

    @property
    def basis(self) -> str:
        """Norms whose gains are folded are of a type of their own here."""
        kind = self.root.cfg.normalization_type
        return basis_of(self.root, norms_folded=kind is not None and kind.endswith("Pre"))

    def fingerprint(self) -> str:
        """Another than that of the checkpoint: its weights are laid out anew."""
        stated = self.root.cfg.to_dict().items()
        config = {key: value for key, value in stated if key not in _NOT_COMPUTED}
        return fingerprint_of(config, self.root.named_parameters())

    @property
    def device(self) -> torch.device:
        """Where the embedding is."""
        return self.root.embed.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the embedding."""
        return self.root.embed.W_E.dtype

    @property
    def max_positions(self) -> int:
        """``n_ctx``, which TransformerLens sets below the checkpoint's for some models."""
        return int(self.root.cfg.n_ctx)

    @property
    def n_embeddings(self) -> int:
        """The rows of the embedding."""
        return len(self.root.embed.W_E)

    def new_cache(self) -> TransformerCache:
        """TransformerLens' own, whose rows come and go."""
        return TransformerCache(self.root.cfg, self.device)

    def forward(
        self, batch: PaddedBatch, cache: TransformerCache | None, keep: int
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        """Run a pass through the hook points.

        The head is run for the kept positions alone, as the model's own ``forward`` would for all.
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
        """The final norm, the unembedding, and the cap on logits where there is one."""
        root = self.root
        if root.cfg.normalization_type is not None:
            residual = root.ln_final(residual)
        logits = root.unembed(residual)
        cap = root.cfg.output_logits_soft_cap
        return cap * torch.tanh(logits / cap) if cap > 0 else logits


class TransformerCache:
    """TransformerLens' key-value cache, which rows leave and join.

    Rows are padded on the left, where the attention mask, which the cache keeps too, hides them.

    Args:
        cfg: the model's configuration.
        device: where its first layer is.
    """

    def __init__(self, cfg: Any, device: torch.device) -> None:
        self._cfg, self._device = cfg, device
        self._held: TransformerLensKeyValueCache | None = None

    def held(self, rows: int) -> TransformerLensKeyValueCache:
        """What the model takes as ``past_kv_cache``; made for the rows of the first pass."""
        if self._held is None:
            self._held = TransformerLensKeyValueCache.init_cache(self._cfg, self._device, rows)
        return self._held

    def keep(self, rows: Int[Tensor, " kept"], first: int = 0) -> None:
        """Keep these rows, by their places, and drop the columns before ``first``."""
        held = self._filled
        held.previous_attention_mask = held.previous_attention_mask[rows, first:]
        for entry in held.entries:
            at = rows.to(entry.past_keys.device)  # the layers of one model may lie on several
            entry.past_keys = entry.past_keys[at, first:]
            entry.past_values = entry.past_values[at, first:]

    def join(self, other: TransformerCache) -> None:
        """Append the rows of another cache of the same model, the narrower padded on the left."""
        mine, theirs = self._filled, other._filled
        masks = [held.previous_attention_mask for held in (mine, theirs)]
        mine.previous_attention_mask = _stacked(*masks)
        for entry, joining in zip(mine.entries, theirs.entries, strict=True):
            entry.past_keys = _stacked(entry.past_keys, joining.past_keys)
            entry.past_values = _stacked(entry.past_values, joining.past_values)

    @property
    def _filled(self) -> TransformerLensKeyValueCache:
        assert self._held is not None  # rows are kept and joined after a pass
        return self._held


def _stacked(mine: Tensor, theirs: Tensor) -> Tensor:
    """Rows ``[row, pos, ...]`` of both, as wide as the wider."""
    width = max(mine.shape[1], theirs.shape[1])
    both = []
    for states in (mine, theirs):
        empty = states.new_zeros(len(states), width - states.shape[1], *states.shape[2:])
        both.append(torch.cat([empty, states], dim=1))
    return torch.cat(both)
