"""How sure a vector is, number by number: rows of records, from activations read once."""

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
from interp_steer.statistics.intervals import Interval, wilson
from interp_steer.statistics.separation import measure_separation
from interp_steer.vectors.fitting import difference_in_means
from interp_steer.vectors.trust.assessment import assess
from interp_steer.vectors.trust.permutation import permutation_test, separation_test
from interp_steer.vectors.trust.reliability import (
    agreement,
    bootstrap_cosine,
    spearman_brown,
    split_half,
)

COPIES = 40
"""Copies with shuffled labels whose cosines stand beside those of the vector."""

LEVELS = (1, 5, 10, 20)
"""Levels, in per cent, at which the tests are to reject as many shuffled sets."""

ALL_PAIRS = "with the vector of all such pairs"
"""The series that says how near a vector lies to what infinitely many pairs would give."""

SINGLE = "with that of single requests"
"""The series that says how near vectors of single and of joined requests would then lie."""


@dataclass(frozen=True)
class Sizes:
    """How much is read, and how often it is drawn from."""

    n_queries: int = 128
    """Queries that pairs are drawn from; twice n_fit or more."""
    n_phrasings: int = 8
    """Phrasings that each query is read with."""
    n_fit: int = 64
    """Pairs of one extraction."""
    n_pairs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of pairs that vectors are read from; at most half of the queries."""
    requests: tuple[int, ...] = (1, 2, 3)
    """How many requests are joined in one prompt: how complex it is."""
    draws: int = 1000
    """Bootstrap draws, and random swaps of sides."""
    repeats: int = 200
    """Random choices of pairs of each number."""
    copies: int = 400
    """Copies of each set with shuffled labels that the tests are tried on."""


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
"""A number with its interval: of which part, at which layer, and at which number of the axis."""


def make_row(part: str, layer: int, series: str, found: Interval, at: int | None = None) -> Row:
    """A row of the records."""
    return part, layer, at, series, found.value, found.low, found.high


def make_exact(value: float) -> Interval:
    """A number that is no estimate."""
    return Interval(value, value, value, 1, "exact")


def summarise_draws(draws: Tensor) -> Interval:
    """The mean of draws, and the range that holds 95 % of them."""
    low, high = np.quantile(draws.numpy(), [0.025, 0.975]).tolist()
    return Interval(float(draws.mean()), low, high, len(draws), "range of 95%")


def compute_cosines(one: Float64[Tensor, "draw d"], other: Float64[Tensor, "draw d"]) -> Tensor:
    """The cosine of every two vectors."""
    return torch.cosine_similarity(one, other, dim=-1)


# ------------------------------------------------------------------------------ by layer
def fit_vector(
    model: ist.HookedLM, found: Extractions, sizes: Sizes, seed: int
) -> ist.SteeringVector:
    """The vector of one extraction, with a card that says how sure it is."""
    vector = difference_in_means(
        *found.sides, name=found.pairs.name, data_hash=found.pairs.hash, model=model
    )
    sure = assess(*found.sides, draws=sizes.draws, seed=seed)
    return replace(vector, card=replace(vector.card, reliability=sure))


def measure_layers(
    model: ist.HookedLM, found: Extractions, sizes: Sizes, seed: int
) -> Iterator[Row]:
    """What is asked at every layer."""
    for layer in tqdm(range(model.n_layers), desc="layers", leave=False, disable=None):
        yield from measure_reliability(found, layer, sizes, seed)
        yield from compare_with_chance(found, layer, sizes, seed)
        yield from compare_extractions(found, layer, sizes, seed)
        yield from compare_phrasings(found, layer, seed)


def measure_reliability(found: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """How near one extraction lies to what all such pairs would give, by three readings."""
    rows = found.dealt(layer)[: sizes.n_fit]
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
        values = torch.tensor([getattr(one, which).value for one in shuffled])
        yield make_row("cosine", layer, series, summarise_draws(values))
    taken = sum(one.population.low > 0 for one in shuffled)
    yield make_row("taken", layer, "shuffled labels", wilson(taken, COPIES))


def sample_swaps(copies: int, n: int, rng: np.random.Generator) -> Tensor:
    """Which pairs of each copy have their labels swapped (-1)."""
    return torch.from_numpy(rng.choice([-1.0, 1.0], (copies, n)))


def split_held_out(found: Extractions, layer: int, n_fit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs to fit on, and both sides of held-out ones, of other queries and other phrasings."""
    present, absent = found.present[layer].double(), found.absent[layer].double()
    few = present.shape[1] // 2
    query, held = torch.arange(n_fit), torch.arange(n_fit, len(present))
    rows = present[query, query % few] - absent[query]
    return rows, present[held, few + held % (present.shape[1] - few)], absent[held]


def compare_with_chance(found: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """Length, and separation of held-out prompts, beside pairs whose sides are swapped."""
    options: dict[str, Any] = {"draws": sizes.draws - 1, "seed": seed}
    norm = permutation_test(found.dealt(layer)[: sizes.n_fit], **options)
    scale = norm.chance.value  # lengths grow with depth: in units of what chance gives
    yield make_row("norm", layer, "vector", make_exact(norm.statistic / scale))
    ends = Interval(1.0, norm.chance.low / scale, norm.chance.high / scale, norm.chance.n, "")
    yield make_row("norm", layer, "swapped sides", ends)
    yield make_row("p_norm", layer, "vector", make_exact(norm.p_value))
    rows, present, absent = split_held_out(found, layer, sizes.n_fit)
    told = separation_test(rows, present, absent, **options)
    own = measure_separation(*(side @ rows.mean(dim=0) for side in (present, absent)))
    auroc = Interval(float(own.auroc), float(own.low), float(own.high), own.n, "newcombe 95%")
    yield make_row("auroc", layer, "vector", auroc)
    yield make_row("auroc", layer, "swapped sides", told.chance)
    yield make_row("p_auroc", layer, "vector", make_exact(told.p_value))


def compare_extractions(found: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """Two extractions of disjoint pairs: their cosine, their lengths, and what one foretells."""
    n = sizes.n_fit
    order = found.orders(sizes.repeats, seed)
    one, other = (found.of_queries(layer, chosen) for chosen in (order[:, :n], order[:, n : 2 * n]))
    yield make_row("seed", layer, "two extractions", summarise_draws(compute_cosines(one, other)))
    foretold = split_half(found.dealt(layer)[:n], seed=seed).whole
    yield make_row("seed", layer, "foretold by one", foretold)
    norms = one.norm(dim=1)
    yield make_row(
        "seed_norm", layer, "length beside the mean", summarise_draws(norms / norms.mean())
    )


def compare_phrasings(found: Extractions, layer: int, seed: int) -> Iterator[Row]:
    """The vectors of two phrasings, from other queries each, beside two halves of one."""
    rows = rearrange(found.changes(layer), "query phrasing d -> phrasing query d")
    alike = agreement(rows, splits=50, seed=seed)
    yield make_row("phrasing", layer, "two phrasings", alike.between)
    yield make_row("phrasing", layer, "one phrasing", alike.ceiling)
    yield make_row("phrasing", layer, "two phrasings, of all queries", alike.ratio)


def compare_with_base(
    base: ist.HookedLM,
    found: Extractions,
    grid: ist.ContrastSet,
    vector: ist.SteeringVector,
    seed: int,
) -> Iterator[Row]:
    """The base model's vector with the tuned model's, from other queries each."""
    n_phrasings = len(grid) // found.n_queries
    dealt = [query * n_phrasings + query % n_phrasings for query in range(found.n_queries)]
    told, plain = (
        ist.capture.capture_moments(
            base, [getattr(grid[cell], side) for cell in dealt], keep_rows=True
        )
        for side in ("present", "absent")
    )
    random = torch.stack([vector.cosine(vector.like_random(seed + draw)) for draw in range(100)])
    for site in told.sites:
        rows = torch.stack([found.dealt(site.layer), ist.capture.differences(told, plain, site)])
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
    found: Extractions,
    queries: Sequence[str],
    layer: int,
    sizes: Sizes,
    seed: int,
) -> Iterator[Row]:
    """What is asked at one layer."""
    yield from measure_calibration(found, layer, sizes, seed)
    yield from vary_pairs(found, layer, sizes, seed)
    yield from vary_queries(found, layer, sizes, seed)
    yield from vary_requests(model, found, queries[sizes.n_fit :], layer, sizes, seed)


def measure_calibration(found: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """How often the tests reject copies of the pairs whose labels are shuffled.

    A p-value is exact over its swaps, so that every copy is tested with others.
    """
    rows, present, absent = split_held_out(found, layer, sizes.n_fit)
    # Of the set's own: where a shift leads, what is rejected is the swaps' doing, not the set's.
    rng = np.random.default_rng([seed, layer, int(found.pairs.hash[:8], 16)])
    own, held = (sample_swaps(sizes.copies, len(side), rng) for side in (rows, present))
    p_values: dict[str, list[float]] = {"length": [], "held-out separation": []}
    for copy in tqdm(range(sizes.copies), desc="shuffled", leave=False, disable=None):
        mixed = rows * own[copy][:, None]
        kept = held[copy][:, None] > 0
        sides = torch.where(kept, present, absent), torch.where(kept, absent, present)
        options: dict[str, Any] = {"draws": 199, "seed": int(rng.integers(2**31))}
        p_values["length"].append(permutation_test(mixed, **options).p_value)
        p_values["held-out separation"].append(separation_test(mixed, *sides, **options).p_value)
    for series, values in p_values.items():
        for level in LEVELS:
            rejected = sum(p <= level / 100 + 1e-12 for p in values)
            yield make_row("calibration", layer, series, wilson(rejected, len(values)), level)


def estimate_cosine(
    found: Extractions, layer: int, chosen: Tensor, reliability: float, times: int = 1
) -> Interval:
    """The cosine of vectors of some queries with that of infinitely many, over random choices.

    Measured with the vector of all the queries that were left, over the root of its reliability
    (Spearman's correction for attenuation).

    Args:
        found: the rows.
        layer: where they are read.
        chosen: the queries of each choice.
        reliability: of the vector of all queries.
        times: phrasings of each query.
    """
    left = found.n_queries - chosen.shape[1]
    whole = spearman_brown(reliability, left / found.n_queries) ** 0.5
    measured = compute_cosines(
        found.of_queries(layer, chosen, times), found.of_others(layer, chosen)
    )
    return summarise_draws((measured / whole).clamp(max=1.0))


def vary_pairs(found: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """Vectors of ever more pairs, each of another query."""
    whole = split_half(found.changes(layer).mean(dim=1), seed=seed).whole.value
    own = bootstrap_cosine(found.dealt(layer)[: sizes.n_fit], draws=sizes.draws, seed=seed)
    for n in sizes.n_pairs:
        order = found.orders(sizes.repeats, seed + n)
        yield make_row(
            "pairs", layer, ALL_PAIRS, estimate_cosine(found, layer, order[:, :n], whole), n
        )
        value, low, high = (
            spearman_brown(end**2, n / sizes.n_fit) ** 0.5
            for end in (own.population.value, own.population.low, own.population.high)
        )
        foretold = Interval(value, low, high, sizes.n_fit, own.population.method)
        yield make_row("pairs", layer, f"foretold by {sizes.n_fit} pairs", foretold, n)
        one, other = (found.of_queries(layer, half) for half in (order[:, :n], order[:, n : 2 * n]))
        yield make_row(
            "pairs",
            layer,
            "with that of other pairs",
            summarise_draws(compute_cosines(one, other)),
            n,
        )


def vary_queries(found: Extractions, layer: int, sizes: Sizes, seed: int) -> Iterator[Row]:
    """As many pairs from ever fewer queries, each said in more ways; and from fewer pairs."""
    changes = found.changes(layer)
    whole = split_half(changes.mean(dim=1), seed=seed).whole.value
    for times in (2**k for k in range(changes.shape[1].bit_length())):
        n = sizes.n_fit // times
        if n < 1 or sizes.n_fit % times or times > changes.shape[1]:
            break
        chosen = found.orders(sizes.repeats, seed + times)[:, :n]
        several = estimate_cosine(found, layer, chosen, whole, times)
        yield make_row("queries", layer, f"{sizes.n_fit} pairs", several, n)
        yield make_row(
            "queries",
            layer,
            "a pair for each query",
            estimate_cosine(found, layer, chosen, whole),
            n,
        )


def vary_requests(
    model: ist.HookedLM,
    found: Extractions,
    queries: Sequence[str],
    layer: int,
    sizes: Sizes,
    seed: int,
) -> Iterator[Row]:
    """Pairs whose prompts hold ever more requests before the instruction."""
    plain = found.dealt(layer)[: sizes.n_fit]
    for requests in sizes.requests:
        rows, tokens = join_requests(model, found, queries, requests, layer)
        own = bootstrap_cosine(rows, draws=sizes.draws, seed=seed).population
        yield make_row("requests", layer, ALL_PAIRS, own, requests)
        if requests > 1:
            alike = agreement(torch.stack([plain, rows]), seed=seed).ratio
            yield make_row("requests", layer, SINGLE, alike, requests)
        yield make_row("tokens", layer, "without the instruction", make_exact(tokens), requests)
