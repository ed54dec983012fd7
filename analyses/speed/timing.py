"""Let contenders take turns, and compute the ratio of their speeds."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

import interp_steer as ist
from analyses.speed.checkpoints import checkpoint, texts
from interp_steer.statistics import Interval


@dataclass(frozen=True)
class Lap:
    """Amount of work, and the time it took."""

    units: float
    """Number of completions, prompts or tokens."""
    seconds: float

    @property
    def rate(self) -> float:
        """Return the units per second."""
        return self.units / self.seconds


@dataclass(frozen=True)
class Contender:
    """Tool that does the work."""

    name: str
    lap: Callable[[int], Lap]
    """Does the work of one lap, given its number; lap -1 warms up and does not count."""


def time_lap(work: Callable[[], float]) -> Lap:
    """Time some work that returns its amount."""
    start = time.perf_counter()
    units = work()
    return Lap(units, time.perf_counter() - start)


def alternate(contenders: Sequence[Contender], laps: int) -> dict[str, list[float]]:
    """Let contenders take turns, so that other load on the machine affects all alike.

    Args:
        contenders: who takes part.
        laps: how many laps count; one before them warms up.

    Returns:
        The rate of each contender in each lap.
    """
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    turns = [(lap, contender) for lap in range(-1, laps) for contender in contenders]
    bar = tqdm(turns, unit="turn", disable=None)
    for lap, contender in bar:
        bar.set_description(contender.name)
        rate = contender.lap(lap).rate
        if lap >= 0:
            rates[contender.name].append(rate)
    return rates


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return the median over laps of the ratio of two rates, with its minimum and maximum."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Interval(
        statistics.median(ratios), min(ratios), max(ratios), len(ratios), "median, least, greatest"
    )


@torch.inference_mode()
def answer(
    model: ist.HookedLM, prompt: list[int], steering: ist.Intervention, max_new_tokens: int
) -> list[int]:
    """Answer one prompt greedily.

    Args:
        model: run through its hook points.
        prompt: token ids.
        steering: what acts on the model.
        max_new_tokens: at most so many tokens, the stop token included.

    Returns:
        The ids of the answer.
    """
    tokens, hooks = torch.tensor([prompt], device=model.device), steering.fwd_hooks()
    for _ in range(max_new_tokens):
        logits = model.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
        if int(tokens[0, -1]) in model.stop_ids:
            break
    return tokens[0, len(prompt) :].tolist()


def main(size: str, n: int, root: Path) -> None:
    """Capture ``n`` prompts on a random model."""
    model = ist.load(checkpoint(size, root), prompt_format="{x}")
    ist.capture.capture_moments(model, texts(n))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
