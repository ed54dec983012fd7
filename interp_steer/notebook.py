"""Render vectors, contrast sets, runs and answers as HTML for notebooks.

Every function takes plain values and returns a fragment in which all text is escaped. Styles are
attributes of the elements, because notebooks differ in the style sheets that they allow. Texts have
the colour of the page, so that they can be read on dark pages too.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EXAMPLES = 3
"""The number of pairs of a contrast set that are shown."""

ROWS = 12
"""The numbers of a summary that are shown at once; the others are folded."""

LONGEST = 2000
"""The most letters of a text that are shown."""

_BLUE = "#0072b2"
_RULE = "1px solid rgba(128,128,128,.4)"
_SANS = "font:13px/1.45 'Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif"
_MONO = "font:12px/1.45 ui-monospace,Menlo,Consolas,'Liberation Mono',monospace"
_WRAP = "white-space:pre-wrap;overflow-wrap:anywhere"
_MUTED = "opacity:.7"

Prompt = str | Sequence[Mapping[str, str]]


def render_card(name: str, facts: Mapping[str, str]) -> str:
    """Return the card of a vector, without the vector.

    Args:
        name: the name of the vector.
        facts: the entries of the card by their heading.
    """
    return compose_card(name, "Card", facts)


def render_vector(
    name: str,
    facts: Mapping[str, str],
    layers: Sequence[int],
    norms: Sequence[float],
    targets: Sequence[float] | None = None,
) -> str:
    """Return the card of a steering vector, with its norm at each layer.

    Args:
        name: the name of the vector.
        facts: the entries of the card by their heading.
        layers: the layers of the vector.
        norms: the norm of the direction at each layer, in the units of the activations.
        targets: the mean projection at each layer of prompts with the property; None when not
            measured.
    """
    parts = [_bars("norm by layer", layers, norms)]
    if targets is not None:
        parts.append(_bars("target projection by layer", layers, targets))
    return compose_card(name, "SteeringVector", facts, *parts)


def render_stepped_vector(
    name: str,
    facts: Mapping[str, str],
    layers: Sequence[int],
    by_step: Sequence[float],
    by_layer: Sequence[float],
    running: Sequence[int],
) -> str:
    """Return the card of a vector of several steps, with its norm at each step and each layer.

    Args:
        name: the name of the vector.
        facts: the entries of the card by their heading.
        layers: the layers of the vector.
        by_step: the norm at each step, over all layers.
        by_layer: the norm at each layer, over all steps.
        running: the number of answers that were not finished at each step, on the side with fewer.
    """
    steps = range(len(by_step))
    facts = {"steps": str(len(by_step)), **facts}
    if len(running):
        facts["answers running"] = f"{running[0]} at step 0, {running[-1]} at step {steps[-1]}"
    return compose_card(
        name,
        "SteppedVector",
        facts,
        _bars("norm by step", steps, by_step),
        _bars("norm by layer", layers, by_layer),
    )


def render_pairs(
    name: str, digest: str, splits: Mapping[str, Sequence[tuple[Prompt, Prompt, str]]]
) -> str:
    """Return the card of a contrast set: the sizes of its splits, and its first pairs.

    Args:
        name: the property that the pairs differ in.
        digest: the set's hash.
        splits: the pairs of each split: the prompts without and with the property, and the
            phrasing of the property.
    """
    n = sum(map(len, splits.values()))
    counts = [
        (split, str(len(pairs)), str(len({phrasing for *_, phrasing in pairs})))
        for split, pairs in splits.items()
    ]
    every = [pair for pairs in splits.values() for pair in pairs]
    shown = [
        (_prompt_text(without), _prompt_text(with_it)) for without, with_it, _ in every[:EXAMPLES]
    ]
    more = f"The first {len(shown)} of {n} pairs." if n > len(shown) else ""
    return compose_card(
        name,
        f"ContrastSet, {n} {'pair' if n == 1 else 'pairs'}",
        {"hash": digest[:12]},
        render_table(("split", "pairs", "phrasings"), counts, numeric=(1, 2)),
        render_table(("without", "with"), shown, wrap=True),
        f'<div style="{_MUTED}">{more}</div>' if more else "",
    )


def render_completion(
    prompt: str, text: str, n_tokens: int, finish_reason: str, applied: str
) -> str:
    """Return the card of an answer: the intervention, the text, and the prompt, folded."""
    ends = {"stop": "ended by itself", "length": "cut at the limit", "settled": "settled early"}
    tokens = "1 token" if n_tokens == 1 else f"{n_tokens} tokens"
    return compose_card(
        "Completion",
        f"{tokens}, {ends.get(finish_reason, finish_reason)}",
        {},
        f'<div style="{_MONO};{_WRAP};{_MUTED}">{_escape(applied)}</div>',
        f'<div style="{_WRAP};margin:.5em 0">{_escape(text) or "(no answer)"}</div>',
        fold_details("prompt", f'<div style="{_MONO};{_WRAP}">{_escape(prompt)}</div>'),
    )


def compose_card(title: str, kind: str, facts: Mapping[str, Any], *parts: str) -> str:
    """Return a frame with a title, facts by name, and parts in HTML below them."""
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    listed = "".join(
        f'<div style="display:flex;gap:.8em"><span style="{_MUTED};flex:0 0 8.5em">{_escape(name)}'
        f'</span><span style="overflow-wrap:anywhere;min-width:0">{_escape(value)}</span></div>'
        for name, value in known.items()
    )
    return (
        f'<div style="{_SANS};border:{_RULE};border-radius:6px;padding:.7em 1em;max-width:46em;'
        'margin:.3em 0">'
        f'<div style="overflow-wrap:anywhere"><b>{_escape(title)}</b> '
        f'<span style="{_MUTED}">{_escape(kind)}</span></div>{listed}{"".join(parts)}</div>'
    )


def _bars(title: str, places: Iterable[Any], values: Sequence[float]) -> str:
    """Draw small bars on a line at zero, and write the smallest and the largest value."""
    known = [value if math.isfinite(value) else 0.0 for value in map(float, values)]
    places = [str(place) for place in places]
    if not known:
        return ""
    top, bottom = max(0.0, *known), min(0.0, *known)
    span = (top - bottom) or 1.0
    step = min(14.0, 420.0 / len(known))
    zero = 34 * top / span
    bars = "".join(
        f'<rect x="{at * step + 0.5:.1f}" y="{1 + min(zero, zero - 34 * value / span):.1f}" '
        f'width="{max(step - 1.5, 0.8):.1f}" height="{max(34 * abs(value) / span, 0.5):.1f}" '
        f'fill="{_BLUE}"><title>{_escape(place)}: {value:.4g}</title></rect>'
        for at, (place, value) in enumerate(zip(places, known, strict=True))
    )
    low, high = known.index(min(known)), known.index(max(known))
    extremes = f"{known[low]:.3g} at {places[low]}, {known[high]:.3g} at {places[high]}"
    wide = step * len(known) + 1
    return (
        f'<div style="margin:.5em 0 0"><span style="{_MUTED}">'
        f"{_escape(title)}: {_escape(extremes)}</span>"
        f'<br><svg width="{wide:.0f}" height="37" viewBox="0 0 {wide:.0f} 37" role="img" '
        f'aria-label="{_escape(title)}" style="max-width:100%">{bars}<line x1="0" '
        f'x2="{wide:.0f}" y1="{1 + zero:.1f}" y2="{1 + zero:.1f}" stroke="currentColor" '
        'stroke-opacity=".5"/></svg></div>'
    )


def render_table(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    wrap: bool = False,
) -> str:
    """Return a table.

    Args:
        header: the headings of the columns.
        lines: the texts of each line.
        numeric: the columns that are set on the right.
        wrap: whether texts keep their line breaks.
    """

    def cell(tag: str, at: int, text: str) -> str:
        side = "right" if at in numeric else "left"
        breaking = _WRAP if wrap else "overflow-wrap:anywhere"
        style = f"text-align:{side};vertical-align:top;padding:.2em .8em .2em 0;{breaking}"
        return f'<{tag} style="{style};border-bottom:{_RULE}">{_escape(text)}</{tag}>'

    head = "".join(cell("th", at, text) for at, text in enumerate(header))
    body = "".join(
        f"<tr>{''.join(cell('td', at, text) for at, text in enumerate(line))}</tr>"
        for line in lines
    )
    return (
        '<table style="border-collapse:collapse;margin:.5em 0;background:none">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def fold_details(summary: str, inner: str) -> str:
    """Return a part in HTML that unfolds when its summary is clicked."""
    return f"<details><summary>{_escape(summary)}</summary>{inner}</details>"


def _prompt_text(prompt: Prompt) -> str:
    """Return a prompt as text; a conversation with its roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{one.get('role', '')}: {one.get('content', '')}" for one in prompt)


def _escape(value: Any) -> str:
    """Escape a value for an HTML page; cut a very long text."""
    text = str(value)
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"
    # A model's answer can contain characters that HTML may not.
    printable = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in cut)
    return html.escape(printable)
