"""Estimate how reliable a vector is: rows of records, from activations that are read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from einops import rearrange
from jaxtyping import Float64
from torch import Tensor
from tqdm import tqdm

import interp_steer as ist
from analyses.geometry.stability_extractions import Extractions, join_requests
from interp_steer.statistics import Interval, measure_separation, wilson
from interp_steer.vectors import difference_in_means
from interp_steer.vectors.trust import (
    agreement,
    assess,
    bootstrap_cosine,
    permutation_test,
    separation_test,
    spearman_brown,
    split_half,
)

COPIES = 40
"""Copies with shuffled labels whose cosines are compared with the vector's cosine."""

LEVELS = (1, 5, 10, 20)
"""Levels in per cent: a calibrated test rejects this share of shuffled sets."""

ALL_PAIRS = "with the vector of all such pairs"
"""Series of cosines with the vector that infinitely many pairs would give."""

SINGLE = "with that of single requests"
"""Series of cosines between vectors of single and of joined requests, for infinitely many pairs."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of queries, pairs and draws."""

    n_queries: int = 128
    """Number of queries that pairs are drawn from; at least twice n_fit."""
    n_phrasings: int = 8
    """Number of phrasings of the instruction that each query is read with."""
    n_fit: int = 64
    """Number of pairs that a vector is fitted on."""
    n_pairs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of pairs in the figure against the number of pairs; at most half of the queries."""
    requests: tuple[int, ...] = (1, 2, 3)
    """Numbers of requests in one prompt, in the figure of complex prompts."""
    draws: int = 1000
    """Number of bootstrap draws, and of random swaps of sides."""
    repeats: int = 200
    """Number of random choices of pairs or queries of each size."""
    copies: int = 400
    """Number of copies with shuffled labels on which the tests are calibrated."""


Row = tuple[str, int, int | None, str, float, float, float]
COLUMNS = {
    "part": pl.String,
    "layer": pl.Int64,
    "at": pl.Int64,
    "series": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""Columns of the records: the part, the layer, the number on the axis, the series, and the value
with its interval."""


def make_row(part: str, layer: int, series: str, value: Interval, at: int | None = None) -> Row:
    """Return a row of the records."""
    return part, layer, at, series, value.value, value.low, value.high


def make_exact(value: float) -> Interval:
    """Return a number without uncertainty as an interval."""
    return Interval(value, value, value, 1, "exact")


def summarise_draws(draws: Tensor) -> Interval:
    """Return the mean of draws, and the range of 95 % of the draws."""
    low, high = np.quantile(draws.numpy(), [0.025, 0.975]).tolist()
    return Interval(float(draws.mean()), low, high, len(draws), "range of 95%")


def compute_cosines(first: Float64[Tensor, "draw d"], second: Float64[Tensor, "draw d"]) -> Tensor:
    """Return the cosine of each vector with its counterpart."""
    return torch.cosine_similarity(first, second, dim=-1)


# ------------------------------------------------------------------------------ by layer
def fit_vector(
    model: ist.HookedLM, extractions: Extractions, sizes: Sizes, seed: int
) -> ist.SteeringVector:
    """Fit the vector of one extraction; its card states the reliability."""
    vector = difference_in_means(
        *extractions.sides,
        name=extractions.pairs.name,
        data_hash=extractions.pairs.hash,
        model=model,
    )
    reliability = assess(*extractions.sides, draws=sizes.draws, seed=seed)
    return replace(vector, card=replace(vector.card, reliability=reliability))


def measure_layers(
    model: ist.HookedLM, extractions: Extractions, sizes: Sizes, seed: int
) -> Iterator[Row]:
    """Yield the rows that are measured at every layer."""
    for layer in tqdm(range(model.n_layers), desc="layers", leave=False, disable=None):
        yield from measure_reliability(extractions, layer, sizes, seed)
        yield from compare_with_chance(extractions, layer, sizes, seed)
        yield from compare_extractions(extractions, layer, sizes, seed)
        yield from compare_phrasings(extractions, layer, seed)


def measure_reliability(
    extractions: Extractions, layer: int, sizes: Sizes, seed: int
) -> Iterator[Row]:
    """Estimate the cosine of a vector with the vector of infinitely many pairs, in three ways."""
    rows = extractions.deal_phrasings(layer)[: sizes.n_fit]
    own = bootstrap_cosine(rows, draws=sizes.draws, seed=seed)
    yield make_row("cosine", layer, "vector", own.population)
    yield make_row(
        "cosine", layer, "vector, by split halves", split_half(rows, seed=seed).population
    )
    yield make_row("cosine", layer, "vector, resampled", own.resampled)
    shuffled = [
        bootstrap_cosine(rows * signs[:, None], draws=200, seed=seed)
        for signs in sample_swaps(COPIES, len(rows), np.random.default_rng([seed, layer]))
    ]
    for series, which in (
        ("shuffled labels, resampled", "resampled"),
        ("shuffled labels", "population"),
    ):
        values = torch.tensor([getattr(copy, which).value for copy in shuffled])
        yield make_row("cosine", layer, series, summarise_draws(values))
    above = sum(copy.population.low > 0 for copy in shuffled)
    yield make_row("taken", layer, "shuffled labels", wilson(above, COPIES))


def sample_swaps(copies: int, n: int, rng: np.random.Generator) -> Tensor:
    """Sample the signs of the pairs of each copy; -1 swaps the sides."""
    return torch.from_numpy(rng.choice([-1.0, 1.0], (copies, n)))


def split_held_out(
    extractions: Extractions, layer: int, n_fit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Split into differences to fit on, and both sides of held-out queries and phrasings."""
    present, absent = extractions.present[layer].double(), extractions.absent[layer].double()
    few = present.shape[1] // 2
    query, held = torch.arange(n_fit), torch.arange(n_fit, len(present))
    rows = present[query, query % few] - absent[query]
    return rows, present[held, few + held % (present.shape[1] - few)], absent[held]


def compare_with_chance(
    extractions: Extractions, layer: int, sizes: Sizes, seed: int
) -> Iterator[Row]:
    """Compare the norm, and the AUROC of held-out prompts, with pairs whose sides are swapped."""
    options: dict[str, Any] = {"draws": sizes.draws - 1, "seed": seed}
    norm = permutation_test(extractions.deal_phrasings(layer)[: sizes.n_fit], **options)
    scale = norm.chance.value  # norms grow with depth, so divide by the norm under chance
    yield make_row("norm", layer, "vector", make_exact(norm.statistic / scale))
    ends = Interval(1.0, norm.chance.low / scale, norm.chance.high / scale, norm.chance.n, "")
    yield make_row("norm", layer, "swapped sides", ends)
    yield make_row("p_norm", layer, "vector", make_exact(norm.p_value))
    rows, present, absent = split_held_out(extractions, layer, sizes.n_fit)
    separation = separation_test(rows, present, absent, **options)
    own = measure_separation(*(side @ rows.mean(dim=0) for side in (present, absent)))
    auroc = Interval(float(own.auroc), float(own.low), float(own.high), own.n, "newcombe 95%")
    yield make_row("auroc", layer, "vector", auroc)
    yield make_row("auroc", layer, "swapped sides", separation.chance)
    yield make_row("p_auroc", layer, "vector", make_exact(separation.p_value))


def compare_extractions(
    extractions: Extractions, layer: int, sizes: Sizes, seed: int
) -> Iterator[Row]:
    """Compare two extractions of disjoint pairs with the prediction from one extraction."""
    n = sizes.n_fit
    order = extractions.shuffle_queries(sizes.repeats, seed)
    first, second = (
        extractions.fit_queries(layer, chosen) for chosen in (order[:, :n], order[:, n : 2 * n])
    )
    yield make_row(
        "seed", layer, "two extractions", summarise_draws(compute_cosines(first, second))
    )
    predicted = split_half(extractions.deal_phrasings(layer)[:n], seed=seed).whole
    yield make_row("seed", layer, "foretold by one", predicted)
    norms = first.norm(dim=1)
    yield make_row(
        "seed_norm", layer, "length beside the mean", summarise_draws(norms / norms.mean())
    )


def compare_phrasings(extractions: Extractions, layer: int, seed: int) -> Iterator[Row]:
    """Compare the vectors of two phrasings, each from other queries, with two halves of one."""
    rows = rearrange(extractions.compute_changes(layer), "query phrasing d -> phrasing query d")
    alike = agreement(rows, splits=50, seed=seed)
    yield make_row("phrasing", layer, "two phrasings", alike.between)
    yield make_row("phrasing", layer, "one phrasing", alike.ceiling)
    yield make_row("phrasing", layer, "two phrasings, of all queries", alike.ratio)


def compare_with_base(
    base: ist.HookedLM,
    extractions: Extractions,
    grid: ist.ContrastSet,
    vector: ist.SteeringVector,
    seed: int,
) -> Iterator[Row]:
    """Compare the base model's vector with the tuned model's, each from other queries."""
    n_phrasings = len(grid) // extractions.n_queries
    dealt = [query * n_phrasings + query % n_phrasings for query in range(extractions.n_queries)]
    present, absent = (
        ist.capture.capture_moments(
            base, [getattr(grid[cell], side) for cell in dealt], keep_rows=True
        )
        for side in ("present", "absent")
    )
    random = torch.stack([vector.cosine(vector.like_random(seed + draw)) for draw in range(100)])
    for site in present.sites:
        rows = torch.stack(
            [extractions.deal_phrasings(site.layer), ist.capture.differences(present, absent, site)]
        )
        alike = agreement(rows, seed=seed)
        yield make_row("base", site.layer, "base with tuned", alike.between)
        yield make_row("base", site.layer, "each with itself", alike.ceiling)
        yield make_row("base", site.layer, "base with tuned, of all queries", alike.ratio)
        yield make_row(
            "base", site.layer, "random direction", summarise_draws(random[:, site.layer])
        )


# ------------------------------------------------------------------------------ at one layer
def measure_chosen_layer(
    model: ist.HookedLM,
    extractions: Extractions,
    queries: Sequence[str],
    layer: int,
    sizes: Sizes,
    seed: int,
) -> Iterator[Row]:
    """Yield the rows that are measured at one layer only."""
    yield from measure_calibration(extractions, layer, sizes, seed)
    yield from vary_pairs(extractions, layer, sizes, seed)
    yield from vary_queries(extractions, layer, sizes, seed)
    yield from vary_requests(model, extractions, queries[sizes.n_fit :], layer, sizes, seed)


def measure_calibration(
    extractions: Extractions, layer: int, sizes: Sizes, seed: int
) -> Iterator[Row]:
    """Measure how often the tests reject copies of the pairs with shuffled labels.

    A p-value is exact over its random swaps, so every copy is tested with other swaps.
    """
    rows, present, absent = split_held_out(extractions, layer, sizes.n_fit)
    # The seed includes the set's hash: with the same swaps for every set, rejections would depend
    # on the swaps and not on the set.
    rng = np.random.default_rng([seed, layer, int(extractions.pairs.hash[:8], 16)])
    own, held = (sample_swaps(sizes.copies, len(side), rng) for side in (rows, present))
    p_values: dict[str, list[float]] = {"length": [], "held-out separation": []}
    for copy in tqdm(range(sizes.copies), desc="shuffled", leave=False, disable=None):
        mixed = rows * own[copy][:, None]
        unswapped = held[copy][:, None] > 0
        sides = (
            torch.where(unswapped, present, absent),
            torch.where(unswapped, absent, present),
        )
        options: dict[str, Any] = {"draws": 199, "seed": int(rng.integers(2**31))}
        p_values["length"].append(permutation_test(mixed, **options).p_value)
        p_values["held-out separation"].append(separation_test(mixed, *sides, **options).p_value)
    for series, values in p_values.items():
        for level in LEVELS:
            rejected = sum(p <= level / 100 + 1e-12 for p in values)
            yield make_row("calibration", layer, series, wilson(rejected, len(values)), level)


def estimate_cosine(
    extractions: Extractions, layer: int, chosen: Tensor, reliability: float, times: int = 1
) -> Interval:
    """Estimate the cosine of vectors of some queries with the vector of infinitely many queries.

    The cosine is measured with the vector of all the other queries and divided by the square root
    of that vector's reliability (Spearman's correction for attenuation).

    Args:
        extractions: the activations.
        layer: the layer of the vectors.
        chosen: the queries of each draw.
        reliability: reliability of the vector of all queries.
        times: number of phrasings of each query.
    """
    left = extractions.n_queries - chosen.shape[1]
    whole = spearman_brown(reliability, left / extractions.n_queries) ** 0.5
    measured = compute_cosines(
        extractions.fit_queries(layer, chosen, times), extractions.fit_others(layer, chosen)
    )
    return summarise_draws((measured / whole).clamp(max=1.0))


def vary_pairs(extractions: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """Measure cosines against the number of pairs, each of another query."""
    whole = split_half(extractions.compute_changes(layer).mean(dim=1), seed=seed).whole.value
    own = bootstrap_cosine(
        extractions.deal_phrasings(layer)[: sizes.n_fit], draws=sizes.draws, seed=seed
    )
    for n in sizes.n_pairs:
        order = extractions.shuffle_queries(sizes.repeats, seed + n)
        yield make_row(
            "pairs", layer, ALL_PAIRS, estimate_cosine(extractions, layer, order[:, :n], whole), n
        )
        value, low, high = (
            spearman_brown(end**2, n / sizes.n_fit) ** 0.5
            for end in (own.population.value, own.population.low, own.population.high)
        )
        predicted = Interval(value, low, high, sizes.n_fit, own.population.method)
        yield make_row("pairs", layer, f"foretold by {sizes.n_fit} pairs", predicted, n)
        first, second = (
            extractions.fit_queries(layer, half) for half in (order[:, :n], order[:, n : 2 * n])
        )
        yield make_row(
            "pairs",
            layer,
            "with that of other pairs",
            summarise_draws(compute_cosines(first, second)),
            n,
        )


def vary_queries(extractions: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """Measure cosines against the number of distinct queries, for a fixed number of pairs."""
    changes = extractions.compute_changes(layer)
    whole = split_half(changes.mean(dim=1), seed=seed).whole.value
    for times in (2**k for k in range(changes.shape[1].bit_length())):
        n = sizes.n_fit // times
        if n < 1 or sizes.n_fit % times or times > changes.shape[1]:
            break
        chosen = extractions.shuffle_queries(sizes.repeats, seed + times)[:, :n]
        several = estimate_cosine(extractions, layer, chosen, whole, times)
        yield make_row("queries", layer, f"{sizes.n_fit} pairs", several, n)
        yield make_row(
            "queries",
            layer,
            "a pair for each query",
            estimate_cosine(extractions, layer, chosen, whole),
            n,
        )


def vary_requests(
    model: ist.HookedLM,
    extractions: Extractions,
    queries: Sequence[str],
    layer: int,
    sizes: Sizes,
    seed: int,
) -> Iterator[Row]:
    """Measure cosines against the number of requests in a prompt."""
    plain = extractions.deal_phrasings(layer)[: sizes.n_fit]
    for requests in sizes.requests:
        rows, tokens = join_requests(model, extractions, queries, requests, layer)
        own = bootstrap_cosine(rows, draws=sizes.draws, seed=seed).population
        yield make_row("requests", layer, ALL_PAIRS, own, requests)
        if requests > 1:
            alike = agreement(torch.stack([plain, rows]), seed=seed).ratio
            yield make_row("requests", layer, SINGLE, alike, requests)
        yield make_row("tokens", layer, "without the instruction", make_exact(tokens), requests)


# ------------------------------------------------------------------------------ records
def select_at_layer(
    records: pl.DataFrame, part: str, series: str, layer: int
) -> dict[str, Interval]:
    """Return the value of one series at a layer, by instruction."""
    rows = records.filter(
        (pl.col("part") == part) & (pl.col("series") == series) & (pl.col("layer") == layer)
    )
    return {row["instruction"]: Interval.of(row) for row in rows.iter_rows(named=True)}


def select_by_number(records: pl.DataFrame, part: str, series: str) -> dict[int, Interval]:
    """Return the values of one series by the number on its axis."""
    rows = records.filter((pl.col("part") == part) & (pl.col("series") == series)).sort("at")
    return {row["at"]: Interval.of(row) for row in rows.iter_rows(named=True)}


def count_rejections(records: pl.DataFrame, copies: int) -> dict[str, Interval]:
    """Return the share of shuffled copies that each test rejects at 5 %, over all instructions."""
    rows = records.filter((pl.col("part") == "calibration") & (pl.col("at") == 5))
    return {
        str(series): wilson(round(float((rates["value"] * copies).sum())), copies * len(rates))
        for (series,), rates in rows.group_by("series", maintain_order=True)
    }
