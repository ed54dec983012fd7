"""In which heads is a property, who writes it, and which of them matter?

Directions are differences in means at ``z``, one for each head, read at the last token of the
prompt. Five questions are asked of them:

1. how long each head's is, and how alike those of two properties are in each head;
2. how well one head alone tells prompts with the property from prompts without it: the AUROC of the
   projection on its own direction. Directions are of the fit split, the AUROC of the test split. A
   random direction in each head stands beside: a property that is everywhere shows in it too;
3. who writes the residual direction at each layer: the share of each head, each MLP and the
   embedding, which sum to 1;
4. whether few heads suffice: the directions of the best k heads are added, without the text
   instruction, beside those of k heads drawn at random, and beside random directions of the same
   norms in the heads of largest norm. Heads are ranked by AUROC on the select split, by norm, and
   by their share of the last layer's direction;
5. whether they are needed: with the text instruction, the projection of the same heads is set to
   its mean without the property.

What 4 and 5 do is measured on the answers that the model gives to the text instruction: the share
of its gain in their log-probability, over no instruction, that is recovered. 0 is what no
instruction leaves, 1 what the text does. The damage of 4 is the divergence of the predictions along
the answers that the model gives without any instruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.geometry.head_geometry_readings import Property, cosines, read, share_frame
from analyses.kit.instruction_sets import contrast_sets
from figures.geometry.head_map import head_map
from figures.style.drawing import short_names
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import RunError
from interp_steer.statistics.intervals import Interval, bootstrap_mean
from interp_steer.statistics.resampling import resampled_means

Heads = list[tuple[int, int]]
"""Heads as layer and head."""

Order = tuple[str, int | None, Heads, ist.SteppedVector]
"""How heads were chosen, which draw of them, the heads, and the directions that are edited."""


@dataclass(frozen=True)
class Config:
    """What is read, and what is edited."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "language:response_language?language=it",
    )
    """IFEval ids of the properties."""
    data: str | None = None
    """IFEval's requests; see layer_sweep. Those of the bundled world when not given."""
    n_fit: int = 48
    """Pairs of prompts that directions are fitted on."""
    n_select: int = 24
    """Pairs that heads are ranked on."""
    n_test: int = 24
    """Pairs that are reported."""
    k: tuple[int, ...] = (1, 2, 4, 8, 16)
    """How many heads are edited at a time."""
    coefficient: float = 0.5
    """By what the raw directions are multiplied as they are added, at each generated position."""
    n_random: int = 5
    """Draws of k random heads."""
    draws: int = 300
    """Bootstrap draws of the pairs."""
    max_new_tokens: int = 48
    """Where the answers to the text instruction are cut."""


def main(config: Config, run: ist.Run) -> None:
    """Read both sides once, measure every head, then edit few of them."""
    model = ist.load(config.model)
    most = model.n_layers * model.n_heads
    if not config.k or min(config.k) < 1 or max(config.k) > most:
        raise RunError(f"--k {config.k}: {model.describe()} has {most} heads; ask for 1 to {most}")
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    properties = {
        name: read(model, pairs, config.draws, run.seed)
        for name, pairs in tqdm(sets.items(), desc="read", unit="instruction", disable=None)
    }
    edited = pl.concat(
        [
            edit(model, sets[name].test, found, config, run.seed).with_columns(
                pl.lit(name).alias("instruction")
            )
            for name, found in tqdm(properties.items(), desc="edit", disable=None)
        ]
    )
    run.write_records(edited)
    heads = pl.concat([found.heads(name) for name, found in properties.items()])
    run.write_records(heads, "heads")
    shares = pl.concat([share_frame(name, found.shares) for name, found in properties.items()])
    run.write_records(shares, "shares")
    alike = cosines(properties, config.draws, run.seed)
    if len(alike):
        run.write_records(alike, "cosines")
    for name, found in properties.items():
        run.leave(found.vector, name=name, summary=numbers(name, found))
    recovery = recovered(edited, run.seed)
    run.leave(summary=ends(recovery, max(config.k)) | damage(edited, max(config.k), run.seed))
    draw(run, heads, shares, alike, recovery)


# ------------------------------------------------------------------ editing
def edit(
    model: ist.HookedLM, pairs: ContrastSet, found: Property, config: Config, seed: int
) -> pl.DataFrame:
    """Steer with few heads, and take few heads away, best ones and random ones.

    Returns:
        A row for each edit and prompt: ``act`` (``steer`` without the text instruction, ``ablate``
        with it), ``heads`` (how they were chosen), ``k``, ``draw``, ``logprob`` (of the answer to
        the text instruction, nats a token), the same ``plain`` and ``told``, without and with the
        text and no edit, and ``kl`` (nats a token along the plain answer, of ``steer``).
    """
    asked = {"steer": pairs.absent, "ablate": pairs.present}
    answers = {
        act: [
            completion.tokens
            for completion in ist.generate(
                model, prompts, max_new_tokens=config.max_new_tokens, batch_size=64
            )
        ]
        for act, prompts in asked.items()
    }

    def scored(act: str, steering: ist.Intervention) -> list[float]:
        scores = ist.logprobs(model, asked[act], answers["ablate"], steering)
        return [score.total / len(score.tokens) for score in scores]

    plain, told = (scored(act, ist.unsteered) for act in asked)
    nothing = [None] * len(pairs)
    rows = []
    for kind, draw, order, vector in orders(found, config.n_random, seed):
        for k in config.k:
            steer = vector.only(heads=order[:k]).shift(config.coefficient, positions="generated")
            moved = ist.divergence(model, asked["steer"], answers["steer"], steer)
            measured = [("steer", scored("steer", steer), [each.kl for each in moved])]
            if vector is found.vector:
                measured += [("ablate", scored("ablate", without(found, order[:k])), nothing)]
            rows += [
                (act, kind, k, draw, pair.key, *numbers)
                for act, *columns in measured
                for pair, *numbers in zip(pairs, *columns, plain, told, strict=True)
            ]
    columns = ["act", "heads", "k", "draw", "key", "logprob", "kl", "plain", "told"]
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)


def orders(found: Property, n_random: int, seed: int) -> list[Order]:
    """The orders in which heads are edited: by each ranking, and the controls."""
    rankings = found.rankings()
    made: list[Order] = [
        (f"top by {name}", None, order, found.vector) for name, order in rankings.items()
    ]
    rng = np.random.default_rng(seed)
    for draw in range(n_random):
        shuffled = rng.permutation(rankings["norm"])
        heads = [(int(layer), int(head)) for layer, head in shuffled]
        made.append(("random heads", draw, heads, found.vector))
        aside = found.vector.like_random(seed + draw)
        made.append(("random directions", draw, rankings["norm"], aside))
    return made


def without(found: Property, heads: Heads) -> ist.Intervention:
    """Each head's projection on its direction set to its mean without the property."""
    return ist.compose(
        found.vector.only(heads=[(layer, head)])
        .direction(ist.Site("z", layer), ist.Site("z", layer))
        .project(float(found.absent[layer, head]), "generated")
        for layer, head in heads
    )


def recovered(edited: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The share of the text instruction's gain in log-probability, with its interval.

    A ratio of means over prompts, which are resampled; draws of random heads are averaged first.
    """
    rows = []
    by = ["instruction", "act", "heads", "k"]
    for group, cell in edited.group_by(by, maintain_order=True):
        each = cell.group_by("key", maintain_order=True).agg(
            (pl.col("logprob") - pl.col("plain")).mean().alias("gain"),
            (pl.col("told") - pl.col("plain")).mean().alias("whole"),
        )
        gain, whole = (torch.from_numpy(each[name].to_numpy().copy()) for name in ("gain", "whole"))
        draws = resampled_means(torch.stack([gain, whole], dim=1), 1000, seed)
        low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
        rows.append((*group, float(gain.mean() / whole.mean()), float(low), float(high), len(each)))
    return pl.DataFrame(rows, schema=[*by, "value", "low", "high", "n"], orient="row")


def damage(edited: pl.DataFrame, k: int, seed: int) -> dict[str, object]:
    """How far the most heads move predictions that nobody asked to move."""
    moved = edited.filter((pl.col("act") == "steer") & (pl.col("k") == k))
    return {
        f"kl.{kind.replace(' ', '_')}.{k}.{name}": bootstrap_mean(
            cell["kl"].to_list(), cell["key"].to_list(), seed=seed
        )
        for (name, kind), cell in moved.group_by("instruction", "heads", maintain_order=True)
    }


# ------------------------------------------------------------------ leaving
def numbers(name: str, found: Property) -> dict[str, object]:
    """The best head, chosen on the select split, and who writes the last layer's direction."""
    layer, head = found.rankings()["auroc"][0]
    last = found.shares.layers[-1]
    by_part = found.shares.sum_by(lambda writer: writer.part)
    measured = found.test
    value, low, high = (
        float(each[layer, head]) for each in (measured.auroc, measured.low, measured.high)
    )
    best: dict[str, object] = {
        f"auroc.best.{name}": Interval(value, low, high, measured.n, "newcombe 95%"),
        f"auroc.best.layer.{name}": layer,
        f"auroc.best.head.{name}": head,
        f"heads_above_chance.{name}": float((measured.low > 0.5).double().mean()),
        f"heads_above_chance.random.{name}": float((found.by_chance.low > 0.5).double().mean()),
        f"shares.error.{name}": found.shares.error,
    }
    shares = {f"share.{part}.{name}": each for (at, part), each in by_part.items() if at == last}
    return best | shares


def ends(recovery: pl.DataFrame, k: int) -> dict[str, object]:
    """What the most heads do."""
    return {
        f"{row['act']}.{row['heads'].replace(' ', '_')}.{k}.{row['instruction']}": Interval.of(row)
        for row in recovery.filter(pl.col("k") == k).iter_rows(named=True)
    }


def draw(
    run: ist.Run,
    heads: pl.DataFrame,
    shares: pl.DataFrame,
    alike: pl.DataFrame,
    recovery: pl.DataFrame,
) -> None:
    """The maps, the shares by layer, and the curves of the edits."""
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
    for act, said in (("steer", "added"), ("ablate", "taken away")):
        curves = recovery.filter(pl.col("act") == act).with_columns(
            pl.col("instruction").replace(names).alias("panel"), pl.col("heads").alias("series")
        )
        drawing = figures.interval_curves(
            curves, "k", f"heads {said}", "share of the text's effect", chance="random heads"
        )
        run.draw(f"{act}_by_heads", drawing)
