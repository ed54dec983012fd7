"""Make random Llamas of two sizes; speed does not depend on what a model has learned."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 32_000


@dataclass(frozen=True)
class Size:
    """The shape of a random Llama."""

    layers: int
    width: int
    heads: int


SIZES = {"small": Size(6, 256, 4), "mid": Size(12, 512, 8)}


def checkpoint(size: str, root: Path) -> Path:
    """Return the folder of a random Llama, and write the model if it is missing.

    Args:
        size: one of :data:`SIZES`.
        root: where folders of checkpoints lie.
    """
    folder = root / f"random-llama-{size}"
    if folder.is_dir():
        return folder
    shape = SIZES[size]
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=shape.width,
            intermediate_size=4 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    aside = root / f".{folder.name}.part"
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    _tokenizer().save_pretrained(aside)
    os.replace(aside, folder)
    return folder


def texts(n: int, seed: int = 0, least: int = 16, most: int = 64) -> list[str]:
    """Return texts of random words that the tokenizer knows; each word is one token.

    Args:
        n: how many.
        seed: of the draw.
        least: the fewest words of a text.
        most: the most words of a text.
    """
    rng = Random(seed)
    return [
        " ".join(f"w{rng.randrange(VOCABULARY - 4)}" for _ in range(rng.randint(least, most)))
        for _ in range(n)
    ]


def _tokenizer() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = {f"w{number}": number + len(special) for number in range(VOCABULARY - len(special))}
    vocabulary = dict(zip(special, range(len(special)), strict=True)) | words
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
