"""Every head of every layer, for a map that can be clicked, and one head from near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl
from einops import einsum

import figures
import interp_steer as ist
from analyses.explorer.form import Source
from analyses.explorer.jobs import ExplorerError, Job
from analyses.explorer.views import TOP, Seen
from analyses.explorer.workspace import Workspace, label
from analyses.geometry.head_geometry_readings import Property, read
from figures.geometry.head_map import head_map
from figures.style.drawing import Drawing
from interp_steer.geometry.cosines import vocabulary
from interp_steer.geometry.heads import head_projections, head_rows
from interp_steer.geometry.layers import discrimination

QUANTITIES = {"auroc": "AUROC", "norm": "Length", "share": "Share"}
"""What is mapped, and what the page calls it: how well a head tells both sides apart, how long its
direction is, and its share of the last layer's."""

DRAWS = 100
"""Bootstrap draws of the pairs: fewer than the analysis takes, since somebody waits."""


@dataclass(frozen=True, eq=False)
class Heads:
    """What was measured of a property's heads."""

    source: Source
    found: Property
    table: pl.DataFrame
    """A row for each head."""

    def drawing(self, quantity: str) -> Drawing:
        """The map of one quantity.

        Raises:
            ExplorerError: for shares, in a model whose heads have none of their own.
        """
        name = label(self.source.name)
        if quantity == "norm":
            return head_map(self.table.with_columns(pl.lit(0).alias("step")))
        named = self.table.with_columns(pl.lit(name).alias("panel"))
        if quantity == "auroc":
            return figures.head_values(named, "auroc", "AUROC", middle=0.5, reach=0.5)
        if self.found.shares.note:
            raise ExplorerError(self.found.shares.note)
        shares = named.drop("low", "high").rename({"share_low": "low", "share_high": "high"})
        return figures.head_values(shares, "share", "share", middle=0.0)


def measuring(shelf: Workspace, source: Source, job: Job) -> Iterator[None]:
    """Measure every head on held-out prompts. The job's result is a :class:`Heads`."""
    pairs = shelf.pairs(source)
    job.tell(f"Reading the heads of {len(pairs)} pairs")
    yield
    found = read(shelf.model, pairs, DRAWS, shelf.making.seed)
    job.tell("", Heads(source, found, found.heads(label(source.name))))


def looking(shelf: Workspace, heads: Heads, layer: int, head: int, job: Job) -> Iterator[None]:
    """One head: its numbers, both sides on its direction, and what it writes to the vocabulary.

    The job's result is a :class:`~analyses.explorer.views.Seen`.
    """
    row = heads.table.filter((pl.col("layer") == layer) & (pl.col("head") == head))
    if row.is_empty():
        raise ExplorerError(f"There is no head {layer}.{head}; click one of the map.")
    numbers = row.row(0, named=True)
    facts = [
        ("head", f"{layer}.{head}"),
        ("length of its direction", f"{numbers['norm']:.3g}"),
        (
            "AUROC, held out",
            f"{numbers['auroc']:.2f} [{numbers['low']:.2f}, {numbers['high']:.2f}], along a random "
            f"direction {numbers['auroc_random']:.2f}",
        ),
    ]
    if numbers["share"] is not None:
        ends = f"[{numbers['share_low']:.1%}, {numbers['share_high']:.1%}]"
        facts.append(("share of the last layer's direction", f"{numbers['share']:.1%} {ends}"))
    job.tell(f"Reading head {layer}.{head}")
    drawings = {"head_sides": _sides(shelf, heads, layer, head)}
    yield
    if not heads.found.shares.note:  # or else its output is normalised with that of the others
        written = vocabulary(shelf.model, _written(shelf, heads, layer, head), TOP)
        name = f"Head {layer}.{head}"
        drawings["head_raised"] = figures.layer_tokens(written, name, "raised")
        drawings["head_lowered"] = figures.layer_tokens(written, name, "lowered")
    job.tell("", Seen(drawings, tuple(facts)))


def _sides(shelf: Workspace, heads: Heads, layer: int, head: int) -> Drawing:
    """Prompts of the test split, with the property and without, on the head's direction."""
    pairs = shelf.pairs(heads.source)
    directions = heads.found.vector.directions[0][layer : layer + 1]
    site = [ist.Site("z", layer)]

    def projected(split: str, side: str) -> pl.Series:
        prompts = getattr(getattr(pairs, split), side)
        rows = head_rows(ist.capture.capture_moments(shelf.model, prompts, site, keep_rows=True))
        return pl.Series(head_projections(rows, directions)[:, 0, head].numpy())

    zero, one = (float(projected("fit", side).to_numpy().mean()) for side in ("absent", "present"))
    scale = (one - zero) or 1.0
    sides = {side: (projected("test", side) - zero) / scale for side in ("absent", "present")}
    name = f"head {layer}.{head}"
    records = pl.concat(
        pl.DataFrame({"scaled": values}).with_columns(
            pl.lit(name).alias("instruction"),
            pl.lit(layer).alias("layer"),
            pl.lit(side).alias("side"),
        )
        for side, values in sides.items()
    )
    tensors = {side: values.to_torch() for side, values in sides.items()}
    overlap = discrimination(tensors["present"], tensors["absent"]).overlap
    overlaps = pl.DataFrame({"instruction": [name], "layer": [layer], "value": [overlap.value]})
    return figures.projection_violins(records, overlaps)


def _written(shelf: Workspace, heads: Heads, layer: int, head: int) -> ist.SteeringVector:
    """What the head's direction adds to the residual stream."""
    direction = heads.found.vector.directions[0][layer, head].double()
    output = shelf.model.bridge.blocks[layer].attn.W_O[head].detach().double().cpu()
    added = einsum(direction, output, "d_head, d_head d_model -> d_model").float()
    card = replace(heads.found.vector.card, component="attn_out", name=f"head {layer}.{head}")
    return ist.SteeringVector(added[None], None, (layer,), card)
