"""Compute the differences of single pairs, whose mean is a vector, and group related pairs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from interp_steer.capture.moments import Moments
from interp_steer.errors import VectorError
from interp_steer.models.sites import Site

Groups: TypeAlias = Sequence[Hashable] | None
"""A label for each pair, such as its query, that related pairs share; None where all pairs are
independent."""

FEWEST = 4
"""The fewest pairs, or groups of pairs: two halves of two."""


def differences(present: Moments, absent: Moments, site: Site) -> Float64[Tensor, "pair d"]:
    """Compute ``d_i = h_i - h'_i`` at a site, a row for each pair; at ``z`` all heads in one row.

    Args:
        present: captured with ``keep_rows=True`` at one position of each prompt.
        absent: the same for the prompts without the property, in the order of the pairs.
        site: a site that both have.

    Raises:
        VectorError: for sides of different models, positions or pairs, and for sides that hold no
            rows at the site or several rows of a prompt.
    """
    for what in ("fingerprint", "positions", "sites", "prompts"):
        mine, theirs = getattr(present, what), getattr(absent, what)
        if mine != theirs:
            raise VectorError(
                f"the two sides have {what} {mine} and {theirs}; capture the same pairs with the "
                "same model, sites and positions"
            )
    rows = []
    for side in (present, absent):
        if side.rows is None or site not in side.rows.values:
            raise VectorError(
                f"the activations at {site} were not kept; capture it with keep_rows=True"
            )
        values = side.rows.values[site]
        if len(values) != side.prompts:
            raise VectorError(
                f"{side.prompts} prompts have {len(values)} activations at positions "
                f"{side.positions!r}, so single pairs have no difference there; capture them at "
                "'last' or an index"
            )
        rows.append(rearrange(values.double(), "pair ... -> pair (...)"))
    return rows[0] - rows[1]


def number_groups(n: int, groups: Groups) -> tuple[Int64[Tensor, " pair"], int]:
    """Number the groups of pairs; return the number of each pair's group, and how many there are.

    Args:
        n: the number of pairs.
        groups: a label for each pair; None where every pair is a group by itself.

    Raises:
        VectorError: for another number of labels, or too few groups.
    """
    labels = list(range(n) if groups is None else groups)
    place = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    if len(labels) != n or len(place) < FEWEST:
        raise VectorError(
            f"{n} pairs in {len(place)} groups, of {len(labels)} labels: give a label for each "
            f"pair, and {FEWEST} groups or more"
        )
    return torch.tensor([place[label] for label in labels]), len(place)


def exact_rows(rows: Float[Tensor, "*batch pair d"]) -> Float64[Tensor, "*batch pair k"]:
    """Return rows in float64, in at most as many axes as there are rows.

    Rows that are wider than their number are turned into new axes, which keeps every inner product.

    Args:
        rows: differences; all of them share the new axes.

    Raises:
        VectorError: for a row that is not finite.
    """
    if not rows.isfinite().all():
        raise VectorError("some differences are nan or inf; load the model in bfloat16 or float32")
    exact = rows.detach().double().cpu()
    if exact[..., 0].numel() >= exact.shape[-1]:
        return exact
    flat = rearrange(exact, "... d -> d (...)")
    return torch.linalg.qr(flat, mode="r").R.T.reshape(*exact.shape[:-1], flat.shape[1])
