"""Checkpoints as ``HookedTransformer``, by TransformerLens' own conversion."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def hooked_transformer(folder: Path, dtype: torch.dtype = torch.float32, **processing: bool) -> Any:
    """A checkpoint's folder as a ``HookedTransformer``.

    ``from_pretrained`` knows hub names alone; what follows are its steps.

    Args:
        folder: the checkpoint.
        dtype: of the weights.
        processing: the steps of ``load_and_process_state_dict``; each is left out if not given.
    """
    from transformer_lens import HookedTransformer  # type: ignore[attr-defined]

    steps = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
    given = dict.fromkeys(steps, False) | processing
    checkpoint = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cfg, weights = (_gemma2 if checkpoint.config.model_type == "gemma2" else _by_folder)(
        checkpoint, folder, given["fold_ln"], dtype
    )
    cfg.model_name = folder.name
    cfg.d_mlp = getattr(checkpoint.config, "n_inner", None) or cfg.d_mlp  # GPT-2's is taken as 4 d
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = HookedTransformer(cfg, tokenizer, move_to_device=False)
    model.load_and_process_state_dict(weights, **given)
    return model.eval()


def _by_folder(checkpoint: Any, folder: Path, fold_ln: bool, dtype: torch.dtype) -> Any:
    from transformer_lens import loading_from_pretrained as loading  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory() as place:
        # A name that says nothing: TransformerLens takes "llama" in one for a hub name of its own.
        named = str(shutil.copytree(folder, Path(place) / "checkpoint"))
        config = Path(named) / "config.json"
        stated = json.loads(config.read_text())
        # GPT-2's on the hub have both; transformers 5 writes the second alone.
        stated.setdefault("n_ctx", stated.get("n_positions"))
        config.write_text(json.dumps(stated))
        cfg = loading.get_pretrained_model_config(named, fold_ln=fold_ln, device="cpu", dtype=dtype)
        return cfg, loading.get_pretrained_state_dict(named, cfg, checkpoint, dtype=dtype)


def _gemma2(checkpoint: Any, folder: Path, fold_ln: bool, dtype: torch.dtype) -> Any:
    """TransformerLens knows Gemma-2 by the hub's names alone, with their sizes."""
    from transformer_lens import loading_from_pretrained as loading  # type: ignore[attr-defined]
    from transformer_lens.config import HookedTransformerConfig  # type: ignore[attr-defined]
    from transformer_lens.pretrained.weight_conversions import (  # type: ignore[import-not-found]
        convert_gemma_weights,
    )

    of = checkpoint.config
    cfg = HookedTransformerConfig.from_dict(
        loading.convert_hf_model_config("google/gemma-2-2b")
        | {
            "d_model": of.hidden_size,
            "d_head": of.head_dim,
            "n_heads": of.num_attention_heads,
            "n_key_value_heads": of.num_key_value_heads,
            "d_mlp": of.intermediate_size,
            "n_layers": of.num_hidden_layers,
            "n_ctx": of.max_position_embeddings,
            "d_vocab": of.vocab_size,
            "rotary_dim": of.head_dim,
            "attn_scale": of.query_pre_attn_scalar**0.5,
            "window_size": of.sliding_window,
            "attn_types": ["local", "global"] * (of.num_hidden_layers // 2),
            "normalization_type": "RMSPre" if fold_ln else "RMS",
            "device": "cpu",
            "dtype": dtype,
        }
    )
    return cfg, convert_gemma_weights(checkpoint, cfg)
