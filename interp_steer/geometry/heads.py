"""Head by head: how well one tells two sides apart, and who writes a direction.

Everything is read from rows that one pass keeps, a row for each prompt::

    sites   = share_sites(model)
    present = capture(model, pairs.present, sites, keep_rows=True)
    absent  = capture(model, pairs.absent, sites, keep_rows=True)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.capture.moments import Moments
from interp_steer.errors import CaptureError, VectorError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.resampling import draw_weights, normal_interval

Group = TypeVar("Group", bound=Hashable)

TOLERANCE = 0.01
"""How far the shares of a direction may sum from 1, which float32 rounds a hundred times finer."""

ROUNDING = 1e-5
"""A difference shorter than this share of the activations is none: batches alone make as much."""


# ------------------------------------------------------------------ one head alone
def head_rows(moments: Moments) -> Float64[Tensor, "row layer head d_head"]:
    """What every head gave for every prompt, before the output projection.

    Args:
        moments: with rows at ``z``; other sites are passed over.

    Raises:
        CaptureError: without rows at ``z``.
    """
    sites = [site for site in moments.sites if site.component == "z"]
    return torch.stack([_rows(moments, site) for site in sites or [Site("z", 0)]], dim=1)


def head_projections(
    rows: Float[Tensor, "row layer head d_head"], directions: Float[Tensor, "layer head d_head"]
) -> Float64[Tensor, "row layer head"]:
    """The projection of each head's output on the head's own unit direction.

    Args:
        rows: see :func:`head_rows`.
        directions: one for each head, of any length; 0 comes out where one is zero.
    """
    unit = normalize(directions.double(), dim=-1)
    return einsum(rows.double(), unit, "row layer head d, layer head d -> row layer head")


# ------------------------------------------------------------------ who writes a direction
@dataclass(frozen=True, order=True)
class Writer:
    """What adds to the residual stream."""

    kind: str
    """``"embedding"``, ``"head"``, ``"attention"`` (all heads of a layer) or ``"mlp"``."""
    layer: int | None = None
    """Where it is; None for the embedding."""
    head: int | None = None
    """Which head."""

    @property
    def part(self) -> str:
        """Its kind, a head being ``"attention"``."""
        return "attention" if self.kind == "head" else self.kind

    def __str__(self) -> str:
        at = [str(number) for number in (self.layer, self.head) if number is not None]
        return ".".join([self.kind, *at])


@dataclass(frozen=True, eq=False)
class Shares:
    """Each writer's share of the direction at each layer; at every layer they sum to 1.

    See :func:`write_shares`.
    """

    layers: tuple[int, ...]
    """The layers that the direction was read at: those where the two sides differ."""
    writers: tuple[Writer, ...]
    """All that write, in the order of the forward pass."""
    values: Float64[Tensor, "layer writer"]
    """``<w, u_l> / |v_l|``; 0 for what writes after the layer."""
    draws: Float64[Tensor, "draw layer writer"]
    """The same of bootstrap draws of the pairs."""
    n: int
    """Pairs of prompts."""
    note: str
    """What could not be told apart; empty where every head has a share of its own."""

    @property
    def error(self) -> float:
        """How far the shares of a layer are from 1, at worst: rounding."""
        return float((self.values.sum(dim=1) - 1).abs().max())

    def summed(self, by: Callable[[Writer], Group]) -> dict[tuple[int, Group], Interval]:
        """Shares of groups of writers, with their intervals.

        Args:
            by: the group of a writer, such as ``lambda writer: writer.part``.

        Returns:
            By layer and group, of what stands at the layer or before it.
        """
        groups: dict[Group, list[int]] = {}
        for column, writer in enumerate(self.writers):
            groups.setdefault(by(writer), []).append(column)
        found = {}
        for row, layer in enumerate(self.layers):
            for group, columns in groups.items():
                if not any(_before(self.writers[column], layer) for column in columns):
                    continue
                value = float(self.values[row, columns].sum())
                draws = self.draws[:, row, columns].sum(dim=1)
                found[layer, group] = normal_interval(value, draws, self.n)
        return found


def share_sites(model: HookedLM) -> tuple[Site, ...]:
    """What must be captured, with rows, for :func:`write_shares`."""
    components = ("resid_post", "attn_out", "mlp_out", "z")
    return (Site("resid_pre", 0), *(site for each in components for site in model.sites(each)))


def write_shares(
    model: HookedLM, present: Moments, absent: Moments, *, draws: int = 300, seed: int = 0
) -> Shares:
    """How much of the residual direction each head, each MLP and the embedding write.

    The residual stream is a sum of what was written into it (Elhage et al. 2021), and so is a
    difference in means ``v_l`` of it. With ``w`` the difference in means of what one writer adds::

        share = <w, u_l> / |v_l| = <w, v_l> / |v_l|^2

    A negative share writes against the direction. Biases are on both sides and cancel. A layer
    where the sides do not differ, such as a first one whose window ends before the property is
    named, has no direction and is left out.

    A head writes ``z W_O``. Where a norm follows on the attention's sum of heads, as in Gemma-2, no
    head writes anything of its own: the attention of a layer has one share, and ``note`` says so.

    Args:
        model: that was captured.
        present: moments of the prompts with the property, at :func:`share_sites`, with a row for
            each prompt.
        absent: those of the same prompts without it, in the same order.
        draws: bootstrap draws of the pairs, for intervals.
        seed: of the draws.

    Raises:
        CaptureError: for moments of other sites, without rows, with several rows for a prompt, or
            of sides that are not paired.
        VectorError: when the sides differ at no layer, or the shares do not sum to 1: a model whose
            residual stream is no sum of its parts, or too coarse a dtype.

    Example:
        >>> shares = write_shares(model, present, absent)                     # doctest: +SKIP
        >>> str(shares.summed(lambda writer: writer.part)[7, "mlp"])          # doctest: +SKIP
        '0.411 [0.385, 0.437]'
    """

    def difference(site: Site) -> Tensor:
        return _difference(present, absent, site)

    along = {site.layer: difference(site) for site in model.sites("resid_post")}
    n = len(next(iter(along.values())))
    whole = torch.full((1, n), 1 / n, dtype=torch.float64)
    weights = torch.cat([whole, draw_weights(n, draws, seed)])
    lengths = {
        layer: _quadratic(weights, einsum(rows, rows, "i d, j d -> i j"))
        for layer, rows in along.items()
    }
    layers = tuple(
        layer
        for layer, squared in lengths.items()
        if float(squared[0]) ** 0.5 > ROUNDING * _size(absent, Site("resid_post", layer))
    )
    if not layers:
        raise VectorError(
            f"the two sides of {n} pairs do not differ at any layer of {model.describe()}; read "
            "another position, or other pairs"
        )
    writers: list[Writer] = []
    columns: list[Tensor] = []

    def add(names: Sequence[Writer], rows: Float64[Tensor, "pair writer d"], first: int) -> None:
        writers.extend(names)
        share = torch.zeros(len(weights), len(layers), len(names), dtype=torch.float64)
        for at, layer in enumerate(layers):
            if layer >= first:
                gram = einsum(rows, along[layer], "i writer d, j d -> writer i j")
                share[:, at] = (_quadratic(weights, gram) / lengths[layer]).T
        columns.append(share)

    add([Writer("embedding")], difference(Site("resid_pre", 0))[:, None], 0)
    by_head = all(_heads_add_up(model, layer) for layer in along)
    for layer in along:
        if by_head:
            output = model.bridge.blocks[layer].attn.W_O.detach().double().cpu()
            rows = einsum(difference(Site("z", layer)), output, "i h k, h k d -> i h d")
            heads = [Writer("head", layer, head) for head in range(model.n_heads)]
            add(heads, rows, layer)
        else:
            add([Writer("attention", layer)], difference(Site("attn_out", layer))[:, None], layer)
        add([Writer("mlp", layer)], difference(Site("mlp_out", layer))[:, None], layer)
    found = torch.cat(columns, dim=2)
    shares = Shares(
        layers=layers,
        writers=tuple(writers),
        values=found[0],
        draws=found[1:],
        n=n,
        note=""
        if by_head
        else f"{model.name} normalises the sum of its heads before it is added, so that no head "
        "has a share of its own; the attention of a layer has one.",
    )
    if not shares.error <= TOLERANCE:
        raise VectorError(
            f"the shares of {model.describe()} in {model.dtype} sum to 1 but for "
            f"{shares.error:.3g}, more than {TOLERANCE}: load it in float32; if they still do not, "
            "its residual stream is no sum of its embedding, attention and MLPs"
        )
    return shares


def _before(writer: Writer, layer: int) -> bool:
    return writer.layer is None or writer.layer <= layer


def _quadratic(
    weights: Float64[Tensor, "draw i"], gram: Float64[Tensor, "*writer i j"]
) -> Float64[Tensor, "*writer draw"]:
    """The inner product of two resampled means, from the inner products of their rows."""
    return einsum(weights, gram, weights, "draw i, ... i j, draw j -> ... draw")


def _size(moments: Moments, site: Site) -> float:
    """The mean length of an activation at a site."""
    return float(_rows(moments, site).norm(dim=-1).mean())


def _heads_add_up(model: HookedLM, layer: int) -> bool:
    """Whether the output projection is the last of what writes ``attn_out``."""
    projection, _ = model.module_of(Site("z", layer))
    attention, _ = model.module_of(Site("attn_out", layer))
    return projection in attention.modules()


def _difference(present: Moments, absent: Moments, site: Site) -> Float64[Tensor, " pair *shape"]:
    """What the property changes at a site, pair by pair."""
    sides = [_rows(side, site) for side in (present, absent)]
    if len(sides[0]) != len(sides[1]):
        raise CaptureError(
            f"{len(sides[0])} prompts with the property and {len(sides[1])} without are no pairs; "
            "capture both sides of one contrast set"
        )
    return sides[0] - sides[1]


def _rows(moments: Moments, site: Site) -> Float64[Tensor, " row *shape"]:
    """The row of each prompt at a site."""
    if moments.rows is None or site not in moments.rows.values:
        raise CaptureError(f"these moments hold no rows at {site}; capture it with keep_rows=True")
    if len(moments.rows.prompt) != moments.prompts:
        raise CaptureError(
            f"{moments.prompts} prompts have {len(moments.rows.prompt)} rows at {site}; capture "
            "one position, such as 'last'"
        )
    return moments.rows.values[site].double()
