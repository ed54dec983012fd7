"""Both sides of a contrast set: the moments of each, and of the differences of single pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import Moments, SiteRows, moments_of
from interp_steer.capture.pair_differences import differences
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import CaptureError, VectorError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site

PAIRS_AT_ONCE = 256
"""Pairs whose activations are held at a time while their differences are taken."""


@dataclass(frozen=True, eq=False)
class ContrastMoments:
    """What was captured of both sides, the positions of each pooled; ``a + b`` is of all pairs.

    Raises:
        VectorError: for sides of different models, positions or sites.
    """

    present: Moments
    """Of the prompts with the property."""
    absent: Moments
    """Of the prompts without it."""
    differences: Moments | None = None
    """Of ``d_i = h_i - h'_i``, pair by pair; None unless rows were kept to take them from."""

    def __post_init__(self) -> None:
        for what in ("fingerprint", "positions", "sites"):
            mine, theirs = getattr(self.present, what), getattr(self.absent, what)
            if mine != theirs:
                raise VectorError(
                    f"the two sides have {what} {mine} and {theirs}; capture both with the same "
                    "model, sites and positions"
                )
        for side in ("present", "absent"):
            object.__setattr__(self, side, getattr(self, side).pooled())

    @classmethod
    def of_rows(cls, present: Moments, absent: Moments) -> ContrastMoments:
        """The sides, with the moments of their pairs' differences.

        Args:
            present: captured with ``keep_rows=True`` at one position of each prompt.
            absent: the same of the prompts without the property, in the order of the pairs.

        Raises:
            VectorError: for sides that do not go together, without rows, or of which a prompt has
                several rows.
        """
        sides = cls(present, absent)
        changed = {}
        for site in sides.sites:
            shape = present.mean[site].shape[1:]
            changed[site] = differences(present, absent, site).reshape(-1, *shape)
        assert present.rows is not None  # or there would be no differences
        kept = SiteRows(changed, present.rows.prompt, torch.zeros_like(present.rows.position))
        return replace(sides, differences=_moments(sides.present, kept))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, sorted."""
        return self.present.sites

    def shift(self, site: Site) -> Float64[Tensor, "*shape"]:
        """``m - m'``: how far apart the means of the two sides are."""
        return self.present.mean[site][0] - self.absent.mean[site][0]

    @property
    def degrees(self) -> int:
        """Degrees of freedom of :meth:`within`: the tokens of both sides, less two."""
        return int(self.present.count[0] + self.absent.count[0]) - 2

    def within(self, site: Site) -> Float64[Tensor, "*shape d"]:
        """The pooled covariance within the sides, ``(S + S') / (n + n' - 2)``; by head at ``z``.

        Raises:
            CaptureError: without second moments, or for a side of under two tokens.
        """
        weights = [int(side.count[0]) - 1 for side in (self.present, self.absent)]
        scatters = [
            weight * side.covariance(site)[0]
            for weight, side in zip(weights, (self.present, self.absent), strict=True)
        ]
        return (scatters[0] + scatters[1]) / sum(weights)

    def of_pairs(self) -> Moments:
        """The moments of the differences.

        Raises:
            VectorError: when there are none.
        """
        if self.differences is None:
            raise VectorError(
                "the sides were captured apart, and differences of single pairs are not known; "
                "capture them with capture_sides(..., paired=True), or use Sides.of_rows"
            )
        return self.differences

    def __add__(self, other: ContrastMoments) -> ContrastMoments:
        """The sides of both sets of pairs.

        Raises:
            CaptureError: for sides that do not merge; see :class:`~interp_steer.capture.moments.Moments`.
        """
        if not isinstance(other, ContrastMoments):
            return NotImplemented
        paired = self.differences is not None and other.differences is not None
        return ContrastMoments(
            self.present + other.present,
            self.absent + other.absent,
            self.of_pairs() + other.of_pairs() if paired else None,
        )

    def without_rows(self) -> ContrastMoments:
        """The same, the activations let go."""
        parts = (self.present, self.absent, self.differences)
        return ContrastMoments(*(part and replace(part, rows=None) for part in parts))  # type: ignore[arg-type]

    def subset(self, pairs: Int64[Tensor, " pair"]) -> ContrastMoments:
        """The sides of some pairs, each as often as it is named: a bootstrap draw, or a half.

        Args:
            pairs: their numbers.

        Raises:
            VectorError: for sides without rows.
        """
        sides = []
        for side in (self.present, self.absent):
            if side.rows is None:
                raise VectorError(
                    "pairs are chosen among activations, and these sides hold none; capture them "
                    "with keep_rows=True"
                )
            values = {site: each[pairs] for site, each in side.rows.values.items()}
            sides.append(_moments(side, SiteRows(values, torch.arange(len(pairs)), 0 * pairs)))
        return ContrastMoments.of_rows(*sides)


def _moments(like: Moments, rows: SiteRows) -> Moments:
    """Moments of rows of a model, positions and sites that others are of."""
    n = len(rows.prompt)
    each = {
        site: moments_of(values.double(), rows.position, 1) for site, values in rows.values.items()
    }
    return replace(
        like,
        count=torch.tensor([n]),
        mean={site: mean for site, (mean, _) in each.items()},
        scatter={site: scatter for site, (_, scatter) in each.items()},
        rows=rows,
        prompts=n,
    )


def capture_contrast(
    model: HookedLM,
    pairs: ContrastSet,
    sites: Sequence[Site] | None = None,
    position: str | int = "last",
    *,
    second_moments: bool = False,
    paired: bool = False,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    pairs_at_once: int = PAIRS_AT_ONCE,
    checkpoints: str | Path | None = None,
    on_read: Callable[[int], None] | None = None,
) -> ContrastMoments:
    """Run both sides of pairs once and leave their moments.

    Args:
        model: runs the prompts.
        pairs: all of them are run.
        sites: what to read; ``resid_post`` of every layer when not given.
        position: see :func:`interp_steer.capture.activations.capture_moments`.
        second_moments: whether to keep the scatter matrices of each side.
        paired: whether to take the moments of the pairs' differences, scatter included.
            ``pairs_at_once`` pairs are then run at a time, so that memory does not grow with them.
        max_new_tokens: where the model's own answers are cut, at position ``"generated"``.
        batch_size: the most prompts in a batch.
        pairs_at_once: how many pairs' activations are held at a time, where they are compared.
        checkpoints: the beginning of the names of files for the moments as they grow.
        on_read: is told how many prompts were read, batch by batch, of either side; what it raises
            ends the pass.

    Raises:
        CaptureError: as :func:`interp_steer.capture.activations.capture_moments`.
        VectorError: for differences at a position of which a prompt has several.
    """
    if paired and position in ("all", "generated"):
        raise VectorError(
            f"position {position!r} has many tokens of each prompt, which do not pair with those "
            "of the other side; use 'last' or an index, or an estimator that needs no pairs"
        )

    def both(some: ContrastSet, part: str) -> list[Moments]:
        return [
            capture_moments(
                model,
                getattr(some, side),
                sites,
                position,
                max_new_tokens=max_new_tokens,
                second_moments=second_moments,
                keep_rows=paired,
                batch_size=batch_size,
                checkpoint=checkpoints and f"{checkpoints}.{part}{side}.safetensors",
                on_read=on_read,
            )
            for side in ("present", "absent")
        ]

    if not paired:
        return ContrastMoments(*both(pairs, ""))
    if pairs_at_once < 1:
        raise CaptureError(f"pairs_at_once is {pairs_at_once}; hold at least 1")
    total: ContrastMoments | None = None
    for start in range(0, len(pairs), pairs_at_once):
        found = both(pairs[start : start + pairs_at_once], f"{start}.")
        part = ContrastMoments.of_rows(*found).without_rows()
        total = part if total is None else total + part
    assert total is not None  # a contrast set is never empty
    return total
