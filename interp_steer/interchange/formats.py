"""What is known of a format: what it holds, where its tool acts, and who reads and writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from interp_steer.vectors.steering_vector import SteeringVector

Reader: TypeAlias = Callable[..., tuple[SteeringVector, tuple[str, ...]]]
"""``read(content, path, *, model, name, **options)``: from what a file holds to a vector, and what
was left out of it."""

Writer: TypeAlias = Callable[..., tuple[str, ...]]
"""``write(what, path, *, model, **options)``: from a vector or an intervention to a file; what the
file does not hold."""

ADDS_ONLY = "heads, attn_out, mlp_out, steps, schedules, positions, projection and ablation"
"""What a tool that adds to the residual stream cannot do."""


@dataclass(frozen=True)
class Format:
    """One format. The fields that are text make its row in the table of formats."""

    name: str
    """What ``read`` and ``write`` call it."""
    tool: str
    """Whose it is."""
    file: str
    """What the file is."""
    layers: str
    """From the number in the file to a site of ours."""
    acts: str
    """Where and how the tool adds the direction."""
    kept: str
    """What a round trip keeps."""
    lost: str
    """What the format does not hold, or we do not take from it."""
    refused: str
    """What is not written, with an error."""
    suffixes: tuple[str, ...]
    """How its files end."""
    recognises: Callable[[Any, Path], bool]
    """Whether the content of a file is of this format."""
    read: Reader
    write: Writer

    @property
    def row(self) -> dict[str, str]:
        """The row in the table of formats."""
        return {
            field.name: value
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), str)
        }
