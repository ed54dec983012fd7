"""Where a result comes from: package versions, the source revision, the machine and the clock."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PACKAGES = (
    "interp-steer",
    "torch",
    "transformers",
    "transformer-lens",
    "tokenizers",
    "safetensors",
    "lm-eval",
    "langdetect",
    "lingua-language-detector",
    "numpy",
    "scipy",
    "scikit-learn",
    "polars",
    "plotly",
)
"""Distributions whose version can change a number or a figure."""


def versions() -> dict[str, str | None]:
    """Versions of Python and of `PACKAGES`; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def revision(folder: str | Path | None = None) -> dict[str, Any]:
    """The git commit of the source that is running, and whether files differ from it.

    Args:
        folder: a folder of the source; that of this package when None.

    Returns:
        ``{"commit": hash, "dirty": bool}``; both None outside a checkout, without git, or where
        the package is installed in a folder that somebody else's repository ignores.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    commit = _git(folder, "rev-parse", "HEAD")
    # A package installed in a virtual environment may lie inside a repository of its user's.
    tracked = _git(folder, "ls-files", "--", ".")
    if not commit or not tracked:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine() -> dict[str, Any]:
    """Platform, processor count, and the threads and accelerator that torch uses.

    torch is read where it is already imported: an analysis that never imported it computed nothing
    with it, and importing it here would cost seconds.
    """
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": None,
        "accelerator": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["accelerator"] = torch.cuda.get_device_name()
    return found


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(timezone.utc)
