"""Compute vectors of one instruction for any choice of queries and phrasings, from one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Float64, Int64
from torch import Tensor

import interp_steer as ist
from analyses.kit.instruction_sets import arguments, instruction_id
from interp_steer.contrast import Pair, plain_text
from interp_steer.contrast.instructions import (
    ask_for,
    carries_instruction,
    draw_arguments,
    ifeval_rows,
    list_phrasings,
    say,
)
from interp_steer.errors import OptionError
from interp_steer.world import list_queries


def sample_queries(name: str, n: int, seed: int, data: str | None = None) -> list[str]:
    """Sample requests without the instruction, from the bundled world or from IFEval.

    Args:
        name: the instruction.
        n: number of requests.
        seed: seed of the sample.
        data: argument of :func:`interp_steer.contrast.instructions.ifeval_rows.read`.

    Raises:
        OptionError: if fewer requests are available.
    """
    if data is None:
        texts = [query.text for query in list_queries("held")]
    else:
        texts = [row.query for row in ifeval_rows.read(data) if row.query]
    known = instruction_id(name)
    distinct = {plain_text(text): text for text in texts if not carries_instruction(text, known)}
    if len(distinct) < n:
        raise OptionError(
            f"{n} queries without {known} are needed, but {len(distinct)} are available; lower "
            "--n-queries or --n-drift"
        )
    return Random(f"{name}/{seed}/queries").sample(sorted(distinct.values()), n)


def cross_phrasings(
    name: str, queries: Sequence[str], n_phrasings: int, seed: int
) -> ist.ContrastSet:
    """Pair every query with every phrasing; the instruction's arguments are drawn once per query.

    Args:
        name: the instruction.
        queries: the queries, in the order of the pairs.
        n_phrasings: number of phrasings, sampled from the instruction's phrasings.
        seed: seed of the samples.

    Raises:
        OptionError: if fewer than two phrasings are asked for, or more than the instruction has.
    """
    known, where = instruction_id(name), arguments(name)
    available = list_phrasings(known, where)
    if not 2 <= n_phrasings <= len(available):
        raise OptionError(
            f"--n-phrasings {n_phrasings}: {known} has {len(available)} phrasings; give 2 or more"
        )
    phrasings = Random(f"{name}/{seed}/phrasings").sample(available, n_phrasings)
    rng = Random(f"{name}/{seed}/arguments")
    pairs = []
    for query in queries:
        kwargs = draw_arguments(known, rng, query, where)
        for phrasing in phrasings:
            bare = Pair(query, f"{query} {phrasing}", query, phrasing=phrasing)
            pairs.append(ask_for(bare, say(known, phrasing, kwargs), known, kwargs))
    return ist.ContrastSet(known.rpartition(":")[2], tuple(pairs))


@dataclass(frozen=True, eq=False)
class Extractions:
    """Activations of every query with every phrasing; a vector is a weighted mean of changes."""

    pairs: ist.ContrastSet
    """The pairs of one extraction: the first queries, each with one phrasing in turn."""
    sides: tuple[ist.Moments, ist.Moments]
    """Moments of both sides of these pairs, with their rows."""
    present: Mapping[int, Float[Tensor, "query phrasing d"]]
    """Activations with the instruction, by layer."""
    absent: Mapping[int, Float[Tensor, "query d"]]
    """Activations of the queries alone, by layer."""

    @classmethod
    def read(cls, model: ist.HookedLM, grid: ist.ContrastSet, n_fit: int) -> Extractions:
        """Run every prompt of the crossed set once.

        Args:
            model: the model whose residual stream is read, at the last token of the prompt.
            grid: the pairs of :func:`cross_phrasings`.
            n_fit: number of pairs of the extraction; they are of the first queries.
        """
        queries = list(dict.fromkeys(grid.queries))
        n_phrasings = len(grid) // len(queries)
        chosen = [query * n_phrasings + query % n_phrasings for query in range(n_fit)]
        others = sorted(set(range(len(grid))) - set(chosen))
        first = ist.ContrastSet(grid.name, tuple(grid[cell] for cell in chosen))
        present = [
            _capture_rows(model, first.present),
            _capture_rows(model, [grid[i].present for i in others]),
        ]
        absent = [_capture_rows(model, first.absent), _capture_rows(model, queries[n_fit:])]
        back = torch.argsort(torch.tensor([*chosen, *others]))
        shape = "(query phrasing) d -> query phrasing d"
        return cls(
            pairs=first,
            sides=(present[0], absent[0]),
            present={
                layer: rearrange(rows[back], shape, phrasing=n_phrasings)
                for layer, rows in _concatenate(present).items()
            },
            absent=_concatenate(absent),
        )

    @property
    def n_queries(self) -> int:
        """Return the number of queries."""
        return len(self.absent[0])

    def compute_changes(self, layer: int) -> Float64[Tensor, "query phrasing d"]:
        """Return the change of the activation by each phrasing in each query at a layer."""
        absent = rearrange(self.absent[layer], "query d -> query 1 d")
        return self.present[layer].double() - absent.double()

    def deal_phrasings(self, layer: int) -> Float64[Tensor, "query d"]:
        """Return the changes with one phrasing for each query, in turn."""
        changes = self.compute_changes(layer)
        query = torch.arange(len(changes))
        return changes[query, query % changes.shape[1]]

    def shuffle_queries(self, draws: int, seed: int) -> Int64[Tensor, "draw query"]:
        """Return the queries in a random order for each draw."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(draws, self.n_queries, generator=generator).argsort(dim=1)

    def fit_queries(
        self, layer: int, queries: Int64[Tensor, "draw n"], times: int = 1
    ) -> Float64[Tensor, "draw d"]:
        """Fit a vector on the given queries of each draw, with phrasings assigned in turn.

        Args:
            layer: the layer of the vectors.
            queries: the numbers of the queries.
            times: number of phrasings of each query.
        """
        changes = self.compute_changes(layer)
        n_phrasings = changes.shape[1]
        turn = torch.arange(queries.shape[1] * times) % n_phrasings
        turn = rearrange(turn, "(n times) -> n times", times=times)
        cells = (rearrange(queries, "draw n -> draw n 1") * n_phrasings + turn).flatten(1)
        weights = torch.zeros(len(queries), self.n_queries * n_phrasings, dtype=torch.float64)
        weights = weights.scatter(1, cells, 1 / cells.shape[1])
        return einsum(weights, changes.flatten(0, 1), "draw cell, cell d -> draw d")

    def fit_others(self, layer: int, queries: Int64[Tensor, "draw n"]) -> Float64[Tensor, "draw d"]:
        """Fit a vector on all phrasings of all the *other* queries of each draw."""
        by_query = self.compute_changes(layer).mean(dim=1)
        left = torch.ones(len(queries), self.n_queries, dtype=torch.float64)
        left = left.scatter(1, queries, 0.0)
        return einsum(left, by_query, "draw query, query d -> draw d") / left.sum(dim=1)[:, None]


def join_requests(
    model: ist.HookedLM, extractions: Extractions, queries: Sequence[str], requests: int, layer: int
) -> tuple[Float64[Tensor, "pair d"], float]:
    """Measure the change by the instruction after several requests in one prompt.

    Args:
        model: the model that reads the prompts.
        extractions: the pairs of the extraction; the query of each is the last request.
        queries: the requests before the last one.
        requests: number of requests in a prompt.
        layer: the layer of the changes.

    Returns:
        A row for each pair of the extraction, and the mean number of tokens of the prompts without
        the instruction.
    """
    before = [queries[at :: requests - 1] for at in range(requests - 1)]
    pairs = []
    for number, pair in enumerate(extractions.pairs):
        text = " ".join([*(earlier[number % len(earlier)] for earlier in before), pair.query])
        pairs.append(
            replace(
                pair, query=text, present=f"{text} {pair.instruction_text}", absent=text, key=""
            )
        )
    both = [[pair.present for pair in pairs], [pair.absent for pair in pairs]]
    lengths = [len(tokens) for tokens in model.tokenize(both[1])]
    mean = sum(lengths) / len(lengths)
    if requests == 1:  # these prompts are already read
        return extractions.deal_phrasings(layer)[: len(pairs)], mean
    site = ist.Site("resid_post", layer)
    present, absent = (
        ist.capture.capture_moments(model, prompts, [site], keep_rows=True) for prompts in both
    )
    return ist.capture.differences(present, absent, site), mean


def _capture_rows(model: ist.HookedLM, prompts: Sequence[ist.contrast.Prompt]) -> ist.Moments:
    return ist.capture.capture_moments(model, prompts, keep_rows=True)


def _concatenate(parts: Sequence[ist.Moments]) -> dict[int, Tensor]:
    """Concatenate the rows of several passes at each layer."""
    rows = [part.rows for part in parts if part.rows is not None]
    return {site.layer: torch.cat([each.values[site] for each in rows]) for site in parts[0].sites}
