"""Measure all heads for a clickable map, and show the details of one head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl
from einops import einsum

import figures
import interp_steer as ist
from analyses.explorer.form import Source
from analyses.explorer.jobs import ExplorerError, Job
from analyses.explorer.views import TOP, ViewResult
from analyses.explorer.workspace import Workspace, make_label
from analyses.geometry.head_geometry_readings import PropertyHeads, read_heads
from figures.geometry.head_map import head_map
from figures.style.drawing import Drawing
from interp_steer.geometry import discrimination, head_projections, head_rows, vocabulary

QUANTITIES = {"auroc": "AUROC", "norm": "Length", "share": "Share"}
"""Quantities of the map, with their labels on the page: how well the head's output separates both
sides, the length of its direction, and its share of the last layer's direction."""

DRAWS = 100
"""Bootstrap draws of the pairs; fewer than in the analysis, because a user is waiting."""


@dataclass(frozen=True, eq=False)
class Heads:
    """The measurements of all heads for one property."""

    source: Source
    measurements: PropertyHeads
    table: pl.DataFrame
    """One row for each head."""

    def drawing(self, quantity: str) -> Drawing:
        """Return the map of one quantity.

        Raises:
            ExplorerError: for shares, if the model normalises the outputs of all heads together.
        """
        name = make_label(self.source.name)
        if quantity == "norm":
            return head_map(self.table.with_columns(pl.lit(0).alias("step")))
        named = self.table.with_columns(pl.lit(name).alias("panel"))
        if quantity == "auroc":
            return figures.head_values(named, "auroc", "AUROC", middle=0.5, reach=0.5)
        if self.measurements.shares.note:
            raise ExplorerError(self.measurements.shares.note)
        shares = named.drop("low", "high").rename({"share_low": "low", "share_high": "high"})
        return figures.head_values(shares, "share", "share", middle=0.0)


def measure_heads(workspace: Workspace, source: Source, job: Job) -> Iterator[None]:
    """Measure all heads on held-out prompts. The job's result is a :class:`Heads`."""
    pairs = workspace.get_pairs(source)
    job.report(f"Reading the heads of {len(pairs)} pairs")
    yield
    measurements = read_heads(workspace.model, pairs, DRAWS, workspace.fit_options.seed)
    table = measurements.heads(make_label(source.name))
    job.report("", Heads(source, measurements, table))


def show_head(
    workspace: Workspace, heads: Heads, layer: int, head: int, job: Job
) -> Iterator[None]:
    """Show one head: its numbers, both sides on its direction, and the tokens that it raises.

    The job's result is a :class:`~analyses.explorer.views.ViewResult`.
    """
    row = heads.table.filter((pl.col("layer") == layer) & (pl.col("head") == head))
    if row.is_empty():
        raise ExplorerError(f"The model has no head {layer}.{head}; click a head on the map.")
    numbers = row.row(0, named=True)
    facts = [
        ("head", f"{layer}.{head}"),
        ("length of the direction", f"{numbers['norm']:.3g}"),
        (
            "AUROC, held out",
            f"{numbers['auroc']:.2f} [{numbers['low']:.2f}, {numbers['high']:.2f}], along a random "
            f"direction {numbers['auroc_random']:.2f}",
        ),
    ]
    if numbers["share"] is not None:
        ends = f"[{numbers['share_low']:.1%}, {numbers['share_high']:.1%}]"
        facts.append(("share of the last layer's direction", f"{numbers['share']:.1%} {ends}"))
    job.report(f"Reading head {layer}.{head}")
    drawings = {"head_sides": _draw_sides(workspace, heads, layer, head)}
    yield
    if not heads.measurements.shares.note:  # with a note, all heads are normalised together
        tokens = vocabulary(workspace.model, _write_output(workspace, heads, layer, head), TOP)
        name = f"Head {layer}.{head}"
        drawings["head_raised"] = figures.layer_tokens(tokens, name, "raised")
        drawings["head_lowered"] = figures.layer_tokens(tokens, name, "lowered")
    job.report("", ViewResult(drawings, tuple(facts)))


def _draw_sides(workspace: Workspace, heads: Heads, layer: int, head: int) -> Drawing:
    """Draw test prompts with and without the property on the head's direction."""
    pairs = workspace.get_pairs(heads.source)
    directions = heads.measurements.vector.directions[0][layer : layer + 1]
    site = [ist.Site("z", layer)]

    def project(split: str, side: str) -> pl.Series:
        prompts = getattr(getattr(pairs, split), side)
        rows = head_rows(
            ist.capture.capture_moments(workspace.model, prompts, site, keep_rows=True)
        )
        return pl.Series(head_projections(rows, directions)[:, 0, head].numpy())

    zero, unit = (float(project("fit", side).to_numpy().mean()) for side in ("absent", "present"))
    scale = (unit - zero) or 1.0
    sides = {side: (project("test", side) - zero) / scale for side in ("absent", "present")}
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


def _write_output(workspace: Workspace, heads: Heads, layer: int, head: int) -> ist.SteeringVector:
    """Return the head's direction, multiplied by W_O, as a vector of the residual stream."""
    direction = heads.measurements.vector.directions[0][layer, head].double()
    output = workspace.model.bridge.blocks[layer].attn.W_O[head].detach().double().cpu()
    added = einsum(direction, output, "d_head, d_head d_model -> d_model").float()
    card = replace(
        heads.measurements.vector.card, component="attn_out", name=f"head {layer}.{head}"
    )
    return ist.SteeringVector(added[None], None, (layer,), card)
