"""Vectors of one instruction from any choice of queries and phrasings, all from one pass."""

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
from interp_steer.contrast.contrast_set import plain_text
from interp_steer.contrast.instructions import ifeval_rows
from interp_steer.contrast.instructions.ifeval_sets import ask_for
from interp_steer.contrast.instructions.phrasings import draw_arguments, list_phrasings, say
from interp_steer.contrast.instructions.stripping import carries_instruction
from interp_steer.contrast.pair import Pair
from interp_steer.errors import RunError
from interp_steer.world.queries import list_queries as known_queries


def base_queries(name: str, n: int, seed: int, data: str | None = None) -> list[str]:
    """Requests that do not ask for an instruction: of the bundled world, or of IFEval.

    Args:
        name: of the instruction.
        n: how many.
        seed: of the draw.
        data: what :func:`interp_steer.contrast.instructions.ifeval_rows.read` takes.

    Raises:
        RunError: where there are fewer.
    """
    if data is None:
        texts = [query.text for query in known_queries("held")]
    else:
        texts = [row.query for row in ifeval_rows.read(data) if row.query]
    known = instruction_id(name)
    distinct = {plain_text(text): text for text in texts if not carries_instruction(text, known)}
    if len(distinct) < n:
        raise RunError(
            f"{n} queries are wanted and there are {len(distinct)} without {known}; lower "
            "--n-queries or --n-drift"
        )
    return Random(f"{name}/{seed}/queries").sample(sorted(distinct.values()), n)


def crossed(name: str, queries: Sequence[str], n_phrasings: int, seed: int) -> ist.ContrastSet:
    """Every query with every phrasing: the arguments of the instruction are those of the query.

    Args:
        name: of the instruction.
        queries: in the order in which the pairs come.
        n_phrasings: how many ways to say the instruction, drawn from those that there are.
        seed: of the draw.

    Raises:
        RunError: for fewer than two phrasings, or more than there are.
    """
    known, where = instruction_id(name), arguments(name)
    there = list_phrasings(known, where)
    if not 2 <= n_phrasings <= len(there):
        raise RunError(f"--n-phrasings {n_phrasings}: {known} has {len(there)}; take 2 or more")
    said = Random(f"{name}/{seed}/phrasings").sample(there, n_phrasings)
    rng = Random(f"{name}/{seed}/arguments")
    pairs = []
    for query in queries:
        kwargs = draw_arguments(known, rng, query, where)
        for phrasing in said:
            bare = Pair(query, f"{query} {phrasing}", query, phrasing=phrasing)
            pairs.append(ask_for(bare, say(known, phrasing, kwargs), known, kwargs))
    return ist.ContrastSet(known.rpartition(":")[2], tuple(pairs))


@dataclass(frozen=True, eq=False)
class Extractions:
    """What each phrasing changes in each query, of which every extraction is a weighted mean."""

    pairs: ist.ContrastSet
    """One extraction: as many queries as a vector is usually of, each with one phrasing in turn."""
    sides: tuple[ist.Moments, ist.Moments]
    """Both sides of those pairs, with their rows."""
    present: Mapping[int, Float[Tensor, "query phrasing d"]]
    """Activations with the instruction, by layer."""
    absent: Mapping[int, Float[Tensor, "query d"]]
    """Of the queries alone."""

    @classmethod
    def read(cls, model: ist.HookedLM, grid: ist.ContrastSet, n_fit: int) -> Extractions:
        """Run every prompt of the crossed set once.

        Args:
            model: whose residual stream is read, at the last token of the prompt.
            grid: see :func:`crossed`.
            n_fit: pairs of the extraction whose sides are kept apart; the first queries.
        """
        queries = list(dict.fromkeys(grid.queries))
        n_phrasings = len(grid) // len(queries)
        chosen = [query * n_phrasings + query % n_phrasings for query in range(n_fit)]
        others = sorted(set(range(len(grid))) - set(chosen))
        first = ist.ContrastSet(grid.name, tuple(grid[cell] for cell in chosen))
        present = [_rows(model, first.present), _rows(model, [grid[i].present for i in others])]
        absent = [_rows(model, first.absent), _rows(model, queries[n_fit:])]
        back = torch.argsort(torch.tensor([*chosen, *others]))
        shape = "(query phrasing) d -> query phrasing d"
        return cls(
            pairs=first,
            sides=(present[0], absent[0]),
            present={
                layer: rearrange(rows[back], shape, phrasing=n_phrasings)
                for layer, rows in _joined(present).items()
            },
            absent=_joined(absent),
        )

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return len(self.absent[0])

    def changes(self, layer: int) -> Float64[Tensor, "query phrasing d"]:
        """What each phrasing changes in each query at a layer."""
        absent = rearrange(self.absent[layer], "query d -> query 1 d")
        return self.present[layer].double() - absent.double()

    def dealt(self, layer: int) -> Float64[Tensor, "query d"]:
        """The same with one phrasing for each query, in turn."""
        changes = self.changes(layer)
        query = torch.arange(len(changes))
        return changes[query, query % changes.shape[1]]

    def orders(self, draws: int, seed: int) -> Int64[Tensor, "draw query"]:
        """All queries in a random order, draw by draw."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(draws, self.n_queries, generator=generator).argsort(dim=1)

    def of_queries(
        self, layer: int, queries: Int64[Tensor, "draw n"], times: int = 1
    ) -> Float64[Tensor, "draw d"]:
        """The vectors of some queries, each said in so many phrasings, which are dealt in turn.

        Args:
            layer: where they are read.
            queries: by their numbers.
            times: how many phrasings of each query.
        """
        changes = self.changes(layer)
        n_phrasings = changes.shape[1]
        turn = torch.arange(queries.shape[1] * times) % n_phrasings
        turn = rearrange(turn, "(n times) -> n times", times=times)
        cells = (rearrange(queries, "draw n -> draw n 1") * n_phrasings + turn).flatten(1)
        weights = torch.zeros(len(queries), self.n_queries * n_phrasings, dtype=torch.float64)
        weights = weights.scatter(1, cells, 1 / cells.shape[1])
        return einsum(weights, changes.flatten(0, 1), "draw cell, cell d -> draw d")

    def of_others(self, layer: int, queries: Int64[Tensor, "draw n"]) -> Float64[Tensor, "draw d"]:
        """The vectors of all phrasings of all the *other* queries."""
        by_query = self.changes(layer).mean(dim=1)
        left = torch.ones(len(queries), self.n_queries, dtype=torch.float64)
        left = left.scatter(1, queries, 0.0)
        return einsum(left, by_query, "draw query, query d -> draw d") / left.sum(dim=1)[:, None]


def joined(
    model: ist.HookedLM, found: Extractions, queries: Sequence[str], requests: int, layer: int
) -> tuple[Float64[Tensor, "pair d"], float]:
    """What the instruction changes at the end of several requests in one prompt.

    Args:
        model: that is read.
        found: whose extraction's pairs come last but for their instruction.
        queries: that are put before them.
        requests: how many in all.
        layer: where it is read.

    Returns:
        A row for each pair of the extraction, and the mean number of tokens of the prompts without
        the instruction.
    """
    before = [queries[at :: requests - 1] for at in range(requests - 1)]
    pairs = []
    for number, pair in enumerate(found.pairs):
        asked = " ".join([*(each[number % len(each)] for each in before), pair.query])
        pairs.append(
            replace(
                pair, query=asked, present=f"{asked} {pair.instruction_text}", absent=asked, key=""
            )
        )
    both = [[pair.present for pair in pairs], [pair.absent for pair in pairs]]
    lengths = [len(tokens) for tokens in model.tokenize(both[1])]
    mean = sum(lengths) / len(lengths)
    if requests == 1:  # those were read before
        return found.dealt(layer)[: len(pairs)], mean
    site = ist.Site("resid_post", layer)
    present, absent = (
        ist.capture.capture_moments(model, prompts, [site], keep_rows=True) for prompts in both
    )
    return ist.capture.differences(present, absent, site), mean


def _rows(model: ist.HookedLM, prompts: Sequence[ist.contrast.Prompt]) -> ist.Moments:
    return ist.capture.capture_moments(model, prompts, keep_rows=True)


def _joined(parts: Sequence[ist.Moments]) -> dict[int, Tensor]:
    """The rows of several passes at each layer, one after the other."""
    rows = [part.rows for part in parts if part.rows is not None]
    return {site.layer: torch.cat([each.values[site] for each in rows]) for site in parts[0].sites}
