"""Two properties at once, and what each vector does to the other's (Stolfo et al. 2025).

Each instruction's vector acts at the layer, and under the operation, that the select split chooses
for it alone; two of them act together, each at its own. On the same requests of the test split
every answer is checked for every property: the table of interference says what each vector does to
the properties of the others, and each pair is compared with its members alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

import figures
import interp_steer as ist
from analyses.asking import asking
from analyses.instructions import layer_sweep
from interp_steer.burattino.instructions import FORMAT_IDS
from interp_steer.contrast import Pair
from interp_steer.errors import RunError
from interp_steer.grid import with_fluency
from interp_steer.scoring import ifeval
from interp_steer.statistics import share

NONE = "none"
"""What the table calls no vector."""


@dataclass(frozen=True)
class Config(layer_sweep.Config):
    """What is combined."""

    instruction: tuple[str, ...] = FORMAT_IDS
    """IFEval ids of the instructions; those are combined that can be steered towards alone."""
    operations: tuple[str, ...] = ("project", "add:2")
    """Ways to steer; see layer_sweep."""
    n_select: int = 8
    """Prompts that each layer is tried on."""
    n_test: int = 32
    """Requests that are reported."""
    max_new_tokens: int = 112
    """Where an answer is cut."""
    most: int = 6
    """Most instructions that are combined, those that steering helps most."""


def main(config: Config, run: ist.Run) -> None:
    """Choose for each alone, then steer towards each, and each two, on the same requests."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sets = layer_sweep.contrast_sets(
        config.instruction, run.seed, fit=config.n_fit, select=config.n_select, test=config.n_test
    )
    run.used(model, *sets.values())
    vectors = layer_sweep.fitted(model, sets, run)
    with asking(config, model, run) as options:
        searched = layer_sweep.search(model, reference, sets, vectors, config, options)
        alone = steerable(layer_sweep.choose(searched), vectors, config.most)
        requests = sets[next(iter(alone))].test
        records = together(model, reference, alone, requests, sets, options)
    run.write_records(records)
    table = interference(records, list(alone))
    run.write_records(table, "interference")
    run.leave(summary=numbers(table, list(alone)))
    run.draw("interference", figures.interference_map(table, list(alone)))


def steerable(
    choices: layer_sweep.Chosen, vectors: Mapping[str, ist.SteeringVector], most: int
) -> dict[str, ist.Intervention]:
    """What steers towards each instruction alone, those first that it helps most.

    Raises:
        RunError: when fewer than two can be steered towards.
    """
    picked = {name: choices[name, False, "interval"] for name in vectors}
    helped = [name for name, one in picked.items() if one.layer is not None]
    if len(helped) < 2:
        raise RunError(
            f"steering helps {len(helped)} of {len(vectors)} instructions on the select split, and "
            "a composition needs two; give more --operations, or a larger --n-select"
        )
    best = sorted(helped, key=lambda name: -picked[name].steered)[:most]
    return {
        name: layer_sweep.steering(vectors[name].at(picked[name].layer), picked[name].operation)  # type: ignore[arg-type]
        for name in best
    }


def together(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    alone: Mapping[str, ist.Intervention],
    requests: ist.ContrastSet,
    sets: Mapping[str, ist.ContrastSet],
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers to the same requests under no vector, each vector and each two.

    Columns named as the properties say whether an answer has them.
    """
    asked = {name: sets[name].test[0] for name in alone}

    def properties(pair: Pair, completion: ist.Completion) -> dict[str, Any]:
        return {
            name: ifeval.verify(completion.text, one.instruction_ids, one.kwargs).strict
            for name, one in asked.items()
        }

    grid = [
        ist.Cell("none", operation=NONE),
        *(ist.Cell("steered", one, operation=name) for name, one in alone.items()),
        *(
            ist.Cell("pair", alone[a] + alone[b], operation=f"{a} + {b}")
            for a, b in combinations(alone, 2)
        ),
    ]
    records = ist.sweep(model, grid, requests, score=properties, **options)
    return with_fluency(records, reference)


def interference(records: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Share of answers with each property under each vector and pair, with its interval."""
    rows = []
    for (vectors,), each in records.group_by("operation", maintain_order=True):
        for name in (*names, "degenerate"):
            found = share(each[name].to_list())
            rows.append((vectors, name, found.value, found.low, found.high, found.n))
    columns = ["vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def numbers(table: pl.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """How much of its effect alone each property keeps in each pair."""
    of = {
        (vectors, name): value
        for vectors, name, value in table.select("vectors", "property", "share").iter_rows()
    }
    found: dict[str, object] = {}
    kept: list[float] = []
    for a, b in combinations(names, 2):
        for name in (a, b):
            effect = of[name, name] - of[NONE, name]
            both = of[f"{a} + {b}", name] - of[NONE, name]
            share_kept = both / effect if effect else float("nan")
            found[f"kept.{a} + {b}.{name}"] = share_kept
            kept.append(share_kept)
    known = [value for value in kept if value == value]
    found["kept.mean"] = sum(known) / len(known) if known else float("nan")
    found["kept.at_least_0.8"] = sum(value >= 0.8 for value in known) / max(len(known), 1)
    return found | {"instructions": len(names)}
