"""Draw the result of steering at each layer and strength, as a map."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, require_columns
from interp_steer.errors import FigureError

WRITTEN = 80
"""Greatest number of cells that have room for their numbers."""


def dose_map(
    frame: pl.DataFrame,
    title: str,
    *,
    unit: str = "",
    chosen: tuple[int, float] | None = None,
    share: bool = True,
    plain: float | None = None,
) -> Drawing:
    """Draw a number at each layer and strength of a sweep.

    Args:
        frame: columns ``layer``, ``strength``, ``value``, ``low``, ``high`` (ends of its interval)
            and ``n`` (answers), a row for each measured cell; missing cells stay empty, so that a
            sweep can be drawn while it runs.
        title: title of the number.
        unit: unit of the strength.
        chosen: the layer and strength of the cell with a frame.
        share: whether the number is a share; the scale goes from 0 to 1 for a share, and to the
            largest number otherwise.
        plain: the number without steering, for the caption.

    Returns:
        The drawing; its caption names the cell with the largest number, with its interval.

    Raises:
        FigureError: for a frame without these columns, cells that occur twice, or undefined
            values.

    Example:
        >>> columns = ["layer", "strength", "value", "low", "high", "n"]
        >>> rows = [(2, 1.0, 0.5, 0.3, 0.7, 24), (4, 1.0, 0.75, 0.5, 0.9, 24)]
        >>> cells = pl.DataFrame(rows, columns, orient="row")
        >>> dose_map(cells, "follow the instruction", unit="norm", chosen=(4, 1.0)).caption
        'Largest at layer 4, strength 1 norm: 75% [50%, 90%]. ...'
    """
    require_columns(frame, ("layer", "strength", "value", "low", "high", "n"), "dose_map")
    if frame.select("layer", "strength").is_duplicated().any():
        raise FigureError("dose_map has cells that occur twice; give one row for each cell.")
    if not pl.Series(frame["value"]).cast(pl.Float64).is_finite().fill_null(False).all():
        raise FigureError("dose_map has cells whose value is undefined; leave them out.")
    layers = sorted(frame["layer"].unique().to_list())
    strengths = sorted(frame["strength"].unique().to_list())
    cells = {(row["layer"], row["strength"]): row for row in frame.iter_rows(named=True)}
    written = ".0%" if share else ".2f"
    figure = theme.figure(theme.TWO_COLUMNS, 70 + 26 * len(layers))
    figure.add_trace(
        go.Heatmap(
            z=[[_value(cells.get((layer, s)), "value") for s in strengths] for layer in layers],
            customdata=[
                [
                    [s, *(_value(cells.get((layer, s)), name) for name in ("low", "high"))]
                    for s in strengths
                ]
                for layer in layers
            ],
            x=list(range(len(strengths))),
            y=layers,
            zmin=0,
            zmax=1 if share else float(frame["value"].to_numpy().max()) or 1.0,
            colorscale=theme.scale("sequential"),
            xgap=2,
            ygap=2,
            texttemplate=f"%{{z:{written}}}" if len(layers) * len(strengths) <= WRITTEN else None,
            textfont={"size": theme.SMALL},
            colorbar={
                "title": {"text": title, "side": "right"},
                "tickformat": ".0%" if share else None,
            },
            hovertemplate=(
                f"layer %{{y}}, strength %{{customdata[0]}} {unit}: %{{z:{written}}} "
                f"[%{{customdata[1]:{written}}}, %{{customdata[2]:{written}}}]<extra></extra>"
            ),
        )
    )
    if chosen is not None and chosen[0] in layers and chosen[1] in strengths:
        x, y = strengths.index(chosen[1]), chosen[0]
        frame_line = {"color": theme.VERMILLION, "width": 2.5}
        figure.add_shape(
            type="rect", x0=x - 0.47, x1=x + 0.47, y0=y - 0.45, y1=y + 0.45, line=frame_line
        )
    figure.update_layout(margin={"t": 10, "b": 48})
    bare = {"ticks": "", "showgrid": False, "showline": False}
    figure.update_xaxes(
        **bare,
        title_text=f"strength ({unit})" if unit else "strength",
        tickvals=list(range(len(strengths))),
        ticktext=[f"{strength:g}" for strength in strengths],
        range=[-0.5, len(strengths) - 0.5],
    )
    figure.update_yaxes(
        **bare, title_text="layer", tickvals=layers, range=[layers[0] - 0.5, layers[-1] + 0.5]
    )
    return Drawing(figure, _caption(frame, title, unit, share, plain))


def _value(cell: dict | None, name: str) -> float | None:
    return None if cell is None else cell[name]


def _caption(frame: pl.DataFrame, title: str, unit: str, share: bool, plain: float | None) -> str:
    written = ".0%" if share else ".2f"
    best = frame.sort("value", "layer", "strength", descending=[True, False, False]).row(
        0, named=True
    )
    least, most = int(frame["n"].to_numpy().min()), int(frame["n"].to_numpy().max())
    ends = "" if best["low"] is None else f" [{best['low']:{written}}, {best['high']:{written}}]"
    beside = "" if plain is None else f", {plain:{written}} without steering"
    return (
        f"Largest at layer {best['layer']}, strength {best['strength']:g}{' ' * bool(unit)}{unit}: "
        f"{best['value']:{written}}{ends}{beside}. {title.capitalize()} at each layer and "
        f"strength, {least if least == most else f'{least} to {most}'} answers a cell."
    )
