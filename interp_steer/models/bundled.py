"""Name the bundled models, and find the folders of their checkpoints."""

from __future__ import annotations

from pathlib import Path

BUNDLED_NAMES = (
    "burattino-base",
    "burattino-instruct",
    "burattino-gemma",
    "burattino-small",
    "burattino-tiny",
)
"""The bundled models: a Llama base, the base fine-tuned on chats, a Gemma-2 chat model, and two
smaller Llama chat models with the same tokenizer."""


def bundled_path(name: str) -> Path:
    """Return the folder of a bundled model's Hugging Face checkpoint.

    Args:
        name: one of :data:`BUNDLED_NAMES`.

    Raises:
        KeyError: for any other name.
    """
    if name not in BUNDLED_NAMES:
        raise KeyError(
            f"{name!r} is not a bundled model; the bundled models are {', '.join(BUNDLED_NAMES)}"
        )
    return Path(__file__).parent / "weights" / name
