"""Find the attention heads that carry a property, and test whether few heads suffice.

Directions are differences in means at ``z``, one for each head, read at the last token of the
prompt. Measured for each property:

1. the norm of each head's direction, and the cosine between the directions of two properties in
   each head;
2. the AUROC of the projection of prompts with and without the property on each head's own
   direction. Directions are fitted on the fit split, the AUROC is measured on the test split. A
   random direction in each head is the comparison: a property that is present everywhere separates
   along a random direction too;
3. the share of each head, each MLP and the embedding in the residual direction at each layer;
   shares sum to 1;
4. sufficiency: the directions of the best k heads are added, without the text instruction, and
   compared with k random heads, and with random directions of the same norms in the heads of
   largest norm. Heads are ranked by AUROC on the select split, by norm, and by their share of the
   last layer's direction;
5. necessity: with the text instruction, the projection of the same heads is set to its mean without
   the property.

The effect of 4 and 5 is measured on the answers that the model gives to the text instruction, as
the recovered share of the text's gain in their log-probability: 0 is the log-probability without
the instruction, 1 with the text. The damage of 4 is the KL divergence of the predictions along the
answers that the model gives without any instruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.geometry.head_geometry_readings import (
    PropertyHeads,
    compare_directions,
    read_heads,
    tabulate_shares,
)
from analyses.kit.instruction_sets import contrast_sets
from figures.geometry.head_map import head_map
from figures.style.drawing import short_names
from interp_steer.contrast import ContrastSet
from interp_steer.errors import OptionError
from interp_steer.statistics import Interval, bootstrap_mean, resampled_means

Heads = list[tuple[int, int]]
"""Heads as (layer, head)."""

Order = tuple[str, int | None, Heads, ist.SteppedVector]
"""The name of the ranking, the draw, the ranked heads, and the directions that are edited."""


@dataclass(frozen=True)
class Config:
    """The model, the properties, and the edits of heads."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "language:response_language?language=it",
    )
    """IFEval ids of the instructions whose property is located in heads."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    n_fit: int = 48
    """Pairs of prompts on which directions are fitted."""
    n_select: int = 24
    """Pairs of prompts on which heads are ranked."""
    n_test: int = 24
    """Held-out pairs of prompts on which results are reported."""
    k: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of heads that are edited together."""
    coefficient: float = 0.5
    """Factor of the fitted directions when they are added at each generated position."""
    n_random: int = 5
    """Number of random choices of k heads, and of random directions."""
    draws: int = 300
    """Number of bootstrap draws of the pairs."""
    max_new_tokens: int = 48
    """Maximum number of new tokens of an answer."""


def main(config: Config, run: ist.Run) -> None:
    """Read both sides once, measure every head, then edit few heads."""
    model = ist.load(config.model)
    most = model.n_layers * model.n_heads
    if not config.k or min(config.k) < 1 or max(config.k) > most:
        raise OptionError(f"--k {config.k}: {model.describe()} has {most} heads; give 1 to {most}")
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    properties = {
        name: read_heads(model, pairs, config.draws, run.seed)
        for name, pairs in tqdm(sets.items(), desc="read", unit="instruction", disable=None)
    }
    edited = pl.concat(
        [
            edit_heads(model, sets[name].test, readings, config, run.seed).with_columns(
                pl.lit(name).alias("instruction")
            )
            for name, readings in tqdm(properties.items(), desc="edit", disable=None)
        ]
    )
    run.write_records(edited)
    heads = pl.concat([readings.heads(name) for name, readings in properties.items()])
    run.write_records(heads, "heads")
    shares = pl.concat(
        [tabulate_shares(name, readings.shares) for name, readings in properties.items()]
    )
    run.write_records(shares, "shares")
    alike = compare_directions(properties, config.draws, run.seed)
    if len(alike):
        run.write_records(alike, "cosines")
    for name, readings in properties.items():
        run.leave(readings.vector, name=name, summary=summarise_heads(name, readings))
    recovery = compute_recovery(edited, run.seed)
    run.leave(
        summary=summarise_recovery(recovery, max(config.k))
        | summarise_damage(edited, max(config.k), run.seed)
    )
    draw_heads(run, heads, shares, alike, recovery)


# ------------------------------------------------------------------ editing
def edit_heads(
    model: ist.HookedLM,
    pairs: ContrastSet,
    readings: PropertyHeads,
    config: Config,
    seed: int,
) -> pl.DataFrame:
    """Steer with few heads, and ablate few heads: the best heads and random heads.

    Returns:
        A row for each edit and prompt: ``act`` (``steer`` without the text instruction, ``ablate``
        with it), ``heads`` (the ranking), ``k``, ``draw``, ``logprob`` (of the answer to the text
        instruction, nats per token), ``plain`` and ``told`` (its log-probability without and with
        the text instruction, unedited), and ``kl`` (nats per token along the plain answer, for
        ``steer``).
    """
    prompts_of = {"steer": pairs.absent, "ablate": pairs.present}
    answers = {
        act: [
            completion.tokens
            for completion in ist.generate(
                model, prompts, max_new_tokens=config.max_new_tokens, batch_size=64
            )
        ]
        for act, prompts in prompts_of.items()
    }

    def score(act: str, steering: ist.Intervention) -> list[float]:
        scores = ist.logprobs(model, prompts_of[act], answers["ablate"], steering)
        return [answer.total / len(answer.tokens) for answer in scores]

    without_text, with_text = (score(act, ist.unsteered) for act in prompts_of)
    missing = [None] * len(pairs)
    rows = []
    for kind, draw, order, vector in order_heads(readings, config.n_random, seed):
        for k in config.k:
            steer = vector.only(heads=order[:k]).shift(config.coefficient, positions="generated")
            divergences = ist.divergence(model, prompts_of["steer"], answers["steer"], steer)
            measured = [("steer", score("steer", steer), [answer.kl for answer in divergences])]
            if vector is readings.vector:
                measured += [
                    ("ablate", score("ablate", remove_heads(readings, order[:k])), missing)
                ]
            rows += [
                (act, kind, k, draw, pair.key, *numbers)
                for act, *columns in measured
                for pair, *numbers in zip(pairs, *columns, without_text, with_text, strict=True)
            ]
    columns = ["act", "heads", "k", "draw", "key", "logprob", "kl", "plain", "told"]
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)


def order_heads(readings: PropertyHeads, n_random: int, seed: int) -> list[Order]:
    """Return the orders in which heads are edited: each ranking, and the controls."""
    rankings = readings.rankings()
    orders: list[Order] = [
        (f"top by {name}", None, order, readings.vector) for name, order in rankings.items()
    ]
    rng = np.random.default_rng(seed)
    for draw in range(n_random):
        shuffled = rng.permutation(rankings["norm"])
        heads = [(int(layer), int(head)) for layer, head in shuffled]
        orders.append(("random heads", draw, heads, readings.vector))
        other = readings.vector.like_random(seed + draw)
        orders.append(("random directions", draw, rankings["norm"], other))
    return orders


def remove_heads(readings: PropertyHeads, heads: Heads) -> ist.Intervention:
    """Set each head's projection on its direction to the mean without the property."""
    return ist.compose(
        readings.vector.only(heads=[(layer, head)])
        .direction(ist.Site("z", layer), ist.Site("z", layer))
        .project(float(readings.absent[layer, head]), "generated")
        for layer, head in heads
    )


def compute_recovery(edited: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the recovered share of the text instruction's gain in log-probability.

    The share is a ratio of means over prompts. Draws of random heads are averaged first; the
    bootstrap resamples prompts.
    """
    rows = []
    by = ["instruction", "act", "heads", "k"]
    for group, cell in edited.group_by(by, maintain_order=True):
        prompts = cell.group_by("key", maintain_order=True).agg(
            (pl.col("logprob") - pl.col("plain")).mean().alias("gain"),
            (pl.col("told") - pl.col("plain")).mean().alias("whole"),
        )
        gain, whole = (
            torch.from_numpy(prompts[name].to_numpy().copy()) for name in ("gain", "whole")
        )
        draws = resampled_means(torch.stack([gain, whole], dim=1), 1000, seed)
        low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
        rows.append(
            (*group, float(gain.mean() / whole.mean()), float(low), float(high), len(prompts))
        )
    return pl.DataFrame(rows, schema=[*by, "value", "low", "high", "n"], orient="row")


def summarise_damage(edited: pl.DataFrame, k: int, seed: int) -> dict[str, object]:
    """Return the KL divergence of steering with the largest number of heads."""
    steered = edited.filter((pl.col("act") == "steer") & (pl.col("k") == k))
    return {
        f"kl.{kind.replace(' ', '_')}.{k}.{name}": bootstrap_mean(
            cell["kl"].to_list(), cell["key"].to_list(), seed=seed
        )
        for (name, kind), cell in steered.group_by("instruction", "heads", maintain_order=True)
    }


# ------------------------------------------------------------------ summary
def summarise_heads(name: str, readings: PropertyHeads) -> dict[str, object]:
    """Return the best head, chosen on the select split, and the shares of the last layer."""
    layer, head = readings.rankings()["auroc"][0]
    last = readings.shares.layers[-1]
    by_part = readings.shares.sum_by(lambda writer: writer.part)
    test = readings.test
    value, low, high = (float(values[layer, head]) for values in (test.auroc, test.low, test.high))
    best: dict[str, object] = {
        f"auroc.best.{name}": Interval(value, low, high, test.n, "newcombe 95%"),
        f"auroc.best.layer.{name}": layer,
        f"auroc.best.head.{name}": head,
        f"heads_above_chance.{name}": float((test.low > 0.5).double().mean()),
        f"heads_above_chance.random.{name}": float((readings.by_chance.low > 0.5).double().mean()),
        f"shares.error.{name}": readings.shares.error,
    }
    shares = {f"share.{part}.{name}": value for (at, part), value in by_part.items() if at == last}
    return best | shares


def summarise_recovery(recovery: pl.DataFrame, k: int) -> dict[str, object]:
    """Return the recovered shares for the largest number of heads."""
    return {
        f"{row['act']}.{row['heads'].replace(' ', '_')}.{k}.{row['instruction']}": Interval.of(row)
        for row in recovery.filter(pl.col("k") == k).iter_rows(named=True)
    }


def draw_heads(
    run: ist.Run,
    heads: pl.DataFrame,
    shares: pl.DataFrame,
    alike: pl.DataFrame,
    recovery: pl.DataFrame,
) -> None:
    """Draw the maps of heads, the shares by layer, and the curves of the edits."""
    names = short_names(heads["instruction"].unique(maintain_order=True).to_list())
    named = heads.with_columns(pl.col("instruction").replace(names).alias("panel"))
    for name, label in names.items():
        norms = heads.filter(pl.col("instruction") == name).with_columns(pl.lit(0).alias("step"))
        run.draw(f"norms_{label}", head_map(norms))
    run.draw("auroc", figures.head_values(named, "auroc", "AUROC", middle=0.5, reach=0.5))
    if named["share"].is_not_null().all():
        written = named.drop("low", "high").rename({"share_low": "low", "share_high": "high"})
        run.draw("head_shares", figures.head_values(written, "share", "share", middle=0.0))
    if len(alike):
        both = pl.concat_str(
            pl.col("instruction_a", "instruction_b").replace(names), separator=", "
        )
        drawing = figures.head_values(
            alike.with_columns(both.alias("panel")), "cosine", "cosine", middle=0.0, reach=1.0
        )
        run.draw("head_cosines", drawing)
    parts = shares.filter(pl.col("writer").str.starts_with("all ")).with_columns(
        pl.col("instruction").replace(names).alias("panel"),
        pl.col("writer").str.strip_prefix("all "),
    )
    run.draw("shares_by_layer", figures.share_bars(parts))
    for act, verb in (("steer", "added"), ("ablate", "ablated")):
        curves = recovery.filter(pl.col("act") == act).with_columns(
            pl.col("instruction").replace(names).alias("panel"), pl.col("heads").alias("series")
        )
        drawing = figures.interval_curves(
            curves, "k", f"heads {verb}", "share of the text's effect", chance="random heads"
        )
        run.draw(f"{act}_by_heads", drawing)
