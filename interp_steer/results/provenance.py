"""Find the origin of a result: package versions, the source revision, the machine and the time."""

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
"""The distributions whose version can change a number or a figure."""


def list_versions() -> dict[str, str | None]:
    """Return the versions of Python and of :data:`PACKAGES`; None for a missing package."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def find_revision(folder: str | Path | None = None) -> dict[str, Any]:
    """Return the git commit of the running source, and whether files differ from the commit.

    Args:
        folder: a folder of the source; by default the folder of this package.

    Returns:
        ``{"commit": hash, "dirty": bool}``; both None outside a checkout, without git, or where
        the package is installed in a folder that another repository ignores.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    commit = _git(folder, "rev-parse", "HEAD")
    # A package in a virtual environment may lie inside a repository of the user.
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


def describe_machine() -> dict[str, Any]:
    """Return the platform, the processor count, and the threads and accelerator that torch uses.

    torch is asked only if it is already imported: an analysis that never imported torch did not
    compute with it, and importing it takes seconds.
    """
    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": None,
        "accelerator": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            facts["accelerator"] = torch.cuda.get_device_name()
    return facts


def read_clock() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(timezone.utc)
