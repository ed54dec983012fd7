"""Name the bundled models, and find the folders of their checkpoints."""

from __future__ import annotations

from pathlib import Path

NAMES = (
    "burattino-base",
    "burattino-instruct",
    "burattino-gemma",
    "burattino-small",
    "burattino-tiny",
)
"""The bundled models: a Llama base, the base fine-tuned on chats, a Gemma-2 chat model, and two
smaller Llama chat models with the same tokenizer."""


def path(name: str) -> Path:
    """The folder of a bundled model's Hugging Face checkpoint.

    Args:
        name: one of :data:`NAMES`.

    Raises:
        KeyError: for any other name.
    """
    if name not in NAMES:
        raise KeyError(
            f"{name!r} is not a bundled model; the bundled models are {', '.join(NAMES)}"
        )
    return Path(__file__).parent / "weights" / name
