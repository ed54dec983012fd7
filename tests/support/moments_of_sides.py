"""Moments of two sides with a known difference."""

from __future__ import annotations

import torch
from torch import Tensor

from interp_steer.capture.contrast_moments import ContrastMoments
from interp_steer.capture.moments import Moments, SiteRows, moments_of
from interp_steer.models.sites import Site

SITE = Site("resid_post", 0)


def moments(rows: Tensor, *, paired: bool = True) -> Moments:
    """What a capture of these rows, a token of each prompt, would have left."""
    n = len(rows)
    position = torch.zeros(n, dtype=torch.int64)
    mean, scatter = moments_of(rows.double(), position, 1)
    kept = SiteRows({SITE: rows}, torch.arange(n), position)
    return Moments(
        count=torch.tensor([n]), mean={SITE: mean}, scatter={SITE: scatter},
        rows=kept if paired else None, prompts=n, positions="last", model="gaussian",
        fingerprint="0", source="0",
    )  # fmt: skip


def sides(present: Tensor, absent: Tensor) -> ContrastMoments:
    return ContrastMoments.of_rows(moments(present), moments(absent))


def gaussian(n: int, d: int, seed: int, spread: Tensor | None = None) -> Tensor:
    """Rows whose axes have the given standard deviations, in float64."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return rows if spread is None else rows * spread


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0))
