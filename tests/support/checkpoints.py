"""Tiny random checkpoints of real architectures, with real tokenizers trained on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from interp_steer.models.hooked_lm import HookedLM

ARCHITECTURES = ("llama3", "llama2", "phi3", "gemma2", "mistral", "qwen2", "gpt2")

TEXT = """
Once upon a time a carpenter found a piece of wood that could talk. He carved a puppet out of it,
and the puppet ran away to see the world. Write a short story about the castle in two sentences.
Tell me about the sea. Answer in lowercase. Use at most three commas. QUESTION: what is a whale?
A whale is a very large animal, and it swallowed the ship whole. Do not use any commas, please!
List five things: bread, milk, cheese, 12 apples and 345 nails. "I will be good," said the puppet.
"""

CHAT_TEMPLATES = {
    "llama3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
        "\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "phi3": (
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    "gemma2": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
        " {{ m['content'] }}{{ eos_token }}{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}"
        "{% endfor %}"
    ),
    "qwen2": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
}


@dataclass(frozen=True)
class Vocabulary:
    """The special tokens of an architecture's tokenizer, and whether it writes a BOS by itself."""

    bos: str | None
    eos: str
    pad: str | None
    adds_bos: bool
    others: tuple[str, ...] = ()


VOCABULARIES = {
    "llama3": Vocabulary(
        "<|begin_of_text|>",
        "<|eot_id|>",
        None,
        True,
        ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "llama2": Vocabulary("<s>", "</s>", None, True, ("<unk>",)),
    "phi3": Vocabulary(
        "<s>",
        "<|endoftext|>",
        "<|endoftext|>",
        False,
        ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
    ),
    "gemma2": Vocabulary("<bos>", "<eos>", "<pad>", True, ("<start_of_turn>", "<end_of_turn>")),
    "mistral": Vocabulary("<s>", "</s>", None, True, ("<unk>", "[INST]", "[/INST]")),
    "qwen2": Vocabulary(None, "<|im_end|>", "<|endoftext|>", False, ("<|im_start|>",)),
    "gpt2": Vocabulary("<|endoftext|>", "<|endoftext|>", None, False),
}


def train_tokenizer(architecture: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with an architecture's special tokens and chat template."""
    words = VOCABULARIES[architecture]
    named = [word for word in (words.bos, words.eos, words.pad, *words.others) if word is not None]
    special = list(dict.fromkeys(named))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXT.splitlines(), trainer)
    if words.adds_bos and words.bos is not None:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{words.bos} $A",
            pair=f"{words.bos} $A {words.bos} $B",
            special_tokens=[(words.bos, bpe.token_to_id(words.bos))],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=words.bos,
        eos_token=words.eos,
        pad_token=words.pad,
        unk_token="<unk>" if "<unk>" in words.others else None,
        extra_special_tokens=[word for word in words.others if word != "<unk>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATES.get(architecture)
    return tokenizer


def config_of(architecture: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """Four layers of width 64 with four heads, and what makes the architecture itself."""
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    if architecture == "llama3":
        rope = {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
        return LlamaConfig(**common, **sizes, rope_parameters=rope, initializer_range=0.15)
    if architecture == "llama2":
        sizes["num_key_value_heads"] = 4
        return LlamaConfig(**common, **sizes, initializer_range=0.2, tie_word_embeddings=True)
    if architecture == "phi3":
        return Phi3Config(**common, **sizes, initializer_range=0.15)
    if architecture == "gemma2":
        # A window that short prompts already exceed, in every other layer.
        return Gemma2Config(
            **common,
            **sizes,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=8,
            initializer_range=0.12,
        )
    if architecture == "mistral":
        # Heads whose widths do not add up to the model's.
        return MistralConfig(
            **common, **sizes, head_dim=24, sliding_window=8, initializer_range=0.15
        )
    if architecture == "qwen2":
        return Qwen2Config(**common, **sizes, initializer_range=0.15, tie_word_embeddings=True)
    if architecture == "gpt2":
        return GPT2Config(
            **common,
            n_embd=64,
            n_inner=96,
            n_layer=4,
            n_head=4,
            n_positions=256,
            initializer_range=0.15,
        )
    raise ValueError(f"{architecture!r} is none of {ARCHITECTURES}")


def write_checkpoint(architecture: str, folder: Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write a random checkpoint with its tokenizer, as ``save_pretrained`` does; seeded.

    Args:
        architecture: one of :data:`ARCHITECTURES`.
        folder: where to; made if it is missing.
        dtype: of the weights; float32 by default.
    """
    tokenizer = train_tokenizer(architecture)
    state = torch.random.get_rng_state()
    torch.manual_seed(ARCHITECTURES.index(architecture))
    try:
        model = AutoModelForCausalLM.from_config(config_of(architecture, tokenizer))
        # Biases and norms that differ from what they start at, so that none can be forgotten.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    finally:
        torch.random.set_rng_state(state)
    if architecture == "llama3":
        ends = [tokenizer.convert_tokens_to_ids(word) for word in ("<|end_of_text|>", "<|eot_id|>")]
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id, eos_token_id=ends
        )
    model.to(dtype or torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# ----------------------------------------------------------------------- identity
def fingerprint_follows(model: HookedLM, parameters: Iterable[torch.nn.Parameter]) -> None:
    """Check that it changes with any weight, and comes back with it."""
    first = model.fingerprint
    for parameter in parameters:
        element = parameter.data.view(-1)[parameter.numel() // 3]
        old = element.item()
        element += 1e-3
        assert model.fingerprint != first
        element.fill_(old)
        assert model.fingerprint == first
