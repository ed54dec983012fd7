"""Read heads one by one: how well each separates two sides, and how much each writes of a
direction.

Everything is computed from rows that one pass keeps, a row for each prompt::

    sites   = share_sites(model)
    present = capture_moments(model, pairs.present, sites, keep_rows=True)
    absent  = capture_moments(model, pairs.absent, sites, keep_rows=True)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.capture.moments import Moments
from interp_steer.capture.pair_differences import differences
from interp_steer.errors import CaptureError, VectorError
from interp_steer.models.attention_output import head_output_weights, heads_add_up
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.resampling import draw_weights, normal_interval

Group = TypeVar("Group", bound=Hashable)

TOLERANCE = 0.01
"""The largest distance from 1 of the sum of a direction's shares; float32 rounding is a hundred
times smaller."""

ROUNDING = 1e-5
"""A difference shorter than this share of the activations' length counts as zero: batching alone
causes differences of that size."""


# ------------------------------------------------------------------ one head alone
def head_rows(moments: Moments) -> Float64[Tensor, "row layer head d_head"]:
    """Return the output of every head for every prompt, before the output projection.

    Args:
        moments: with rows at ``z``; other sites are ignored.

    Raises:
        CaptureError: for moments without rows at ``z``.
    """
    sites = [site for site in moments.sites if site.component == "z"]
    return torch.stack([_rows(moments, site) for site in sites or [Site("z", 0)]], dim=1)


def head_projections(
    rows: Float[Tensor, "row layer head d_head"], directions: Float[Tensor, "layer head d_head"]
) -> Float64[Tensor, "row layer head"]:
    """Project each head's output on the head's own unit direction.

    Args:
        rows: see :func:`head_rows`.
        directions: a direction for each head, of any length; a zero direction gives 0.
    """
    unit = normalize(directions.double(), dim=-1)
    return einsum(rows.double(), unit, "row layer head d, layer head d -> row layer head")


# ------------------------------------------------------------------ who writes a direction
@dataclass(frozen=True, order=True)
class Writer:
    """A part of the model that adds to the residual stream."""

    kind: str
    """``"embedding"``, ``"head"``, ``"attention"`` (all heads of a layer) or ``"mlp"``."""
    layer: int | None = None
    """The layer of the part; None for the embedding."""
    head: int | None = None
    """The number of the head; None for the other kinds."""

    @property
    def part(self) -> str:
        """Return the kind; ``"attention"`` for a head."""
        return "attention" if self.kind == "head" else self.kind

    def __str__(self) -> str:
        at = [str(number) for number in (self.layer, self.head) if number is not None]
        return ".".join([self.kind, *at])


@dataclass(frozen=True, eq=False)
class Shares:
    """Each writer's share of the direction at each layer; at every layer the shares sum to 1.

    See :func:`write_shares`.
    """

    layers: tuple[int, ...]
    """The layers that have a direction: the layers at which the two sides differ."""
    writers: tuple[Writer, ...]
    """All writers, in the order of the forward pass."""
    values: Float64[Tensor, "layer writer"]
    """``<w, u_l> / |v_l|``; 0 for a writer after the layer."""
    draws: Float64[Tensor, "draw layer writer"]
    """The shares of bootstrap draws of the pairs."""
    n: int
    """The number of pairs of prompts."""
    note: str
    """Which writers could not be separated; empty where every head has its own share."""

    @property
    def error(self) -> float:
        """Return the largest distance from 1 of the sum of a layer's shares, which is rounding."""
        return float((self.values.sum(dim=1) - 1).abs().max())

    def sum_by(self, by: Callable[[Writer], Group]) -> dict[tuple[int, Group], Interval]:
        """Sum the shares of groups of writers, with intervals.

        Args:
            by: returns the group of a writer, such as ``lambda writer: writer.part``.

        Returns:
            The sums by layer and group, for groups with a writer at the layer or before it.
        """
        groups: dict[Group, list[int]] = {}
        for column, writer in enumerate(self.writers):
            groups.setdefault(by(writer), []).append(column)
        intervals = {}
        for row, layer in enumerate(self.layers):
            for group, columns in groups.items():
                if not any(_writes_before(self.writers[column], layer) for column in columns):
                    continue
                value = float(self.values[row, columns].sum())
                draws = self.draws[:, row, columns].sum(dim=1)
                intervals[layer, group] = normal_interval(value, draws, self.n)
        return intervals


def share_sites(model: HookedLM) -> tuple[Site, ...]:
    """Return the sites that must be captured, with rows, for :func:`write_shares`."""
    components = ("resid_post", "attn_out", "mlp_out", "z")
    return (Site("resid_pre", 0), *(site for name in components for site in model.sites(name)))


def write_shares(
    model: HookedLM, present: Moments, absent: Moments, *, draws: int = 300, seed: int = 0
) -> Shares:
    """Compute how much of the residual direction each head, each MLP and the embedding write.

    The residual stream is the sum of everything that was written into it (Elhage et al. 2021), and
    so is a difference in means ``v_l`` of it. With ``w`` the difference in means of what one writer
    adds::

        share = <w, u_l> / |v_l| = <w, v_l> / |v_l|^2

    A writer with a negative share writes against the direction. Biases are the same on both sides
    and cancel. A layer at which the sides do not differ has no direction and is left out, such as a
    first layer whose attention window ends before the property is named.

    A head writes ``z W_O``. In a model that normalises the attention's sum of heads, such as
    Gemma-2, heads do not write separately: the attention of a layer has one share, and ``note``
    says so.

    Args:
        model: the model that was captured.
        present: moments of the prompts with the property, at :func:`share_sites`, with a row for
            each prompt.
        absent: the same for the prompts without the property, in the order of the pairs.
        draws: the number of bootstrap draws of the pairs, for intervals.
        seed: of the draws.

    Raises:
        VectorError: for moments of other sites, without rows, with several rows of a prompt, or of
            sides that are not paired; for sides that differ at no layer; and for shares that do not
            sum to 1, because the residual stream is not the sum of its parts or the dtype is too
            coarse.

    Example:
        >>> sites = share_sites(model)
        >>> present, absent = (
        ...     ist.capture.capture_moments(model, side, sites, keep_rows=True)
        ...     for side in (pairs.test.present, pairs.test.absent)
        ... )
        >>> shares = write_shares(model, present, absent, draws=5)
        >>> mlps = shares.sum_by(lambda writer: writer.part)[7, "mlp"]
    """

    directions = {
        site.layer: differences(present, absent, site) for site in model.sites("resid_post")
    }
    n = len(next(iter(directions.values())))
    whole = torch.full((1, n), 1 / n, dtype=torch.float64)
    weights = torch.cat([whole, draw_weights(n, draws, seed)])
    lengths = {
        layer: _resample_products(weights, einsum(rows, rows, "i d, j d -> i j"))
        for layer, rows in directions.items()
    }
    layers = tuple(
        layer
        for layer, squared in lengths.items()
        if float(squared[0]) ** 0.5 > ROUNDING * _mean_length(absent, Site("resid_post", layer))
    )
    if not layers:
        raise VectorError(
            f"the two sides of {n} pairs do not differ at any layer of {model.describe()}; read "
            "another position, or other pairs"
        )
    by_head = all(heads_add_up(model, layer) for layer in directions)
    writers: list[Writer] = []
    columns: list[Tensor] = []
    for group in _list_writes(model, present, absent, by_head):
        writers.extend(group.writers)
        share = torch.zeros(len(weights), len(layers), len(group.writers), dtype=torch.float64)
        for column, layer in enumerate(layers):
            if layer >= group.first:
                gram = einsum(group.rows, directions[layer], "i writer d, j d -> writer i j")
                share[:, column] = (_resample_products(weights, gram) / lengths[layer]).T
        columns.append(share)
    values = torch.cat(columns, dim=2)
    note = (
        ""
        if by_head
        else f"{model.name} normalises the sum of its heads before it is added, so that no head "
        "has a share of its own; the attention of a layer has one."
    )
    shares = Shares(layers, tuple(writers), values=values[0], draws=values[1:], n=n, note=note)
    if not shares.error <= TOLERANCE:
        raise VectorError(
            f"the shares of {model.describe()} in {model.dtype} sum to 1 but for "
            f"{shares.error:.3g}, more than {TOLERANCE}: load it in float32; if they still do not, "
            "its residual stream is not the sum of its embedding, attention and MLPs"
        )
    return shares


@dataclass(frozen=True, eq=False)
class _Writes:
    """The additions of some writers of one layer to the residual stream, pair by pair."""

    writers: Sequence[Writer]
    rows: Float64[Tensor, "pair writer d"]
    """The difference of what each writer adds on the two sides of a pair."""
    first: int
    """The first layer whose ``resid_post`` holds what they add."""


def _list_writes(
    model: HookedLM, present: Moments, absent: Moments, by_head: bool
) -> Iterator[_Writes]:
    """Yield what every writer adds to the residual stream, in the order of the forward pass."""

    def difference(component: str, layer: int) -> Float64[Tensor, "pair d"]:
        return differences(present, absent, Site(component, layer))

    yield _Writes([Writer("embedding")], difference("resid_pre", 0)[:, None], 0)
    for layer in range(model.n_layers):
        if by_head:
            output = head_output_weights(model, layer).double().cpu()
            heads = rearrange(difference("z", layer), "i (h k) -> i h k", h=model.n_heads)
            rows = einsum(heads, output, "i h k, h k d -> i h d")
            yield _Writes(
                [Writer("head", layer, head) for head in range(model.n_heads)], rows, layer
            )
        else:
            rows = difference("attn_out", layer)[:, None]
            yield _Writes([Writer("attention", layer)], rows, layer)
        yield _Writes([Writer("mlp", layer)], difference("mlp_out", layer)[:, None], layer)


def _writes_before(writer: Writer, layer: int) -> bool:
    return writer.layer is None or writer.layer <= layer


def _resample_products(
    weights: Float64[Tensor, "draw i"], gram: Float64[Tensor, "*writer i j"]
) -> Float64[Tensor, "*writer draw"]:
    """Compute the inner product of two resampled means, from the inner products of their rows."""
    return einsum(weights, gram, weights, "draw i, ... i j, draw j -> ... draw")


def _mean_length(moments: Moments, site: Site) -> float:
    """Compute the mean length of an activation at a site."""
    return float(_rows(moments, site).norm(dim=-1).mean())


def _rows(moments: Moments, site: Site) -> Float64[Tensor, " row *shape"]:
    """Return the row of each prompt at a site."""
    if moments.rows is None or site not in moments.rows.values:
        raise CaptureError(f"these moments hold no rows at {site}; capture it with keep_rows=True")
    if len(moments.rows.prompt) != moments.prompts:
        raise CaptureError(
            f"{moments.prompts} prompts have {len(moments.rows.prompt)} rows at {site}; capture "
            "one position, such as 'last'"
        )
    return moments.rows.values[site].double()
