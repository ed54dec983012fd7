"""Draw the norm that a vector has in every head, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, list_words, percent, require_columns
from interp_steer.errors import FigureError

NAMED = 6
"""Most heads that the caption names."""


def head_map(norms: pl.DataFrame, steps: Sequence[int] | None = None) -> Drawing:
    """Draw the norm of a vector in every head of every layer: a map for some steps, and a map for
    the mean over all steps.

    Args:
        norms: columns ``layer``, ``head``, ``step`` and ``norm``, every head at every step (the
            length of ``D_i[l, h]``, paper B, section 2).
        steps: the steps that are drawn; by default the first, the middle and the last. The mean
            and the caption cover all steps.

    Returns:
        The drawing; its caption names the heads that hold half of the squared norm, and gives the
        correlation between the maps of two steps.

    Raises:
        FigureError: for a frame without these columns, heads that are missing or occur twice at
            a step, invalid norms, or steps that the frame does not have.

    Example::

        head_map(norms, steps=[0, 10, 29]).caption
    """
    require_columns(norms, ("layer", "head", "step", "norm"), "head_map")
    cube, layers, heads, known = _cube(norms)
    shown = _choose_steps(known, steps)
    mean = cube.mean(axis=0)
    maps = {"mean over steps": mean, **{f"step {step}": cube[known.index(step)] for step in shown}}
    if len(known) == 1:
        maps.pop("mean over steps")
    holding = _largest_heads(np.sqrt((cube**2).mean(axis=0)))
    figure = make_subplots(
        1, len(maps), shared_yaxes=True, subplot_titles=list(maps), horizontal_spacing=0.02
    )
    for column, (label, values) in enumerate(maps.items(), start=1):
        figure.add_trace(
            go.Heatmap(
                z=values,
                x=heads,
                y=layers,
                coloraxis="coloraxis",
                hovertemplate="layer %{y}, head %{x}: %{z:.3g}<extra>" + label + "</extra>",
            ),
            1,
            column,
        )
    figure.add_trace(_rings([(layers[at], heads[head]) for at, head in holding]), 1, 1)
    width = theme.TWO_COLUMNS if len(maps) > 2 else theme.ONE_COLUMN
    theme.figure(width, 116 + min(220, max(90, 14 * len(layers))), figure)
    figure.update_layout(
        margin={"t": 28, "b": 62, "r": 66},
        showlegend=True,
        legend={"y": 0.0, "yanchor": "bottom"},
        coloraxis={
            "colorscale": theme.scale("sequential"),
            "cmin": 0,
            "cmax": float(max(values.max() for values in maps.values())),
            "colorbar": {
                "title": {"text": "norm", "side": "right", "font": {"size": 11}},
                "tickfont": {"size": theme.SMALL},
                "thickness": 10,
                "outlinewidth": 0,
                "nticks": 5,
            },
        },
    )
    figure.update_annotations(font_size=12, yshift=1)
    plain = {"ticks": "", "showgrid": False, "showline": False}
    figure.update_xaxes(
        **plain, title_text="head", tickvals=_ticks(heads), range=[heads[0] - 0.5, heads[-1] + 0.5]
    )
    figure.update_yaxes(**plain, tickvals=_ticks(layers), range=[layers[0] - 0.5, layers[-1] + 0.5])
    figure.update_yaxes(title_text="layer", col=1)
    return Drawing(figure, _caption(cube, layers, heads, known, holding))


def _cube(norms: pl.DataFrame) -> tuple[np.ndarray, list[int], list[int], list[int]]:
    """Return the norms as ``[step, layer, head]``, and the layers, heads and steps of the axes."""
    axes = [sorted(norms[name].unique().to_list()) for name in ("step", "layer", "head")]
    expected = int(np.prod([len(axis) for axis in axes]))
    distinct = norms.select("step", "layer", "head").n_unique()
    if not expected == distinct == len(norms):
        raise FigureError(
            f"head_map takes one norm for each head, layer and step, and the frame has "
            f"{len(norms)} rows, {distinct} of them distinct, for {len(axes[0])} steps, "
            f"{len(axes[1])} layers and {len(axes[2])} heads; give {expected}."
        )
    values = norms.sort("step", "layer", "head")["norm"].to_numpy().astype(float)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() == 0:
        raise FigureError(
            f"head_map takes norms, at least one above zero; the frame has {np.nanmin(values):.3g} "
            f"to {np.nanmax(values):.3g} and {int((~np.isfinite(values)).sum())} undefined ones."
        )
    steps, layers, heads = axes
    return values.reshape(len(steps), len(layers), len(heads)), layers, heads, steps


def _choose_steps(known: Sequence[int], steps: Sequence[int] | None) -> list[int]:
    if steps is None:
        return sorted({known[0], known[len(known) // 2], known[-1]})
    missing = [step for step in steps if step not in known]
    if missing or not steps:
        raise FigureError(
            f"head_map has steps {known[0]} to {known[-1]} and was asked for {list(steps)}; choose "
            "some of its steps."
        )
    return list(steps)


def _largest_heads(norms: np.ndarray) -> list[tuple[int, int]]:
    """Find the fewest heads that hold half of the squared norm, largest first, as layer and
    head."""
    squares = norms.ravel() ** 2
    order = np.argsort(-squares, kind="stable")
    n = int(np.searchsorted(np.cumsum(squares[order]), 0.5 * squares.sum())) + 1
    return [divmod(int(at), norms.shape[1]) for at in order[:n]]


def _rings(heads: Sequence[tuple[int, int]]) -> go.Scatter:
    return go.Scatter(
        x=[head for _, head in heads],
        y=[layer for layer, _ in heads],
        mode="markers",
        marker={"symbol": "circle-open", "size": 5, "color": theme.ORANGE, "line": {"width": 1.2}},
        name="half of the squared norm lies here",
        meta=NO_ESTIMATE,
        hoverinfo="skip",
    )


def _ticks(values: Sequence[int]) -> list[int]:
    step = max(1, -(-len(values) // 6))
    return list(values[::step])


def _caption(
    cube: np.ndarray,
    layers: Sequence[int],
    heads: Sequence[int],
    steps: Sequence[int],
    holding: Sequence[tuple[int, int]],
) -> str:
    named = [f"{layers[at]}.{heads[head]}" for at, head in holding[:NAMED]]
    more = len(holding) - len(named)
    which = f"{', '.join(named)} and {more} more" if more else list_words(named)
    n = cube[0].size
    text = (
        f"Half of the squared norm lies in {len(holding)} of {n} heads "
        f"({percent(len(holding) / n)}; layer.head {which})"
    )
    whole = np.sqrt((cube**2).sum(axis=(1, 2)))
    if len(steps) > 1:
        text += (
            f"; the whole vector's norm goes from {whole[0]:.3g} at step {steps[0]} to "
            f"{whole[-1]:.3g} at step {steps[-1]}"
        )
    alike = _step_correlations(cube)
    if alike is not None:
        text += (
            f", and the correlation between the maps of two steps is {alike[0]:.2f} in the mean "
            f"and at least {alike[1]:.2f}"
        )
    return f"{text}. Norm of the vector in each head of each layer; all maps share one scale."


def _step_correlations(cube: np.ndarray) -> tuple[float, float] | None:
    """Compute the mean and the least correlation between the maps of two steps; None where fewer
    than two maps vary."""
    maps = [step.ravel() for step in cube if step.std() > 0]
    pairs = [float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(maps, 2)]
    return (float(np.mean(pairs)), min(pairs)) if pairs else None
