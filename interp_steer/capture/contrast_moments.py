"""Capture both sides of a contrast set: the moments of each side and of the pairs' differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import Moments, SiteRows, moments_of
from interp_steer.capture.options import DEFAULT_OPTIONS, CaptureOptions
from interp_steer.capture.pair_differences import differences
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import VectorError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site


@dataclass(frozen=True, eq=False)
class ContrastMoments:
    """The moments of both sides, positions pooled; ``a + b`` holds the pairs of both.

    Raises:
        VectorError: for sides of different models, positions or sites.
    """

    present: Moments
    """Moments of the prompts with the property."""
    absent: Moments
    """Moments of the prompts without the property."""
    differences: Moments | None = None
    """Moments of ``d_i = h_i - h'_i`` over the pairs; None unless they were computed from rows."""

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
        """Return the sides, with the moments of their pairs' differences.

        Args:
            present: captured with ``keep_rows=True`` at one position of each prompt.
            absent: the same of the prompts without the property, in the order of the pairs.

        Raises:
            VectorError: for sides that do not go together, that hold no rows, or that hold several
                rows of a prompt.
        """
        sides = cls(present, absent)
        changed = {}
        for site in sides.sites:
            shape = present.mean[site].shape[1:]
            changed[site] = differences(present, absent, site).reshape(-1, *shape)
        assert present.rows is not None  # or there would be no differences
        rows = SiteRows(changed, present.rows.prompt, torch.zeros_like(present.rows.position))
        return replace(sides, differences=_moments_of_rows(sides.present, rows))

    @property
    def sites(self) -> tuple[Site, ...]:
        """Return the sites, sorted."""
        return self.present.sites

    def shift(self, site: Site) -> Float64[Tensor, "*shape"]:
        """Return ``m - m'``, the difference of the means of the two sides."""
        return self.present.mean[site][0] - self.absent.mean[site][0]

    @property
    def degrees(self) -> int:
        """Return the degrees of freedom of :meth:`within`: the tokens of both sides, less two."""
        return int(self.present.count[0] + self.absent.count[0]) - 2

    def within(self, site: Site) -> Float64[Tensor, "*shape d"]:
        """Return the pooled covariance within the sides; at ``z``, a covariance for each head.

        With ``S`` and ``S'`` the scatters of the two sides, it is ``(S + S') / (n + n' - 2)``.

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
        """Return the moments of the differences.

        Raises:
            VectorError: for sides that were captured without them.
        """
        if self.differences is None:
            raise VectorError(
                "the sides were captured apart, so the differences of single pairs are not known; "
                "capture them with capture_contrast(..., paired=True), or use "
                "ContrastMoments.of_rows"
            )
        return self.differences

    def __add__(self, other: ContrastMoments) -> ContrastMoments:
        """Return the sides of both sets of pairs together.

        Raises:
            CaptureError: for sides that do not merge; see
                :class:`~interp_steer.capture.moments.Moments`.
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
        """Return the same moments without the activations."""
        parts = (self.present, self.absent, self.differences)
        return ContrastMoments(*(part and replace(part, rows=None) for part in parts))  # type: ignore[arg-type]

    def subset(self, pairs: Int64[Tensor, " pair"]) -> ContrastMoments:
        """Return the sides of some pairs, such as a bootstrap draw or a half.

        Args:
            pairs: the numbers of the pairs; a pair counts as often as its number occurs.

        Raises:
            VectorError: for sides without rows.
        """
        sides = []
        for side in (self.present, self.absent):
            if side.rows is None:
                raise VectorError(
                    "these sides hold no activations to choose pairs from; capture them with "
                    "keep_rows=True"
                )
            values = {site: rows[pairs] for site, rows in side.rows.values.items()}
            sides.append(
                _moments_of_rows(side, SiteRows(values, torch.arange(len(pairs)), 0 * pairs))
            )
        return ContrastMoments.of_rows(*sides)


def _moments_of_rows(like: Moments, rows: SiteRows) -> Moments:
    """Return the moments of some rows of the model, positions and sites of other moments."""
    n = len(rows.prompt)
    by_site = {
        site: moments_of(values.double(), rows.position, 1) for site, values in rows.values.items()
    }
    return replace(
        like,
        count=torch.tensor([n]),
        mean={site: mean for site, (mean, _) in by_site.items()},
        scatter={site: scatter for site, (_, scatter) in by_site.items()},
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
    options: CaptureOptions = DEFAULT_OPTIONS,
) -> ContrastMoments:
    """Run both sides of pairs once and return their moments.

    Args:
        model: runs the prompts.
        pairs: all of them are run.
        sites: the sites to read; ``resid_post`` of every layer when not given.
        position: see :func:`interp_steer.capture.activations.capture_moments`.
        second_moments: whether to keep the scatter matrices of each side.
        paired: whether to take the moments of the pairs' differences, scatter included.
            ``options.pairs_at_once`` pairs are then run at a time, so that memory does not grow
            with the number of pairs.
        max_new_tokens: the most tokens of an answer, at position ``"generated"``.
        options: batch sizes, checkpoints and the callback. ``options.checkpoint`` is the beginning
            of the names of several files.

    Raises:
        CaptureError: as :func:`interp_steer.capture.activations.capture_moments`.
        VectorError: for ``paired`` with positions of which a prompt has several.
    """
    if paired and position in ("all", "generated"):
        raise VectorError(
            f"position {position!r} has many tokens of each prompt, which do not pair with the "
            "tokens of the other side; use 'last' or an index, or an estimator that needs no pairs"
        )

    def capture_sides(part: ContrastSet, label: str) -> list[Moments]:
        prefix = options.checkpoint
        return [
            capture_moments(
                model,
                getattr(part, side),
                sites,
                position,
                max_new_tokens=max_new_tokens,
                second_moments=second_moments,
                keep_rows=paired,
                options=replace(
                    options, checkpoint=prefix and f"{prefix}.{label}{side}.safetensors"
                ),
            )
            for side in ("present", "absent")
        ]

    if not paired:
        return ContrastMoments(*capture_sides(pairs, ""))
    total: ContrastMoments | None = None
    for start in range(0, len(pairs), options.pairs_at_once):
        sides = capture_sides(pairs[start : start + options.pairs_at_once], f"{start}.")
        part = ContrastMoments.of_rows(*sides).without_rows()
        total = part if total is None else total + part
    assert total is not None  # a contrast set is never empty
    return total
