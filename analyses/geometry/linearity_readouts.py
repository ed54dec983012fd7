"""Fit readouts of a property at each layer, and measure how well they separate held-out prompts."""

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
from interp_steer.capture import ContrastMoments
from interp_steer.geometry import Both, Kind, Probe, density_ratio, train_probe, train_with_penalty
from interp_steer.statistics import (
    Interval,
    auroc_gain,
    bootstrap,
    jackknife_interval,
    jackknife_subsets,
    measure_separation,
)
from interp_steer.vectors import (
    ESTIMATORS,
    KINDS,
    TransportMap,
    fit_along,
    shift_along,
    transport_of,
)

LINEAR = {
    "difference_in_means": "difference in means",
    "pca": "PCA",
    "pca_centred": "PCA, centred",
    "lda": "LDA",
    "whitened": "whitened",
    "logistic": "logistic probe",
    "sparse": "sparse probe",
}
"""Readouts along a direction, with their names in figures."""

OTHERS = {
    "coordinates": "Gaussians, axis by axis",
    "gaussian": "Gaussians",
    "mlp": "MLP",
}
"""Readouts that are not a direction, with their names in figures."""

RANDOM = "random"
"""Random directions, oriented along the mean shift."""

LABELS = {**LINEAR, **OTHERS, RANDOM: "random direction"}

MOVES = {
    "nothing": "unmoved",
    "pca_centred": "along PCA, centred",
    "mean": "by the mean shift",
    "coordinates": "axis by axis",
    "gaussian": "means and covariances",
}
"""Maps from prompts without the property to prompts with it, with their names in figures."""

CHECKING_PROBES: tuple[Kind, ...] = ("logistic", "mlp")
"""Probes that are trained to separate moved prompts from real prompts."""

N_GROUPS = 12
"""Groups of pairs that the jackknife of cosines leaves out in turn."""

Readout: TypeAlias = Callable[[Tensor], Float64[Tensor, " row"]]
"""Returns a score for each activation; larger scores mean that the property is more likely."""

Scores: TypeAlias = tuple[Float64[Tensor, " present"], Float64[Tensor, " absent"]]
"""Scores of a readout on prompts with and without the property."""

Measurement: TypeAlias = tuple[str, str, Interval]
"""The readout or map, the quantity, and the value."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Activations of both sides of each split, with a row for each prompt."""

    fit: ContrastMoments
    select: ContrastMoments
    test: ContrastMoments

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet) -> Splits:
        """Read the last token of every prompt, at every layer."""
        return cls(*(_read_split(model, split) for split in (pairs.fit, pairs.select, pairs.test)))


def _read_split(model: ist.HookedLM, pairs: ist.ContrastSet) -> ContrastMoments:
    return ContrastMoments.of_rows(
        *(
            ist.capture.capture_moments(model, side, keep_rows=True, second_moments=True)
            for side in (pairs.present, pairs.absent)
        )
    )


def get_rows(sides: ContrastMoments, site: ist.Site) -> Both:
    """Return the activations of both sides."""
    present, absent = sides.present.rows, sides.absent.rows
    assert present is not None and absent is not None
    return present.values[site].double(), absent.values[site].double()


@dataclass(frozen=True, eq=False)
class PropertyReadouts:
    """The readouts, maps and vectors of one property."""

    pairs: ist.ContrastSet
    layers: tuple[LayerReadouts, ...]
    maps: Mapping[str, ist.TransportMaps]
    """Maps by kind; see :mod:`interp_steer.vectors.transport`."""
    vectors: Mapping[str, ist.SteeringVector]
    """Vectors by estimator or probe."""

    @classmethod
    def of(cls, model: ist.HookedLM, pairs: ist.ContrastSet, seed: int) -> PropertyReadouts:
        """Read every prompt once, and fit everything at every layer."""
        splits = Splits.of(model, pairs)
        given = {"data_hash": pairs.fit.hash, "model": model}
        maps = {kind: transport_of(splits.fit, kind, name=pairs.name, **given) for kind in KINDS}
        layers = tuple(
            LayerReadouts.of(
                splits,
                {kind: by_layer.at(site.layer) for kind, by_layer in maps.items()},
                site,
                seed,
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
class LayerReadouts:
    """The readouts and maps of one layer."""

    site: ist.Site
    splits: Splits
    maps: Mapping[str, TransportMap]
    """Maps by kind; see :mod:`interp_steer.vectors.transport`."""
    probes: Mapping[str, Probe]
    directions: Mapping[str, Float64[Tensor, " d"]]
    """The part of the mean shift along each estimator's or probe's direction. The direction of
    ``mlp`` is the gradient of its log-odds, averaged over the fit split."""
    seed: int

    @classmethod
    def of(
        cls, splits: Splits, maps: Mapping[str, TransportMap], site: ist.Site, seed: int
    ) -> LayerReadouts:
        """Fit every estimator, and train every probe."""
        fit, select = (get_rows(sides, site) for sides in (splits.fit, splits.select))
        probes = {kind: train_probe(kind, fit, select, seed=seed) for kind in get_args(Kind)}
        return cls(site, splits, maps, probes, _fit_directions(splits.fit, site, probes), seed)

    @cached_property
    def readouts(self) -> dict[str, Readout]:
        """Return all readouts by name."""
        along = {
            name: _make_projection(self.directions[name]) for name in LINEAR if name in ESTIMATORS
        }
        ratios = {
            name: density_ratio(self.splits.fit, self.site, diagonal=name == "coordinates")
            for name in ("coordinates", "gaussian")
        }
        return {**along, **self.probes, **ratios}

    def scores(self, split: str) -> dict[str, Scores]:
        """Return the scores of each readout on both sides of a split."""
        present, absent = get_rows(getattr(self.splits, split), self.site)
        return {name: (read(present), read(absent)) for name, read in self.readouts.items()}

    def measure_separations(self, n_random: int) -> Iterator[Measurement]:
        """Yield the AUROC of each readout, and of random directions, on held-out prompts."""
        scores = self.scores("test")
        for name in (*LINEAR, *OTHERS):
            yield name, "auroc", _measure_auroc(*scores[name])
        present, absent = get_rows(self.splits.test, self.site)
        generator = torch.Generator().manual_seed(self.seed)
        shift = self.splits.fit.shift(self.site)
        drawn = torch.randn(n_random, len(shift), generator=generator, dtype=torch.float64)
        random = [_make_projection(shift_along(shift, direction)) for direction in drawn]
        aurocs = [float(measure_separation(read(present), read(absent)).auroc) for read in random]
        yield RANDOM, "auroc", bootstrap(aurocs, seed=self.seed)

    def choose_linear(self) -> str:
        """Return the linear readout with the highest AUROC on the select split.

        Among readouts with equal AUROC, the one with the larger distance of the means is chosen.
        """
        scores = self.scores("select")
        return max(
            LINEAR,
            key=lambda name: (
                float(measure_separation(*scores[name]).auroc),
                _measure_distance(*scores[name]),
            ),
        )

    def measure_gains(self) -> Iterator[Measurement]:
        """Yield the gain in AUROC of an MLP over a linear readout, for the property and a control.

        For the property the MLP is compared with the best linear readout. In the control, prompts
        without the property are moved by the mean shift, which removes all linear separation, and
        the MLP is compared with a logistic probe.
        """
        scores = self.scores("test")
        linear = self.choose_linear()
        yield linear, "gain", auroc_gain(scores[linear], scores["mlp"], seed=self.seed)
        probes = self._probes_of_moves["mean"].values()
        scores_of_control = [(probe(present), probe(absent)) for probe, (present, absent) in probes]
        yield "mean", "gain_control", auroc_gain(*scores_of_control, seed=self.seed)

    def measure_cosines(self) -> Iterator[Measurement]:
        """Yield each direction's cosine with the difference in means, with a jackknife interval."""
        fit = self.splits.fit
        subsets = jackknife_subsets(fit.present.prompts, N_GROUPS)
        without = [self._refit_directions(fit.subset(torch.from_numpy(pairs))) for pairs in subsets]
        for name, direction in self.directions.items():
            if name == "difference_in_means":
                continue
            value = _compute_cosine(direction, self.directions["difference_in_means"])
            others = [
                _compute_cosine(refit[name], refit["difference_in_means"]) for refit in without
            ]
            yield name, "cosine", jackknife_interval(value, others, fit.present.prompts, (-1, 1))

    def measure_remaining(self) -> Iterator[Measurement]:
        """Yield the AUROC of probes between moved prompts and prompts with the property.

        An AUROC of 0.5 means that the map removes all separation.
        """
        for move, probes in self._probes_of_moves.items():
            for kind, (probe, test) in probes.items():
                yield move, f"left.{kind}", _measure_auroc(*map(probe, test))

    @cached_property
    def _probes_of_moves(self) -> dict[str, dict[Kind, tuple[Probe, Both]]]:
        """Train probes between real and moved prompts, for each map.

        Returns:
            The probes by map and kind, each with both sides of the test split.
        """
        splits = self.splits.fit, self.splits.select, self.splits.test
        rows = [get_rows(sides, self.site) for sides in splits]
        probes_of_moves = {}
        for move in MOVES:
            apply_map = self._get_map(move)
            fit, select, test = ((present, apply_map(absent)) for present, absent in rows)
            probes = {
                kind: train_probe(kind, fit, select, seed=self.seed) for kind in CHECKING_PROBES
            }
            probes_of_moves[move] = {kind: (probe, test) for kind, probe in probes.items()}
        return probes_of_moves

    def _get_map(self, move: str) -> Callable[[Tensor], Tensor]:
        if move == "nothing":
            return lambda rows: rows
        if move in self.maps:
            return self.maps[move]
        return lambda rows: rows + self.directions[move]

    def _refit_directions(self, fit: ContrastMoments) -> dict[str, Float64[Tensor, " d"]]:
        """Fit the directions on other pairs, with the same penalties."""
        rows = get_rows(fit, self.site)
        probes = {
            name: train_with_penalty(probe.kind, rows, probe.penalty, seed=self.seed)
            for name, probe in self.probes.items()
        }
        return _fit_directions(fit, self.site, probes)


def _fit_directions(
    fit: ContrastMoments, site: ist.Site, probes: Mapping[str, Probe]
) -> dict[str, Float64[Tensor, " d"]]:
    shift, rows = fit.shift(site), torch.cat(get_rows(fit, site))
    estimated = {name: estimate(fit, site) for name, estimate in ESTIMATORS.items()}
    return estimated | {
        name: shift_along(shift, probe.direction(rows)) for name, probe in probes.items()
    }


def _make_projection(direction: Float64[Tensor, " d"]) -> Readout:
    return lambda rows: einsum(rows.double(), direction, "row d, d -> row")


def _measure_auroc(present: Float64[Tensor, " row"], absent: Float64[Tensor, " row"]) -> Interval:
    separation = measure_separation(present, absent)
    ends = (separation.auroc, separation.low, separation.high)
    value, low, high = (float(end) for end in ends)
    return Interval(value, low, high, separation.n, "newcombe 95%")


def _measure_distance(present: Float64[Tensor, " row"], absent: Float64[Tensor, " row"]) -> float:
    """Return the distance of the two means, in standard deviations within the sides."""
    within = ((present.var() + absent.var()) / 2).sqrt()
    return float((present.mean() - absent.mean()) / within)


def _compute_cosine(first: Float64[Tensor, " d"], second: Float64[Tensor, " d"]) -> float:
    return float(torch.cosine_similarity(first, second, dim=0))


# ------------------------------------------------------------------ records
def select_values(
    records: pl.DataFrame, name: str, quantity: str, layer: int
) -> dict[str, Interval]:
    """Return the values of a quantity of one property at a layer, by readout or map."""
    rows = records.filter(
        (pl.col("property") == name) & (pl.col("quantity") == quantity) & (pl.col("layer") == layer)
    )
    return {row["of"]: Interval.of(row) for row in rows.iter_rows(named=True)}
