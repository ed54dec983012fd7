"""Readings of activations at a layer: what tells two sides apart there, and how well held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, get_args

import polars as pl
import torch
from einops import einsum
from jaxtyping import Float64
from torch import Tensor

import interp_steer as ist
from interp_steer.capture.contrast_moments import ContrastMoments
from interp_steer.geometry.probes import (
    Both,
    Kind,
    Probe,
    density_ratio,
    train_probe,
    train_with_penalty,
)
from interp_steer.statistics.intervals import (
    Interval,
    bootstrap,
    jackknife_interval,
    jackknife_subsets,
)
from interp_steer.statistics.separation import auroc_gain, measure_separation
from interp_steer.vectors.estimators import ESTIMATORS, shift_along
from interp_steer.vectors.fitting import fit_along
from interp_steer.vectors.transport import KINDS, TransportMap, transport_of

LINEAR = {
    "difference_in_means": "difference in means",
    "pca": "PCA",
    "pca_centred": "PCA, centred",
    "lda": "LDA",
    "whitened": "whitened",
    "logistic": "logistic probe",
    "sparse": "sparse probe",
}
"""Readings along a direction, and what figures call them."""

OTHERS = {
    "coordinates": "Gaussians, axis by axis",
    "gaussian": "Gaussians",
    "mlp": "MLP",
}
"""Readings along no direction."""

RANDOM = "random"
"""Random directions, turned to where the mean shift lies."""

LABELS = {**LINEAR, **OTHERS, RANDOM: "random direction"}

MOVES = {
    "nothing": "as they are",
    "pca_centred": "along PCA, centred",
    "mean": "by the mean shift",
    "coordinates": "axis by axis",
    "gaussian": "means and covariances",
}
"""How prompts without a property are moved onto those with it."""

TOLD_BY: tuple[Kind, ...] = ("logistic", "mlp")
"""The probes that are to tell moved prompts from real ones."""

GROUPS = 12
"""Of pairs that are left out in turn, for the intervals of cosines."""

Scores: TypeAlias = tuple[Float64[Tensor, " present"], Float64[Tensor, " absent"]]
"""A number for each prompt with the property, and for each prompt without it."""

Reading: TypeAlias = Callable[[Tensor], Float64[Tensor, " row"]]
"""A number for each activation, the larger the likelier it has the property."""

Found: TypeAlias = tuple[str, str, Interval]
"""Of what, what was measured, and the number."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Both sides of the pairs of each split, a row for each prompt."""

    fit: ContrastMoments
    select: ContrastMoments
    test: ContrastMoments

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet) -> Splits:
        """Read the last token of every prompt, at every layer."""
        return cls(*(_read(model, each) for each in (pairs.fit, pairs.select, pairs.test)))


def _read(model: ist.HookedLM, pairs: ist.ContrastSet) -> ContrastMoments:
    return ContrastMoments.of_rows(
        *(
            ist.capture.capture_moments(model, side, keep_rows=True, second_moments=True)
            for side in (pairs.present, pairs.absent)
        )
    )


def rows_at(sides: ContrastMoments, site: ist.Site) -> Both:
    """The activations of both sides."""
    present, absent = sides.present.rows, sides.absent.rows
    assert present is not None and absent is not None
    return present.values[site].double(), absent.values[site].double()


@dataclass(frozen=True, eq=False)
class Property:
    """What was fitted of one property."""

    pairs: ist.ContrastSet
    layers: tuple[AtLayer, ...]
    maps: Mapping[str, ist.TransportMaps]
    """By kind; see :mod:`interp_steer.vectors.transport`."""
    vectors: Mapping[str, ist.SteeringVector]
    """By estimator or probe."""

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet, seed: int) -> Property:
        """Read every prompt once, and fit everything at every layer."""
        splits = Splits.of(model, pairs)
        given = {"data_hash": pairs.fit.hash, "model": model}
        maps = {kind: transport_of(splits.fit, kind, name=pairs.name, **given) for kind in KINDS}
        layers = tuple(
            AtLayer.of(
                splits, {kind: each.at(site.layer) for kind, each in maps.items()}, site, seed
            )
            for site in splits.fit.sites
        )
        vectors = {
            name: fit_along(
                splits.fit,
                torch.stack([layer.directions[name] for layer in layers]),
                name,
                name=f"{name}({pairs.name})",
                **given,
            )
            for name in layers[0].directions
        }
        return cls(pairs, layers, maps, vectors)


@dataclass(frozen=True, eq=False)
class AtLayer:
    """What was fitted at one layer."""

    site: ist.Site
    splits: Splits
    maps: Mapping[str, TransportMap]
    """By kind; see :mod:`interp_steer.vectors.transport`."""
    probes: Mapping[str, Probe]
    directions: Mapping[str, Float64[Tensor, " d"]]
    """By estimator or probe: the part of the mean shift along its direction. Of ``mlp`` the
    direction is the gradient of its log-odds, in the mean over the fit split."""
    seed: int

    @classmethod
    def of(
        cls, splits: Splits, maps: Mapping[str, TransportMap], site: ist.Site, seed: int
    ) -> AtLayer:
        """Fit every estimator, and train every probe."""
        fit, select = (rows_at(sides, site) for sides in (splits.fit, splits.select))
        probes = {kind: train_probe(kind, fit, select, seed=seed) for kind in get_args(Kind)}
        return cls(site, splits, maps, probes, _directions(splits.fit, site, probes), seed)

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """All, by name."""
        along = {name: _along(self.directions[name]) for name in LINEAR if name in ESTIMATORS}
        ratios = {
            name: density_ratio(self.splits.fit, self.site, diagonal=name == "coordinates")
            for name in ("coordinates", "gaussian")
        }
        return {**along, **self.probes, **ratios}

    def scores(self, split: str) -> dict[str, Scores]:
        """What each reading says of both sides of a split."""
        present, absent = rows_at(getattr(self.splits, split), self.site)
        return {name: (read(present), read(absent)) for name, read in self.readings.items()}

    def separations(self, n_random: int) -> Iterator[Found]:
        """How well each reading tells held-out prompts apart, beside random directions."""
        scores = self.scores("test")
        for name in (*LINEAR, *OTHERS):
            yield name, "auroc", _told_apart(*scores[name])
        present, absent = rows_at(self.splits.test, self.site)
        generator = torch.Generator().manual_seed(self.seed)
        shift = self.splits.fit.shift(self.site)
        drawn = torch.randn(n_random, len(shift), generator=generator, dtype=torch.float64)
        turned = [_along(shift_along(shift, one)) for one in drawn]
        each = [float(measure_separation(read(present), read(absent)).auroc) for read in turned]
        yield RANDOM, "auroc", bootstrap(each, seed=self.seed)

    def best_linear(self) -> str:
        """The linear reading that tells the select split apart best; of several that tell it apart
        altogether, that which sets the sides further apart."""
        scores = self.scores("select")
        return max(
            LINEAR,
            key=lambda name: (
                float(measure_separation(*scores[name]).auroc),
                _apart(*scores[name]),
            ),
        )

    def gains(self) -> Iterator[Found]:
        """What the AUROC of an MLP is above that of a linear reading: of the property above the
        best one, and of its control above a logistic probe.

        The control is the property less its mean shift: prompts without it are moved by the shift,
        so that nothing linear is left to tell, whatever else is.
        """
        scores = self.scores("test")
        linear = self.best_linear()
        yield linear, "gain", auroc_gain(scores[linear], scores["mlp"], seed=self.seed)
        probes = self._telling["mean"].values()
        told = [(probe(present), probe(absent)) for probe, (present, absent) in probes]
        yield "mean", "gain_control", auroc_gain(*told, seed=self.seed)

    def cosines(self) -> Iterator[Found]:
        """How alike each direction is to the difference in means, with a jackknife of the pairs."""
        fit = self.splits.fit
        kept = jackknife_subsets(fit.present.prompts, GROUPS)
        without = [self._again(fit.subset(torch.from_numpy(pairs))) for pairs in kept]
        for name, direction in self.directions.items():
            if name == "difference_in_means":
                continue
            value = _cosine(direction, self.directions["difference_in_means"])
            others = [_cosine(each[name], each["difference_in_means"]) for each in without]
            yield name, "cosine", jackknife_interval(value, others, fit.present.prompts, (-1, 1))

    def left(self) -> Iterator[Found]:
        """How well probes tell prompts that were moved onto those with the property from those that
        have it: 0.5 where nothing is left to tell."""
        for move, probes in self._telling.items():
            for kind, (probe, test) in probes.items():
                yield move, f"left.{kind}", _told_apart(*map(probe, test))

    @cached_property
    def _telling(self) -> dict[str, dict[Kind, tuple[Probe, Both]]]:
        """Of each move, the probes that are to tell real prompts from moved ones, with both of the
        test split."""
        splits = self.splits.fit, self.splits.select, self.splits.test
        rows = [rows_at(sides, self.site) for sides in splits]
        found = {}
        for move in MOVES:
            moved = self._mover(move)
            fit, select, test = ((present, moved(absent)) for present, absent in rows)
            probes = {kind: train_probe(kind, fit, select, seed=self.seed) for kind in TOLD_BY}
            found[move] = {kind: (probe, test) for kind, probe in probes.items()}
        return found

    def _mover(self, move: str) -> Callable[[Tensor], Tensor]:
        if move == "nothing":
            return lambda rows: rows
        if move in self.maps:
            return self.maps[move]
        return lambda rows: rows + self.directions[move]

    def _again(self, fit: ContrastMoments) -> dict[str, Float64[Tensor, " d"]]:
        """The directions that other pairs would have given, under the same penalties."""
        rows = rows_at(fit, self.site)
        probes = {
            name: train_with_penalty(probe.kind, rows, probe.penalty, seed=self.seed)
            for name, probe in self.probes.items()
        }
        return _directions(fit, self.site, probes)


def _directions(
    fit: ContrastMoments, site: ist.Site, probes: Mapping[str, Probe]
) -> dict[str, Float64[Tensor, " d"]]:
    shift, rows = fit.shift(site), torch.cat(rows_at(fit, site))
    found = {name: estimate(fit, site) for name, estimate in ESTIMATORS.items()}
    return found | {
        name: shift_along(shift, probe.direction(rows)) for name, probe in probes.items()
    }


def _along(direction: Float64[Tensor, " d"]) -> Reading:
    return lambda rows: einsum(rows.double(), direction, "row d, d -> row")


def _told_apart(present: Float64[Tensor, " row"], absent: Float64[Tensor, " row"]) -> Interval:
    found = measure_separation(present, absent)
    value, low, high = (float(end) for end in (found.auroc, found.low, found.high))
    return Interval(value, low, high, found.n, "newcombe 95%")


def _apart(present: Float64[Tensor, " row"], absent: Float64[Tensor, " row"]) -> float:
    """How far the means of both sides lie apart, in deviations within them."""
    within = ((present.var() + absent.var()) / 2).sqrt()
    return float((present.mean() - absent.mean()) / within)


def _cosine(one: Float64[Tensor, " d"], other: Float64[Tensor, " d"]) -> float:
    return float(torch.cosine_similarity(one, other, dim=0))


# ------------------------------------------------------------------ records
def at(records: pl.DataFrame, name: str, quantity: str, layer: int) -> dict[str, Interval]:
    """The numbers of one property at a layer, by what they are of."""
    rows = records.filter(
        (pl.col("property") == name) & (pl.col("quantity") == quantity) & (pl.col("layer") == layer)
    )
    return {each["of"]: Interval.of(each) for each in rows.iter_rows(named=True)}
