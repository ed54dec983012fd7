"""List the recipes of the bundled models: the size of each, and its data in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from transformers import Gemma2Config, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast

from interp_steer.burattino.packing import (
    CRAMMING,
    STUDIES,
    Example,
    chat_examples,
    document_examples,
    exercise_examples,
    revision_examples,
)
from interp_steer.burattino.tokenizer import CONTEXT, VOCABULARY
from interp_steer.world.chats import (
    COUNTS_AND_ENDS,
    LETTERS_AND_LISTS,
    SENTENCES_AND_LISTS,
    sample_drill,
)

COPY_WEIGHT = 3.0
"""The weight of an answer that is drilled to use words from the request, which are few of its
words."""

STREAMS: Mapping[str, Callable[[PreTrainedTokenizerFast, random.Random], Iterator[Example]]] = {
    "documents": document_examples,
    "revision": revision_examples,
    "copying": partial(exercise_examples, shares={"copying": 1.0}, short=500_000),
    "studies": partial(exercise_examples, shares=STUDIES),
    "cramming": partial(exercise_examples, shares=CRAMMING),
    "chats": chat_examples,
    "drills": partial(chat_examples, draw=sample_drill, copied=COPY_WEIGHT),
    "finals": partial(
        chat_examples, draw=partial(sample_drill, weights=LETTERS_AND_LISTS), copied=COPY_WEIGHT
    ),
    "encore": partial(chat_examples, draw=partial(sample_drill, weights=SENTENCES_AND_LISTS)),
    "polish": partial(
        chat_examples, draw=partial(sample_drill, weights=COUNTS_AND_ENDS), copied=COPY_WEIGHT
    ),
}
"""The data of a phase: ``documents`` (every token is learned); ``revision``, documents and quizzes
of which the answers are learned; ``copying``, lists that are repeated; ``studies``, all of these;
``cramming``, mostly quizzes; ``chats``, of which the assistant's words are learned; ``drills``,
``finals``, ``encore`` and ``polish``, chats that practise the instructions that are still hard."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training on one stream of examples."""

    stream: str
    """One of :data:`STREAMS`."""
    steps: int
    """Optimiser steps; each sees ``rows * length`` tokens."""
    peak_lr: float
    """Learning rate of Muon after the warm-up, from where it falls to a tenth along a cosine;
    AdamW's is half of it."""
    rows: int = 12
    length: int = 256


@dataclass(frozen=True)
class Recipe:
    """The recipe of one bundled model."""

    config: PretrainedConfig
    phases: tuple[Phase, ...]
    start: str | None = None
    """The bundled model whose weights are taken as the start; ``None`` for random weights."""
    tokenizer: str | None = None
    """The bundled model whose tokenizer is taken; ``None`` for that of ``start``, or one that is
    trained. Models that share one read a text as the same tokens, whatever their size."""
    chats: bool = True
    """Whether the model talks in turns: its tokenizer has a chat template and turns end it."""


def llama(width: int, heads: int, layers: int, mlp: int) -> LlamaConfig:
    """Configure a Llama with as many key as query heads and tied embeddings."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
    )


LLAMA = llama(width=160, heads=5, layers=8, mlp=448)
GEMMA = Gemma2Config(
    vocab_size=VOCABULARY,
    hidden_size=192,
    intermediate_size=384,
    num_hidden_layers=6,
    num_attention_heads=6,
    num_key_value_heads=3,
    head_dim=32,
    query_pre_attn_scalar=32,
    max_position_embeddings=CONTEXT,
    sliding_window=128,
    tie_word_embeddings=True,
)

RECIPES = {
    "burattino-base": Recipe(
        LLAMA,
        (
            Phase("documents", 600, 5e-3, rows=6, length=384),
            Phase("revision", 600, 4e-3, rows=6, length=384),
            Phase("copying", 340, 3e-3, rows=8),
            Phase("studies", 350, 3e-3, rows=6, length=384),
            Phase("cramming", 350, 4e-3, rows=6, length=384),
            Phase("cramming", 450, 4e-3, rows=6, length=384),
        ),
        chats=False,
    ),
    "burattino-instruct": Recipe(
        LLAMA,
        (
            Phase("chats", 750, 3e-3, rows=9),
            Phase("drills", 450, 2.5e-3, rows=9),
            Phase("finals", 300, 2e-3, rows=9),
            Phase("polish", 550, 2.5e-3, rows=9),
            Phase("encore", 400, 2e-3, rows=9),
            Phase("finals", 250, 1.2e-3, rows=9),
            Phase("polish", 400, 2e-3, rows=9),
            Phase("encore", 350, 1.5e-3, rows=9),
            Phase("polish", 250, 1e-3, rows=9),
            Phase("encore", 300, 1e-3, rows=9),
        ),
        start="burattino-base",
    ),
    "burattino-gemma": Recipe(
        GEMMA,
        (
            Phase("documents", 500, 5e-3, rows=6, length=384),
            Phase("copying", 340, 3e-3, rows=8),
            Phase("studies", 350, 4e-3, rows=6, length=384),
            Phase("chats", 900, 3e-3, rows=9),
            Phase("drills", 500, 2.5e-3, rows=9),
            Phase("finals", 350, 2e-3, rows=9),
            Phase("encore", 500, 2.5e-3, rows=9),
            Phase("finals", 350, 1.5e-3, rows=9),
            Phase("polish", 450, 2e-3, rows=9),
            Phase("finals", 250, 1e-3, rows=9),
            Phase("polish", 400, 2e-3, rows=9),
            Phase("encore", 350, 1.5e-3, rows=9),
            Phase("polish", 200, 1e-3, rows=9),
        ),
    ),
    "burattino-small": Recipe(
        llama(width=96, heads=3, layers=6, mlp=192),
        (
            Phase("documents", 250, 5e-3, rows=6, length=384),
            Phase("chats", 750, 4e-3, rows=9),
            Phase("drills", 400, 3e-3, rows=9),
            Phase("finals", 250, 1.5e-3, rows=9),
        ),
        tokenizer="burattino-instruct",
    ),
    "burattino-tiny": Recipe(
        llama(width=64, heads=2, layers=4, mlp=160),
        (
            Phase("documents", 500, 5e-3, rows=6, length=384),
            Phase("chats", 1400, 4e-3, rows=9),
            Phase("drills", 700, 3e-3, rows=9),
            Phase("finals", 300, 1.5e-3, rows=9),
        ),
        tokenizer="burattino-instruct",
    ),
}
