"""Draw answers as text, each token coloured by its projection on a direction."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from plotly.colors import sample_colorscale

from figures.style.drawing import Drawing, require_columns
from figures.style.token_text import Placed, light_scale, place_tokens, text_figure
from interp_steer.errors import FigureError


@dataclass(frozen=True)
class Shades:
    """Colour scale of projections: white in the middle, deeper with the distance to either side."""

    middle: float
    """Value that is drawn white, such as the mean of prompts without the property."""
    reach: float
    """Distance from the middle to either end of the scale."""

    @classmethod
    def over(cls, values: pl.Series, middle: float = 0.0, target: float | None = None) -> Shades:
        """Make shades that cover all values, and the target if there is one.

        Args:
            values: projections; undefined ones are left out.
            middle: the value that is drawn white.
            target: a value that the scale must cover.
        """
        known = values.drop_nulls().drop_nans().to_list()
        ends = [*known, middle if target is None else target]
        return cls(middle, max(abs(value - middle) for value in ends) or 1.0)

    def colour(self, value: float) -> str:
        """Return the CSS colour of a value; the colour of the scale's end for a value beyond it."""
        at = min(1.0, max(0.0, 0.5 + (value - self.middle) / (2 * self.reach)))
        return str(sample_colorscale(light_scale("diverging"), [at])[0])

    def gradient(self) -> str:
        """Return the whole scale as a CSS gradient, from its lower end to its upper end."""
        stops = [f"{colour} {100 * float(at):.4g}%" for at, colour in light_scale("diverging")]
        return f"linear-gradient(90deg, {', '.join(stops)})"

    def place(self, value: float) -> float:
        """Return the place of a value on the scale, from 0 to 1."""
        return 0.5 + (value - self.middle) / (2 * self.reach)


def projection_text(
    frame: pl.DataFrame, *, middle: float = 0.0, target: float | None = None, along: str
) -> Drawing:
    """Draw the text of answers, each token coloured by the projection at its position.

    Args:
        frame: columns ``answer_id``, ``step``, ``token`` and ``projection``, a row for each token
            of each answer.
        middle: the value that is drawn white, such as the mean of prompts without the property.
        target: the mean of prompts with the property, for the scale and the caption.
        along: the name of the direction, and the layer of the projections.

    Returns:
        The drawing; its caption gives the mean projection of each answer.

    Raises:
        FigureError: for a frame without these columns, with two tokens at one step of an answer, or
            undefined projections.

    Example:
        >>> rows = [("steered", 0, "a", 2.0), ("steered", 1, " castle", 4.0)]
        >>> columns = ["answer_id", "step", "token", "projection"]
        >>> steps = pl.DataFrame(rows, columns, orient="row")
        >>> projection_text(steps, middle=1.5, target=4.0, along="lowercase at layer 5").caption
        'Mean projection steered: 3.00 over 2 tokens. ...'
    """
    require_columns(frame, ("answer_id", "step", "token", "projection"), "projection_text")
    if frame.select("answer_id", "step").is_duplicated().any():
        raise FigureError("projection_text has several tokens at one step of an answer; give one.")
    if not frame["projection"].is_finite().fill_null(False).all():
        raise FigureError(
            "projection_text has tokens whose projection is undefined; leave these answers out."
        )
    shades = Shades.over(frame["projection"], middle, target)
    placed: list[Placed] = []
    starts: dict[int, str] = {}
    for (name,), rows in frame.group_by("answer_id", maintain_order=True):
        first = placed[-1].line + 2 if placed else 0
        starts[first] = str(name)
        placed += place_tokens(rows.sort("step").iter_rows(named=True), "projection", first)
    figure = text_figure(
        placed,
        starts,
        title="projection",
        low=shades.middle - shades.reach,
        high=shades.middle + shades.reach,
        scale="diverging",
        top=6,
    )
    means = frame.group_by("answer_id", maintain_order=True).agg(
        pl.col("projection").mean(), pl.len()
    )
    mean_texts = "; ".join(
        f"{name}: {mean:.2f} over {n} tokens" for name, mean, n in means.iter_rows()
    )
    white = f"White is {middle:.2f}"
    if target is not None:
        white += (
            f", the mean of prompts without the property; the mean of prompts with the property is "
            f"{target:.2f}"
        )
    return Drawing(
        figure,
        f"Mean projection {mean_texts}. Each token is coloured by the projection on {along} at its "
        f"position. {white}.",
    )
