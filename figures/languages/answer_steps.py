"""Draw one answer step by step: the strength of steering, and the change of the prediction."""

from __future__ import annotations

import html

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, require_columns


def answer_steps(frame: pl.DataFrame) -> Drawing:
    """Draw the strength of each property, and the divergence of the prediction, at each step of one
    answer.

    See `step_curves` for means over many answers; a single answer has no interval.

    Args:
        frame: columns ``step``, ``token``, ``property``, ``strength`` and ``kl`` (nats, from the
            unsteered to the steered prediction; the same for every property of a step).

    Returns:
        The drawing; its caption gives the step where the prediction changes most.

    Raises:
        FigureError: for a frame without these columns.

    Example:
        >>> rows = [(0, "La", "it", 2.0, 1.5), (1, " torre", "it", 0.5, 0.1)]
        >>> columns = ["step", "token", "property", "strength", "kl"]
        >>> answer_steps(pl.DataFrame(rows, columns, orient="row")).caption
        "The prediction changes most at step 0 ('La', 1.50 nats); ..."
    """
    require_columns(frame, ("step", "token", "property", "strength", "kl"), "answer_steps")
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.09)
    names = frame["property"].unique(maintain_order=True).to_list()
    for at, name in enumerate(names):
        rows = frame.filter(pl.col("property") == name).sort("step")
        colour = theme.QUALITATIVE[at % len(theme.QUALITATIVE)]
        figure.add_trace(
            go.Scatter(
                x=rows["step"].to_list(),
                y=rows["strength"].to_list(),
                customdata=_tokens(rows),
                mode="lines",
                line={"color": colour, "width": 1.8, "shape": "hv"},
                name=html.escape(name, quote=False),
                meta=NO_ESTIMATE,
                hovertemplate="step %{x}, %{customdata}: strength %{y:.3g}<extra></extra>",
            ),
            row=1,
            col=1,
        )
    once = frame.unique("step", keep="first").sort("step")
    figure.add_trace(
        go.Bar(
            x=once["step"].to_list(),
            y=once["kl"].to_list(),
            customdata=_tokens(once),
            marker={"color": theme.GREY, "line": {"width": 0}},
            showlegend=False,
            meta=NO_ESTIMATE,
            hovertemplate="step %{x}, %{customdata}: %{y:.3g} nats<extra></extra>",
        ),
        row=2,
        col=1,
    )
    several = len(names) > 1
    theme.figure(theme.TWO_COLUMNS, 250 + 18 * several, figure)
    figure.update_layout(margin={"t": 10 + 20 * several, "b": 44}, bargap=0.15, showlegend=several)
    last = int(frame["step"].to_numpy().max())
    figure.update_xaxes(range=[-0.7, last + 0.7])
    figure.update_xaxes(title_text="step of the answer", row=2)
    figure.update_yaxes(title_text="strength", row=1, nticks=4, rangemode="tozero")
    figure.update_yaxes(title_text="KL (nats)", row=2, nticks=4, rangemode="tozero")
    top = once.sort("kl", descending=True).row(0, named=True)
    return Drawing(
        figure,
        f"The prediction changes most at step {top['step']} ({_token_name(top['token'])}, "
        f"{top['kl']:.2f} nats); the mean over {len(once)} tokens is "
        f"{once['kl'].to_numpy().mean():.2f} nats. Strength of the steering at each step of one "
        "answer, and divergence of the steered from the unsteered prediction.",
    )


def _token_name(token: str) -> str:
    """Return the name of a token for the caption; the token that ends an answer has no text."""
    return repr(token.strip()) if token.strip() else "white space" if token else "the end"


def _tokens(rows: pl.DataFrame) -> list[str]:
    return [html.escape(str(token), quote=False) for token in rows["token"]]
