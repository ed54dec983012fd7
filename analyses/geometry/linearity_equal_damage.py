"""Steer with each estimator, at equal displacement and at equal KL divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import polars as pl

import interp_steer as ist
from analyses.geometry.linearity_readouts import RANDOM, PropertyReadouts, get_rows
from analyses.kit.instruction_following import EditedPrompts, InstructionFollowing
from interp_steer.contrast import Pair
from interp_steer.errors import StatisticsError
from interp_steer.statistics import Interval, bootstrap_mean, mean_of, ratio_of_means, share_of
from interp_steer.sweeps import BROKEN, breaks_instruction, with_fluency
from interp_steer.vectors import TransportMap

MEANS = "difference_in_means"

RANDOM_MAP = "random_map"

MOVERS = ("coordinates", "gaussian")
"""Maps that steer; the map ``mean`` equals the difference in means."""

ROUNDS = 8
"""Maximum number of corrections of a coefficient towards the target KL."""

LEAP = 16.0
"""Largest factor by which one correction changes a coefficient."""

NEAR = 1.05
"""Factor within which a cost must match the budget."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A way to steer at one layer."""

    name: str
    """Name of an estimator, a probe, a map, or a control."""
    act: Callable[[float], ist.Intervention]
    """Make the intervention from a displacement, in norms of the difference in means."""
    draw: int | None = None
    """Number of the random draw; None for everything but controls."""


def list_contenders(
    readouts: PropertyReadouts, layer: int, positions: str, n_random: int, seed: int
) -> list[Contender]:
    """Return every way to steer, the difference in means first.

    A direction moves every activation by the same distance, a map does not. A map is applied by
    the share at which it moves prompts without the property by the same root mean square distance.

    Args:
        readouts: the fitted directions and maps.
        layer: the layer of steering.
        positions: see :func:`interp_steer.interventions.positions.span`.
        n_random: number of random directions, and of random maps.
        seed: seed of the first draw.
    """
    means = readouts.vectors[MEANS]
    length = float(means.norms[means.layers.index(layer)])
    at = readouts.layers[means.layers.index(layer)]
    _, absent = get_rows(at.splits.select, at.site)

    def along(vector: ist.SteeringVector) -> Callable[[float], ist.Intervention]:
        direction = vector.at(layer)
        return lambda amount: direction.add(amount * length, positions)

    def transport_by(transport: TransportMap) -> Callable[[float], ist.Intervention]:
        distance = (transport(absent) - absent).square().sum(dim=1).mean().sqrt()
        share = length / float(distance)
        return lambda amount: transport.transport(amount * share, positions)

    draws = range(seed, seed + n_random)
    gaussian = readouts.maps["gaussian"]
    return [
        *(Contender(name, along(vector)) for name, vector in readouts.vectors.items()),
        *(Contender(kind, transport_by(readouts.maps[kind].at(layer))) for kind in MOVERS),
        *(Contender(RANDOM, along(means.like_random(draw)), draw) for draw in draws),
        *(
            Contender(RANDOM_MAP, transport_by(gaussian.like_random(draw).at(layer)), draw)
            for draw in draws
        ),
    ]


def choose_layer(
    select: InstructionFollowing,
    readouts: PropertyReadouts,
    reference: ist.HookedLM,
    strength: float,
    positions: str,
) -> int:
    """Choose the layer at which steering with the difference in means works best.

    The layer has the most answers that follow the instruction and are neither degenerate nor
    garbled; among equal layers, the answers that follow are the most likely.
    """
    vector = readouts.vectors[MEANS]
    steering = {layer: vector.at(layer).shift(strength, positions) for layer in vector.layers}
    cells = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    cells += [ist.Cell("steered", steer, layer) for layer, steer in steering.items()]
    swept = _answer_cells(select, cells, reference, settled=breaks_instruction)
    sound = swept.filter(pl.col("strict") & ~BROKEN)
    acts = [
        EditedPrompts("steered", False, [steer] * len(select.pairs)) for steer in steering.values()
    ]
    likely = [
        sum(score for score in row if score is not None) for row in select.score_answers(acts)
    ]
    ranks = {
        layer: (len(sound.filter(pl.col("layer") == layer)), score)
        for layer, score in zip(steering, likely, strict=True)
    }
    return max(ranks, key=lambda layer: ranks[layer])


def match_cost(
    measure_costs: Callable[[Mapping[int, float]], Mapping[int, float]],
    amounts: Mapping[int, float],
    budget: float,
) -> dict[int, float]:
    """Find the amounts at which several ways to steer have the same cost.

    A cost that is a power of the amount is a line in logarithms, which two amounts determine. The
    first guess is the square, because a KL divergence grows as the square near 0.

    Args:
        measure_costs: the function from amounts to costs, by number.
        amounts: the first amounts.
        budget: the target cost.

    Returns:
        The amount of each whose cost is nearest to the budget, among all amounts tried.
    """
    tried: dict[int, list[tuple[float, float]]] = {number: [] for number in amounts}
    pending = dict(amounts)
    for _ in range(ROUNDS):
        for number, cost in measure_costs(pending).items():
            excess = math.log(max(cost, 1e-12) / budget)
            tried[number].append((math.log(pending[number]), excess))
        pending = {
            number: math.exp(_propose_amount(points))
            for number, points in tried.items()
            if min(abs(excess) for _, excess in points) > math.log(NEAR)
        }
        if not pending:
            break
    nearest = {
        number: min(points, key=lambda point: abs(point[1])) for number, points in tried.items()
    }
    return {number: math.exp(amount) for number, (amount, _) in nearest.items()}


def _propose_amount(points: Sequence[tuple[float, float]]) -> float:
    """Return the logarithm of the next amount: between the nearest below and above, or beyond."""
    below = [point for point in points if point[1] < 0]
    above = [point for point in points if point[1] >= 0]
    if below and above:
        (low, under), (high, over) = max(below), min(above)
        share = min(max(under / (under - over), 0.1), 0.9)  # shrink the bracket from both ends
        return low + share * (high - low)
    amount, excess = points[-1]
    power = 2.0
    if len(points) > 1:
        previous, previous_excess = points[-2]
        power = min(max((excess - previous_excess) / (amount - previous), 0.5), 4.0)
    return amount - min(max(excess / power, -math.log(LEAP)), math.log(LEAP))


def steer_contenders(
    select: InstructionFollowing,
    test: InstructionFollowing,
    contenders: Sequence[Contender],
    reference: ist.HookedLM,
    layer: int,
    strength: float,
) -> pl.DataFrame:
    """Answer the test split under every contender, at equal displacement and at equal KL.

    Args:
        select: the prompts on which the KL of all contenders is matched to the first contender's.
        test: the prompts that are answered.
        contenders: the ways to steer; the first sets the KL.
        reference: the model whose perplexity detects degenerate answers.
        layer: the layer of steering.
        strength: the displacement, in norms of the difference in means.

    Returns:
        The records of a sweep, with ``matched`` (``norm`` or ``kl``; null without steering),
        ``logprob`` (of the answer that follows, nats per token), and ``kl`` (nats per token along
        the unsteered answer). ``operation`` is the contender's name.
    """
    numbers = dict(enumerate(contenders))
    equal = dict.fromkeys(numbers, strength)
    (start,) = _measure_divergences(select, numbers, {0: strength}).values()
    amounts = {
        "norm": equal,
        "kl": {0: strength}
        | match_cost(
            partial(_measure_divergences, select, numbers),
            {number: strength for number in numbers if number},
            start,
        ),
    }
    cells = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    matched: list[str | None] = [None, None]
    for name, amount_of in amounts.items():
        for number, contender in numbers.items():
            cells.append(_make_cell(contender, amount_of[number], layer))
            matched.append(name)
    records = _answer_cells(test, cells, reference)
    acts = [
        EditedPrompts(cell.setting, cell.instructed, [cell.steering] * len(test.pairs), layer)
        for cell in cells
    ]
    graded = [score for row in test.score_answers(acts) for score in row]
    divergences = [None] * (2 * len(test.pairs)) + [
        kl for row in test.damage(acts[2:]) for kl in row
    ]
    names = [name for name in matched for _ in test.pairs]
    return records.with_columns(
        pl.Series("matched", names, dtype=pl.String),
        pl.Series("logprob", graded, dtype=pl.Float64),
        pl.Series("kl", divergences, dtype=pl.Float64),
    )


def _answer_cells(
    obedience: InstructionFollowing,
    cells: Sequence[ist.Cell],
    reference: ist.HookedLM,
    settled: Callable[[Pair, str], bool] | None = None,
) -> pl.DataFrame:
    """Answer the cells and return the records, with their fluency."""
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


def _make_cell(contender: Contender, amount: float, layer: int) -> ist.Cell:
    setting = "steered" if contender.draw is None else "random"
    return ist.Cell(
        setting,
        contender.act(amount),
        layer,
        draw=contender.draw,
        strength=amount,
        operation=contender.name,
    )


def _measure_divergences(
    obedience: InstructionFollowing, numbers: Mapping[int, Contender], amounts: Mapping[int, float]
) -> dict[int, float]:
    """Return the mean KL divergence of each contender at its amount."""
    acts = [
        EditedPrompts(
            numbers[number].name, False, [numbers[number].act(amount)] * len(obedience.pairs)
        )
        for number, amount in amounts.items()
    ]
    divergences = obedience.damage(acts)
    return {
        number: math.fsum(row) / len(row) for number, row in zip(amounts, divergences, strict=True)
    }


# ------------------------------------------------------------------ outcomes
MEASURES = ("obeys", "recovered", "kl", "broken")
"""Measures of each contender: the share of answers that follow the instruction; the recovered share
of the text instruction's gain in log-probability; the KL divergence; and the share of answers that
are degenerate or garbled."""


def summarise_outcomes(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the measures of each contender; the draws of a control are pooled.

    ``recovered`` is missing where the text instruction itself may have no effect.

    Args:
        records: the records of :func:`steer_contenders`, of one or more properties.
        seed: seed of the bootstrap.
    """
    answers = records.with_columns(BROKEN.alias("broken"))
    rows = []
    for (name,), of_property in answers.group_by("property", maintain_order=True):
        ends = [
            of_property.filter(pl.col("setting") == end).select("key", "logprob")
            for end in ("none", "instruction")
        ]
        cells = of_property.filter(pl.col("matched").is_not_null())
        for group, cell in cells.group_by("matched", "operation", maintain_order=True):
            for measure, value in _measure_cell(cell, ends, seed):
                rows.append((name, *group, measure, value.value, value.low, value.high, value.n))
    columns = ["property", "matched", "of", "quantity", "value", "low", "high", "n"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _measure_cell(
    cell: pl.DataFrame, ends: Sequence[pl.DataFrame], seed: int
) -> Iterator[tuple[str, Interval]]:
    yield "obeys", share_of(cell, "strict")
    yield "broken", share_of(cell, "broken")
    if divergence := mean_of(cell, "kl"):
        yield "kl", divergence
    scores = cell.group_by("key", maintain_order=True).agg(pl.col("logprob").mean())
    for end, name in zip(ends, ("without_text", "with_text"), strict=True):
        scores = scores.join(end.rename({"logprob": name}), on="key", maintain_order="left")
    known = scores.drop_nulls()
    with suppress(StatisticsError):  # the text instruction may have no effect
        yield (
            "recovered",
            ratio_of_means(
                (known["logprob"] - known["without_text"]).to_list(),
                (known["with_text"] - known["without_text"]).to_list(),
                seed=seed,
            ),
        )


def compare_with_means(records: pl.DataFrame, seed: int) -> dict[str, Interval]:
    """Compare the log-probability of the answers under each contender with the difference in means.

    Differences are paired by prompt, in nats per token.

    Args:
        records: the records of :func:`steer_contenders`, of one property.
        seed: seed of the bootstrap.

    Returns:
        The mean differences by ``matched`` and the contender's name, joined by a dot.
    """
    differences = {}
    known = records.filter(pl.col("matched").is_not_null()).drop_nulls("logprob")
    for (matched,), cells in known.group_by("matched", maintain_order=True):
        means = cells.filter(pl.col("operation") == MEANS).select("key", "logprob")
        for (name,), cell in cells.group_by("operation", maintain_order=True):
            if name != MEANS:
                both = cell.join(means, on="key", suffix="_means", maintain_order="left")
                gains = (both["logprob"] - both["logprob_means"]).to_list()
                differences[f"{matched}.{name}"] = bootstrap_mean(gains, both["key"], seed=seed)
    return differences
