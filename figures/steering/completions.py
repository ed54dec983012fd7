"""Write answers side by side as HTML: the same prompt, a column per setting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jinja2
import polars as pl

from figures.style import theme
from figures.style.drawing import require_columns

FINISH = {"length": "stopped at the token limit"}
"""Remark on an answer by the reason of its end."""

OPEN = 4
"""Number of prompts that are visible at first; the rest unfold."""

_TABLE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
{% for card in cards %}
{% if loop.index0 == open %}<details><summary>{{ cards|length - open }} more</summary>{% endif %}
<article class="card">
  <h4>{{ card.query }}</h4>
  <p class="asked">{{ card.instruction }}</p>
  <div class="answers">
  {% for a in card.answers %}
    <section style="--tone: {{ a.colour }}">
      <h5>{{ a.label }}</h5>
      <p class="marks">
        {%- if a.follows is not none %}<span class="{{ "yes" if a.follows else "no" }}">
          {{- "follows" if a.follows else "does not follow" }}</span>{% endif %}
        {%- if a.degenerate %} <span class="no">degenerate</span>{% endif %}
        {%- if a.finish %} <span>{{ a.finish }}</span>{% endif -%}
      </p>
      <blockquote>{{ a.text or "(no answer)" }}</blockquote>
      {% if a.applied %}<p class="applied">{{ a.applied }}</p>{% endif %}
    </section>
  {% endfor %}
  </div>
</article>
{% endfor %}
{% if cards|length > open %}</details>{% endif %}
"""
)


COLUMNS = (
    "instruction",
    "setting",
    "layer",
    "key",
    "query",
    "applied",
    "answer",
    "finish_reason",
    "degenerate",
)
"""Columns that records need for their answers to be shown, in addition to the outcome."""


def completions_table(
    records: pl.DataFrame, *, per_instruction: int = 1, outcome: str = "strict"
) -> str:
    """Write sample answers side by side, as HTML in which all text of the model is escaped.

    The prompts are the first of each instruction in the order of the records, whatever the answers
    were. Of a setting with several layers, schedules or strengths, the answers with most successes
    are shown (the first of equals), and their line names the intervention.

    Args:
        records: columns ``instruction``, ``setting``, ``layer``, ``key``, ``query``, ``applied``,
            ``answer``, ``finish_reason``, ``degenerate`` and ``outcome``.
        per_instruction: prompts per instruction.
        outcome: the column of success, such as ``strict`` or ``in_language``.

    Returns:
        A fragment: an ``article`` per prompt.

    Raises:
        FigureError: for records without these columns.
    """
    require_columns(records, (*COLUMNS, outcome), "completions_table")
    cards = []
    for name in records["instruction"].unique(maintain_order=True):
        rows = _best_rows(records.filter(pl.col("instruction") == name), outcome)
        for key in rows["key"].unique(maintain_order=True)[:per_instruction]:
            answers = rows.filter(pl.col("key") == key).unique("setting", maintain_order=True)
            by_setting = {row["setting"]: row for row in answers.iter_rows(named=True)}
            settings = theme.order_settings(list(by_setting))
            first = by_setting[settings[0]]
            cards.append(
                {
                    "query": first["query"],
                    "instruction": name,
                    "answers": list(_answer_cards(settings, by_setting, outcome)),
                }
            )
    return _TABLE.render(cards=cards, open=OPEN)


def _best_rows(rows: pl.DataFrame, outcome: str) -> pl.DataFrame:
    """Return the rows of each setting at the layer, schedule and strength with most successes."""
    varied = [name for name in ("layer", "schedule", "strength") if name in rows.columns]
    scored = (
        rows.group_by("setting", *varied, maintain_order=True)
        .agg(pl.col(outcome).cast(pl.Float64).mean().alias("share"))
        .sort(["share", "layer"], descending=[True, False], nulls_last=True, maintain_order=True)
        .unique("setting", keep="first", maintain_order=True)
        .select("setting", *varied)
    )
    return rows.join(
        scored, on=["setting", *varied], how="semi", nulls_equal=True, maintain_order="left"
    )


def _answer_cards(
    settings: Iterable[str], by_setting: dict[str, dict[str, Any]], outcome: str
) -> Iterable[dict[str, Any]]:
    for i, setting in enumerate(settings):
        row, style = by_setting[setting], theme.setting_style(setting, i)
        at = "" if row["layer"] is None else f", layer {row['layer']}"
        yield {
            "label": style.label + at,
            "colour": style.colour,
            "follows": row[outcome],
            "degenerate": row["degenerate"],
            "finish": FINISH.get(row["finish_reason"], ""),
            "text": row["answer"],
            "applied": "" if row["applied"] == "unsteered" else row["applied"],
        }
