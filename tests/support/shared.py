"""Find the material that stands beside the project and is never part of it."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).parents[3] / "shared"
