"""Capture so many prompts, then print the most memory that the process has held, in bytes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import interp_steer as ist
from analyses.speed.checkpoints import checkpoint, texts


def main(size: str, n: int, root: Path) -> None:
    """Capture ``n`` prompts on a random model."""
    model = ist.load(checkpoint(size, root), prompt_format="{x}")
    ist.capture.capture(model, texts(n))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
