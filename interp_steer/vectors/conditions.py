"""Steer only where a condition holds: on prompts on which a direction fires (CAST).

Lee et al. (2024), arXiv 2409.05907, section 3. With ``h`` the mean activation over the tokens of a
prompt at one site, ``c`` the condition's direction and ``proj_c h = (c c^T / c^T c) h``, a prompt
meets the condition when ``sim(h, proj_c h) > theta``, where ``sim`` is the cosine. ``proj_c h``
lies along ``c``, so the similarity is ``|cos(h, c)|``, which does not distinguish ``c`` from
``-c``. The score used here keeps the sign::

    s(h) = <h, c> / (|h| |c|),    the condition is met where s(h) > theta

As in the paper, the condition is decided once, on the prompt, and holds for the whole answer. It is
decided on activations of the unsteered model. The site and the threshold are chosen on the
``select`` split, by F1 as in the paper, and reported on the ``test`` split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from einops import einsum
from jaxtyping import Bool, Float64
from torch import Tensor

from interp_steer.arguments import check_list
from interp_steer.capture.activations import capture_moments
from interp_steer.contrast.contrast_set import ContrastSet, take_split
from interp_steer.contrast.pair import Prompt
from interp_steer.errors import CaptureError, InterventionError
from interp_steer.generation.inputs import check_fit
from interp_steer.interventions.intervention import Direction, Intervention, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.statistics.intervals import Interval, wilson
from interp_steer.vectors.steering_vector import SteeringVector

Reads: TypeAlias = Literal["all", "last"]
"""The tokens of a prompt that are read: ``"all"``, the mean over all tokens, as in the paper, or
``"last"``, the last token."""

_AT_A_TIME = 256  # prompts whose activations are held together


@dataclass(frozen=True)
class Condition:
    """A direction with the cosine above which the direction counts as fired.

    Args:
        direction: ``c``, and the site that is read.
        threshold: ``theta``, a cosine.
        reads: the tokens of a prompt that are read.
        f1: the F1 on the pairs that the condition was chosen on; None where it was not chosen.

    Raises:
        InterventionError: for a threshold that is not a cosine, or a direction for each step.

    Example:
        >>> asks = choose_condition(model, vector, pairs, layers=[5])
        >>> steering = asks.gate(model, prompts, vector.at(5).project())
        >>> answers = ist.generate(model, prompts, steering, max_new_tokens=4)
    """

    direction: Direction
    threshold: float
    reads: Reads = "all"
    f1: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold) or abs(self.threshold) > 1:
            raise InterventionError(
                f"threshold {self.threshold} is not a cosine; give a value from -1 to 1"
            )
        if self.direction.stepped:
            raise InterventionError(
                f"{self.direction} has a direction for each step, and a condition is decided "
                "before the first step; take the direction of a single step"
            )

    def __str__(self) -> str:
        return f"cos({self.direction}) > {self.threshold!r}"

    def scores(self, model: HookedLM, prompts: Sequence[Prompt]) -> Float64[Tensor, " prompt"]:
        """Compute ``s(h)`` of each prompt.

        Args:
            model: reads the prompts.
            prompts: texts or conversations.

        Raises:
            CaptureError: for an empty list of prompts.
            InterventionError: for a model of other sizes than the direction's.
            BasisError: when the direction was read from weights in another basis.
        """
        check_list("prompts", prompts, CaptureError)
        check_model(model)
        check_fit(model, model.basis, self.direction)
        site, width = self.direction.site, self.direction.unit.numel()
        unit = self.direction.unit.double().flatten()
        scores = []
        for start in range(0, len(prompts), _AT_A_TIME) or [0]:
            part = prompts[start : start + _AT_A_TIME]
            rows = capture_moments(model, part, [site], self.reads, keep_rows=True).rows
            assert rows is not None
            values = rows.values[site].double().flatten(1)
            # A sum has the direction of the mean, and a cosine depends on the direction only.
            sums = torch.zeros(len(part), width, dtype=torch.float64)
            sums.index_add_(0, rows.prompt, values)
            scores.append(einsum(sums, unit, "prompt width, width -> prompt") / sums.norm(dim=-1))
        return torch.cat(scores)

    def fires(self, model: HookedLM, prompts: Sequence[Prompt]) -> Bool[Tensor, " prompt"]:
        """Return the prompts on which the condition is met; see :meth:`scores`."""
        return self.scores(model, prompts) > self.threshold

    def gate(
        self,
        model: HookedLM,
        prompts: Sequence[Prompt],
        steering: Intervention,
        otherwise: Intervention = unsteered,
    ) -> list[Intervention]:
        """Return the intervention of each prompt, for :func:`interp_steer.generate`.

        Args:
            model: reads the prompts.
            prompts: texts or conversations.
            steering: the intervention where the condition is met.
            otherwise: the intervention where the condition is not met.

        Returns:
            An intervention for each prompt, in the order of the prompts. A completion's ``applied``
            is the intervention that the gate chose.
        """
        return [steering if met else otherwise for met in self.fires(model, prompts).tolist()]


@dataclass(frozen=True)
class Detection:
    """The rates at which a condition is met on prompts with the property and without it."""

    hits: Interval
    """The share of prompts with the property that meet the condition."""
    false_alarms: Interval
    """The share of prompts without the property that meet the condition."""
    f1: float
    """``2 hits / (2 hits + misses + false alarms)``, of the counts."""


def choose_condition(
    model: HookedLM,
    vector: SteeringVector,
    pairs: ContrastSet,
    *,
    layers: Sequence[int] | None = None,
    reads: Reads = "all",
) -> Condition:
    """Choose the layer and the threshold that separate the two sides of pairs best, by F1.

    Args:
        model: reads the prompts.
        vector: fitted on other pairs; its direction at each layer is tried.
        pairs: of a whole set only the ``select`` split is used; of a set with one split, all.
        layers: the layers to try; all of the vector's when not given.
        reads: the tokens of a prompt that are read.

    Returns:
        The condition with the highest F1. Of layers with equal F1, the layer whose threshold lies
        in the widest gap between scores, in units of the scores' spread.

    Raises:
        ContrastError: when a whole set has no ``select`` pairs.
        VectorError: for layers that the vector does not have or at which it is zero.
    """
    pairs = take_split(pairs, "select")
    tried = vector.layers if layers is None else layers
    best: tuple[float, float] | None = None
    chosen: Condition | None = None
    for layer in tried:
        reading = Condition(vector.at(layer), 0.0, reads)
        present = reading.scores(model, pairs.present)
        absent = reading.scores(model, pairs.absent)
        threshold, f1, gap = find_threshold(present, absent)
        if best is None or (f1, gap) > best:
            best = (f1, gap)
            chosen = Condition(vector.at(layer), threshold, reads, f1)
    if chosen is None:
        raise InterventionError(
            "the list of layers to choose a condition from is empty; give at least one"
        )
    return chosen


def find_threshold(
    present: Float64[Tensor, " prompt"], absent: Float64[Tensor, " other"]
) -> tuple[float, float, float]:
    """Find the threshold on scores that separates present from absent with the highest F1.

    The candidates are the midpoints between neighbouring scores, and a value below the lowest
    score.

    Args:
        present: scores of prompts with the property.
        absent: scores of prompts without it.

    Returns:
        The threshold, its F1, and the width of the gap that the threshold lies in, in standard
        deviations of all scores. Of equal F1, the threshold in the widest gap.

    Raises:
        InterventionError: when a side is empty.
    """
    if not len(present) or not len(absent):
        raise InterventionError(
            f"a threshold needs scores of both sides, got {len(present)} and {len(absent)}; give "
            "pairs"
        )
    scores = torch.cat([present, absent]).unique()
    halfway = (scores[1:] + scores[:-1]) / 2
    # Below the lowest score every prompt fires; that threshold does not lie in a gap.
    candidates = torch.cat([scores[:1] - 1e-6, halfway]).clamp(-1.0, 1.0)
    gaps = torch.cat([torch.zeros(1, dtype=scores.dtype), scores.diff()])
    hits = (present[:, None] > candidates).sum(0).double()
    alarms = (absent[:, None] > candidates).sum(0).double()
    f1 = 2 * hits / (hits + alarms + len(present))
    spread = max(float(torch.cat([present, absent]).std(correction=0)), 1e-12)
    best = max(range(len(candidates)), key=lambda k: (float(f1[k]), float(gaps[k])))
    return float(candidates[best]), float(f1[best]), float(gaps[best]) / spread


def measure_detection(condition: Condition, model: HookedLM, pairs: ContrastSet) -> Detection:
    """Measure how well a condition separates the sides of pairs that it was not chosen on.

    Args:
        condition: the condition.
        model: reads the prompts.
        pairs: of a whole set only the ``test`` split is used; of a set with one split, all.

    Raises:
        ContrastError: when a whole set has no ``test`` pairs.
    """
    pairs = take_split(pairs, "test")
    n = len(pairs)
    hits = int(condition.fires(model, pairs.present).sum())
    alarms = int(condition.fires(model, pairs.absent).sum())
    return Detection(wilson(hits, n), wilson(alarms, n), 2 * hits / max(hits + alarms + n, 1))
