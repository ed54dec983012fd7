"""Sizes of analyses that take seconds."""

from __future__ import annotations

# ------------------------------------------------------------------ the analysis
SMALL = ["--n-fit", "8", "--n-select", "4", "--n-test", "4", "--k", "1", "6", "--n-random", "1"]
