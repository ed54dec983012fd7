"""Hold what a pass over prompts keeps: count, mean and scatter at each site, in float64."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import einsum, reduce
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from interp_steer.errors import CaptureError
from interp_steer.models.sites import Site
from interp_steer.storage.tensors import check_types, read_tensors, report_as, write_tensors


@dataclass(frozen=True, eq=False)
class SiteRows:
    """The activations of a pass, which are kept only on request."""

    values: Mapping[Site, Float[Tensor, " row *shape"]]
    """By site, in the model's dtype; sorted by prompt, then by token."""
    prompt: Int64[Tensor, " row"]
    """The prompt of each row, as its index in the list that was captured."""
    position: Int64[Tensor, " row"]
    """The position of the moments that each row counts in."""

    @classmethod
    def join(cls, parts: Sequence[SiteRows]) -> SiteRows:
        """Return the rows of several passes over the same sites, one after the other."""
        return cls(
            {site: torch.cat([p.values[site] for p in parts]) for site in parts[0].values},
            torch.cat([part.prompt for part in parts]),
            torch.cat([part.position for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Moments:
    """Streaming moments of activations; ``a + b`` equals one pass over the prompts of both.

    The merge is the pairwise update of Chan, Golub and LeVeque (1979)::

        mean  = mean_a + (mean_b - mean_a) n_b / n
        S     = S_a + S_b + (mean_b - mean_a)(mean_b - mean_a)^T n_a n_b / n

    Memory does not grow with the number of prompts, and no large numbers cancel. At ``z`` every
    moment is taken head by head.
    """

    count: Int64[Tensor, " position"]
    """The number of tokens at each position. ``"last"``, an index and ``"all"`` (all real tokens
    pooled) have one position; ``"generated"`` has one for each step."""
    mean: Mapping[Site, Float64[Tensor, " position *shape"]]
    """The mean by site; zero where the count is zero."""
    scatter: Mapping[Site, Float64[Tensor, "position *shape d"]] | None
    """``sum (x - mean)(x - mean)^T`` by site; None unless second moments were requested."""
    rows: SiteRows | None
    """The activations; None unless rows were requested."""
    prompts: int
    """The number of prompts."""
    positions: str
    """The positions that were read: ``"last"``, an index, ``"all"`` or ``"generated"``."""
    model: str
    """The name of the model."""
    fingerprint: str
    """The fingerprint of the model's weights; moments of two models do not merge."""
    source: str
    """A sha256 of the model, the tokens, the sites, the positions and the batches of the pass."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Return the sites, sorted."""
        return tuple(sorted(self.mean))

    def covariance(self, site: Site) -> Float64[Tensor, "position *shape d"]:
        """Return the unbiased covariance ``scatter / (count - 1)``, head by head at ``z``.

        Raises:
            CaptureError: when second moments were not captured, or a position has fewer
                than two tokens.
        """
        if self.scatter is None:
            raise CaptureError(
                "these moments hold no second moments; capture with second_moments=True"
            )
        if site not in self.scatter:
            raise CaptureError(
                f"{site} was not captured; use one of {', '.join(map(str, self.sites))}"
            )
        if int(self.count.min()) < 2:
            raise CaptureError(
                f"a covariance needs two tokens at each position, the counts are "
                f"{self.count.tolist()}; capture more prompts"
            )
        scatter = self.scatter[site]
        return scatter / (_expand_positions(self.count, scatter) - 1)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both; the prompts of ``other`` get the numbers after this one's.

        Raises:
            CaptureError: for moments of another model, other sites or positions.
        """
        if not isinstance(other, Moments):
            return NotImplemented
        for what in ("model", "fingerprint", "positions", "sites"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                shown = (", ".join(map(str, x)) if what == "sites" else x for x in (mine, theirs))
                raise CaptureError(
                    f"moments with {what} {' and '.join(shown)} do not merge; capture both with "
                    "the same model, sites and positions"
                )
        for what in ("scatter", "rows"):
            if (getattr(self, what) is None) != (getattr(other, what) is None):
                raise CaptureError(
                    f"only one of the two moments holds {what}; capture both with the same "
                    "second_moments and keep_rows"
                )
        length = max(len(self.count), len(other.count))
        n_a, n_b = _lengthen(self.count, length), _lengthen(other.count, length)
        share = n_b.double() / (n_a + n_b).clamp(min=1)  # of integers alone it would be float32
        mean: dict[Site, Tensor] = {}
        scatter: dict[Site, Tensor] = {}
        for site in self.sites:
            mean_a, mean_b = (_lengthen(side.mean[site], length) for side in (self, other))
            shift = mean_b - mean_a
            mean[site] = mean_a + shift * _expand_positions(share, shift)
            if self.scatter is not None and other.scatter is not None:
                outer = _outer(shift, shift)
                scatter[site] = (
                    _lengthen(self.scatter[site], length)
                    + _lengthen(other.scatter[site], length)
                    + outer * _expand_positions(n_a * share, outer)
                )
        rows = None
        if self.rows is not None and other.rows is not None:
            moved = replace(other.rows, prompt=other.rows.prompt + self.prompts)
            rows = SiteRows.join([self.rows, moved])
        return replace(
            self,
            count=n_a + n_b,
            mean=mean,
            scatter=scatter if self.scatter is not None else None,
            rows=rows,
            prompts=self.prompts + other.prompts,
            source=hashlib.sha256(f"{self.source}{other.source}".encode()).hexdigest(),
        )

    def pooled(self) -> Moments:
        """Return the moments with all positions pooled; rows keep the position that they had."""
        steps = [
            replace(
                self,
                count=self.count[step : step + 1],
                mean={site: mean[step : step + 1] for site, mean in self.mean.items()},
                scatter=None
                if self.scatter is None
                else {site: scatter[step : step + 1] for site, scatter in self.scatter.items()},
                rows=None,
            )
            for step in range(len(self.count))
        ]
        total = steps[0]
        for step in steps[1:]:
            total = total + step
        return replace(total, rows=self.rows, prompts=self.prompts, source=self.source)

    def save(self, path: str | Path) -> None:
        """Write the moments (and the rows, if kept) as safetensors, in full or not at all.

        Raises:
            CaptureError: when the file cannot be written.
        """
        tensors = {"count": self.count}
        tensors |= {f"mean/{site}": mean for site, mean in self.mean.items()}
        if self.scatter is not None:
            tensors |= {f"scatter/{site}": scatter for site, scatter in self.scatter.items()}
        if self.rows is not None:
            tensors |= {"prompt": self.rows.prompt, "position": self.rows.position}
            tensors |= {f"rows/{site}": rows for site, rows in self.rows.values.items()}
        header: dict[str, Any] = {name: getattr(self, name) for name in _HEADER}
        write_tensors(path, "Moments", tensors, header, CaptureError)

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """Read back what :meth:`save` wrote, bit for bit.

        Raises:
            CaptureError: when the file is missing or damaged, or does not hold moments.
        """
        whole = ("count", "prompt", "position")
        tensors, header = read_tensors(
            path, "Moments", CaptureError, ("count", *_HEADER), integers=whole
        )
        by_site: dict[str, dict[Site, Tensor]] = {"mean": {}, "scatter": {}, "rows": {}}
        with report_as(path, CaptureError):
            for name in sorted(tensors.keys() - set(whole)):
                part, _, site = name.partition("/")
                by_site[part][Site.parse(site)] = tensors[name]
            rows = None
            if by_site["rows"]:
                rows = SiteRows(by_site["rows"], tensors["prompt"], tensors["position"])
            moments = cls(
                count=tensors["count"],
                mean=by_site["mean"],
                scatter=by_site["scatter"] or None,
                rows=rows,
                **check_types(header, _HEADER),
            )
            moments._check_shapes()
        return moments

    def _check_shapes(self) -> None:
        """Refuse tensors whose shapes do not agree.

        Raises:
            CaptureError: with the site of the tensor.
        """
        n = len(self.count)
        for site, mean in self.mean.items():
            shape = tuple(mean.shape)
            scatter = None if self.scatter is None else tuple(self.scatter[site].shape)
            if len(shape) < 2 or shape[0] != n or scatter not in (None, (*shape, shape[-1])):
                raise CaptureError(
                    f"at {site} the mean has shape {shape} and the scatter {scatter}, for {n} "
                    "positions; capture again"
                )
            if self.rows is not None and self.rows.values[site].shape[1:] != shape[1:]:
                raise CaptureError(f"the rows at {site} have another width than the mean")
        if not self.mean or (self.count < 0).any() or self.prompts < 0:
            raise CaptureError("the sites are missing, or a count is negative; capture again")
        if self.rows is None:
            return
        lengths = {*map(len, self.rows.values.values()), len(self.rows.prompt)}
        numbered = ((self.rows.prompt, self.prompts), (self.rows.position, n))
        if lengths != {len(self.rows.position)} or any(
            not ((index >= 0) & (index < most)).all() for index, most in numbered
        ):
            raise CaptureError("the rows are not numbered by their prompts; capture again")


_HEADER = {"prompts": int} | dict.fromkeys(("positions", "model", "fingerprint", "source"), str)


def moments_of(
    values: Float64[Tensor, " row *shape"], position: Int64[Tensor, " row"], n_positions: int
) -> tuple[Float64[Tensor, " position *shape"], Float64[Tensor, "position *shape d"]]:
    """Compute the mean and the scatter of rows at each position.

    Args:
        values: a row for each token.
        position: the position that each row counts in.
        n_positions: the number of positions.

    Returns:
        The mean, zero for a position without rows, and ``sum (x - mean)(x - mean)^T``.
    """
    mean = mean_of(values, position, n_positions)
    centred = values - mean[position]
    scatter = [
        einsum(centred[position == p], centred[position == p], "row ... a, row ... b -> ... a b")
        for p in range(n_positions)
    ]
    return mean, torch.stack(scatter)


def mean_of(
    values: Float64[Tensor, " row *shape"], position: Int64[Tensor, " row"], n_positions: int
) -> Float64[Tensor, " position *shape"]:
    """Compute the mean of rows at each position, zero for a position without rows."""
    if n_positions == 1:
        return reduce(values, "row ... -> 1 ...", "mean")
    count = torch.bincount(position, minlength=n_positions)
    total = values.new_zeros(n_positions, *values.shape[1:]).index_add(0, position, values)
    return total / _expand_positions(count.clamp(min=1), total)


def _expand_positions(per_position: Tensor, like: Tensor) -> Tensor:
    """Reshape a number for each position so that it multiplies ``like``."""
    return per_position.to(torch.float64).reshape(-1, *[1] * (like.ndim - 1))


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return einsum(a, b, "position ... a, position ... b -> position ... a b")


def _lengthen(tensor: Tensor, length: int) -> Tensor:
    """Pad a tensor with positions of zeros, up to ``length``."""
    more = tensor.new_zeros(length - len(tensor), *tensor.shape[1:])
    return torch.cat([tensor, more])
