"""Steering by one estimator or another, as far, and at the same cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import polars as pl

import interp_steer as ist
from analyses.geometry.linearity_readouts import RANDOM, Property, rows_at
from analyses.kit.instruction_following import EditedPrompts, InstructionFollowing
from interp_steer.contrast.pair import Pair
from interp_steer.errors import StatisticsError
from interp_steer.statistics.effect_shares import ratio_of_means
from interp_steer.statistics.intervals import Interval, bootstrap_mean
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import BROKEN, with_fluency
from interp_steer.sweeps.grid import breaks_instruction
from interp_steer.vectors.transport import TransportMap

MEANS = "difference_in_means"

RANDOM_MAP = "random_map"

MOVERS = ("coordinates", "gaussian")
"""The maps that steer; ``mean`` is the difference in means."""

ROUNDS = 8
"""Times that a coefficient is mended at most until it costs what it is to cost."""

LEAP = 16.0
"""As a factor: the most by which a coefficient is mended at a time."""

NEAR = 1.05
"""As a factor: how near to its budget a cost is to be."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A way to steer at one layer."""

    name: str
    """Of an estimator, a probe, a map, or a control."""
    act: Callable[[float], ist.Intervention]
    """From how far it is to move an activation, in lengths of the difference in means."""
    draw: int | None = None
    """Which of several controls; None where it is none."""


def contenders(
    found: Property, layer: int, positions: str, n_random: int, seed: int
) -> list[Contender]:
    """Every way to steer, the difference in means first.

    A direction moves every activation as far. A map does not: it goes such a share of its way that
    it moves prompts without the property as far in the root mean square.

    Args:
        found: what was fitted.
        layer: where it acts.
        positions: see :func:`interp_steer.interventions.positions.span`.
        n_random: random directions, and random maps.
        seed: of the first of them.
    """
    means = found.vectors[MEANS]
    length = float(means.norms[means.layers.index(layer)])
    at = found.layers[means.layers.index(layer)]
    _, absent = rows_at(at.splits.select, at.site)

    def along(vector: ist.SteeringVector) -> Callable[[float], ist.Intervention]:
        direction = vector.at(layer)
        return lambda amount: direction.add(amount * length, positions)

    def by(moved: TransportMap) -> Callable[[float], ist.Intervention]:
        away = (moved(absent) - absent).square().sum(dim=1).mean().sqrt()
        share = length / float(away)
        return lambda amount: moved.transport(amount * share, positions)

    draws = range(seed, seed + n_random)
    gaussian = found.maps["gaussian"]
    return [
        *(Contender(name, along(vector)) for name, vector in found.vectors.items()),
        *(Contender(kind, by(found.maps[kind].at(layer))) for kind in MOVERS),
        *(Contender(RANDOM, along(means.like_random(draw)), draw) for draw in draws),
        *(Contender(RANDOM_MAP, by(gaussian.like_random(draw).at(layer)), draw) for draw in draws),
    ]


def best_layer(
    select: InstructionFollowing,
    found: Property,
    reference: ist.HookedLM,
    strength: float,
    positions: str,
) -> int:
    """Where the difference in means has most answers obey that are neither degenerate nor garbled;
    of equals, where it makes the obedient answers likeliest."""
    vector = found.vectors[MEANS]
    steering = {layer: vector.at(layer).shift(strength, positions) for layer in vector.layers}
    cells = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    cells += [ist.Cell("steered", each, layer) for layer, each in steering.items()]
    swept = _answered(select, cells, reference, settled=breaks_instruction)
    sound = swept.filter(pl.col("strict") & ~BROKEN)
    acts = [
        EditedPrompts("steered", False, [each] * len(select.pairs)) for each in steering.values()
    ]
    likely = [sum(each for each in row if each is not None) for row in select.score_answers(acts)]
    ranks = {
        layer: (len(sound.filter(pl.col("layer") == layer)), score)
        for layer, score in zip(steering, likely, strict=True)
    }
    return max(ranks, key=lambda layer: ranks[layer])


def at_budget(
    spent: Callable[[Mapping[int, float]], Mapping[int, float]],
    amounts: Mapping[int, float],
    budget: float,
) -> dict[int, float]:
    """The amounts at which each of several costs the same.

    A cost that grows as a power of the amount is a line in logarithms, and two amounts give it; the
    first guess is that it grows as the square, as a divergence does from nothing.

    Args:
        spent: the costs of amounts, all together, by number.
        amounts: where to begin.
        budget: what each is to cost.

    Returns:
        Of each the amount whose cost came nearest, of all that were tried.
    """
    tried: dict[int, list[tuple[float, float]]] = {number: [] for number in amounts}
    pending = dict(amounts)
    for _ in range(ROUNDS):
        for number, cost in spent(pending).items():
            far = math.log(max(cost, 1e-12) / budget)
            tried[number].append((math.log(pending[number]), far))
        pending = {
            number: math.exp(_next(points))
            for number, points in tried.items()
            if min(abs(far) for _, far in points) > math.log(NEAR)
        }
        if not pending:
            break
    nearest = {number: min(points, key=lambda one: abs(one[1])) for number, points in tried.items()}
    return {number: math.exp(amount) for number, (amount, _) in nearest.items()}


def _next(points: Sequence[tuple[float, float]]) -> float:
    """The next logarithm of an amount: between the nearest below and above, or beyond the last."""
    below = [point for point in points if point[1] < 0]
    above = [point for point in points if point[1] >= 0]
    if below and above:
        (low, under), (high, over) = max(below), min(above)
        share = min(max(under / (under - over), 0.1), 0.9)  # a bracket shrinks from both ends
        return low + share * (high - low)
    amount, far = points[-1]
    power = 2.0
    if len(points) > 1:
        before, was = points[-2]
        power = min(max((far - was) / (amount - before), 0.5), 4.0)
    return amount - min(max(far / power, -math.log(LEAP)), math.log(LEAP))


def steered(
    select: InstructionFollowing,
    test: InstructionFollowing,
    several: Sequence[Contender],
    reference: ist.HookedLM,
    layer: int,
    strength: float,
) -> pl.DataFrame:
    """Answer the test split under every contender, moved as far, and at the same divergence.

    Args:
        select: on whose prompts the divergence is made the same: that of the first contender.
        test: whose prompts are answered.
        several: the contenders, that which sets the budget first.
        reference: whose perplexity tells degenerate answers.
        layer: where all act.
        strength: how far, in lengths of the difference in means.

    Returns:
        The records of a sweep, with ``matched`` (``norm`` or ``kl``; null where nothing steers),
        ``logprob`` (of the obedient answer, nats a token), and ``kl`` (nats a token along the
        unsteered answer). ``operation`` is the contender's name.
    """
    numbers = dict(enumerate(several))
    equal = dict.fromkeys(numbers, strength)
    (start,) = _divergences(select, numbers, {0: strength}).values()
    amounts = {
        "norm": equal,
        "kl": {0: strength}
        | at_budget(
            partial(_divergences, select, numbers),
            {number: strength for number in numbers if number},
            start,
        ),
    }
    cells = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    matched: list[str | None] = [None, None]
    for name, each in amounts.items():
        for number, one in numbers.items():
            cells.append(_cell(one, each[number], layer))
            matched.append(name)
    records = _answered(test, cells, reference)
    acts = [
        EditedPrompts(cell.setting, cell.instructed, [cell.steering] * len(test.pairs), layer)
        for cell in cells
    ]
    graded = [score for row in test.score_answers(acts) for score in row]
    moved = [None] * (2 * len(test.pairs)) + [kl for row in test.damage(acts[2:]) for kl in row]
    named = [name for name in matched for _ in test.pairs]
    return records.with_columns(
        pl.Series("matched", named, dtype=pl.String),
        pl.Series("logprob", graded, dtype=pl.Float64),
        pl.Series("kl", moved, dtype=pl.Float64),
    )


def _answered(
    obedience: InstructionFollowing,
    cells: Sequence[ist.Cell],
    reference: ist.HookedLM,
    settled: Callable[[Pair, str], bool] | None = None,
) -> pl.DataFrame:
    """The records of a sweep, with their fluency."""
    asking = obedience.asking
    records = ist.sweep(
        obedience.model,
        cells,
        obedience.pairs,
        settled=settled,
        max_new_tokens=asking.max_new_tokens,
        batch_size=asking.batch_size,
        ledger=obedience.ledger,
    )
    return with_fluency(records, reference)


def _cell(one: Contender, amount: float, layer: int) -> ist.Cell:
    setting = "steered" if one.draw is None else "random"
    return ist.Cell(
        setting, one.act(amount), layer, draw=one.draw, strength=amount, operation=one.name
    )


def _divergences(
    obedience: InstructionFollowing, numbers: Mapping[int, Contender], amounts: Mapping[int, float]
) -> dict[int, float]:
    """What amounts of contenders move the predictions by, in the mean over the prompts."""
    acts = [
        EditedPrompts(
            numbers[number].name, False, [numbers[number].act(amount)] * len(obedience.pairs)
        )
        for number, amount in amounts.items()
    ]
    moved = obedience.damage(acts)
    return {number: math.fsum(row) / len(row) for number, row in zip(amounts, moved, strict=True)}


# ------------------------------------------------------------------ outcomes
MEASURES = ("obeys", "recovered", "kl", "broken")
"""Of each contender: the share of answers that obey; the share of the text instruction's gain in
log-probability; the divergence; and the share of answers that are degenerate or garbled."""


def outcomes(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """What each contender does, with intervals; draws of a control are taken together.

    ``recovered`` is not there where the text instruction itself may do nothing.

    Args:
        records: see :func:`steered`, of one property or several.
        seed: of the resampling.
    """
    told = records.with_columns(BROKEN.alias("broken"))
    rows = []
    for (name,), each in told.group_by("property", maintain_order=True):
        ends = [
            each.filter(pl.col("setting") == end).select("key", "logprob")
            for end in ("none", "instruction")
        ]
        cells = each.filter(pl.col("matched").is_not_null())
        for group, cell in cells.group_by("matched", "operation", maintain_order=True):
            for measure, found in _measured(cell, ends, seed):
                rows.append((name, *group, measure, found.value, found.low, found.high, found.n))
    columns = ["property", "matched", "of", "quantity", "value", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _measured(
    cell: pl.DataFrame, ends: Sequence[pl.DataFrame], seed: int
) -> Iterator[tuple[str, Interval]]:
    yield "obeys", share_of(cell, "strict")
    yield "broken", share_of(cell, "broken")
    if moved := mean_of(cell, "kl"):
        yield "kl", moved
    each = cell.group_by("key", maintain_order=True).agg(pl.col("logprob").mean())
    for end, name in zip(ends, ("plain", "told"), strict=True):
        each = each.join(end.rename({"logprob": name}), on="key", maintain_order="left")
    known = each.drop_nulls()
    with suppress(StatisticsError):  # of an effect that may be nothing
        yield (
            "recovered",
            ratio_of_means(
                (known["logprob"] - known["plain"]).to_list(),
                (known["told"] - known["plain"]).to_list(),
                seed=seed,
            ),
        )


def beyond_means(records: pl.DataFrame, seed: int) -> dict[str, Interval]:
    """By how much each contender makes the obedient answers likelier than the difference in means
    does, prompt by prompt, in nats a token.

    Args:
        records: see :func:`steered`, of one property.
        seed: of the resampling.

    Returns:
        By ``matched`` and the contender's name, with a dot between.
    """
    found = {}
    known = records.filter(pl.col("matched").is_not_null()).drop_nulls("logprob")
    for (matched,), cells in known.group_by("matched", maintain_order=True):
        means = cells.filter(pl.col("operation") == MEANS).select("key", "logprob")
        for (name,), cell in cells.group_by("operation", maintain_order=True):
            if name != MEANS:
                both = cell.join(means, on="key", suffix="_means", maintain_order="left")
                gains = (both["logprob"] - both["logprob_means"]).to_list()
                found[f"{matched}.{name}"] = bootstrap_mean(gains, both["key"], seed=seed)
    return found
