"""What notebooks show of vectors, contrast sets, runs and answers: HTML of their own values.

Every function takes plain values and returns a fragment in which all text is escaped, whatever a
prompt or a name holds. Styles stand in the elements, since notebooks differ in what they keep, and
take the colours of the page, so that they read on dark ones too.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EXAMPLES = 3
"""Pairs of a contrast set that are shown."""

ROWS = 12
"""Numbers of a summary in sight; the rest unfold."""

LONGEST = 2000
"""Letters of a text that are shown."""

_BLUE = "#0072b2"
_RULE = "1px solid rgba(128,128,128,.4)"
_SANS = "font:13px/1.45 'Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif"
_MONO = "font:12px/1.45 ui-monospace,Menlo,Consolas,'Liberation Mono',monospace"
_WRAP = "white-space:pre-wrap;overflow-wrap:anywhere"
_MUTED = "opacity:.7"

Prompt = str | Sequence[Mapping[str, str]]


def bare_card(name: str, facts: Mapping[str, str]) -> str:
    """The card of a vector, without the vector.

    Args:
        name: of the vector.
        facts: what the card says, by what it is about.
    """
    return _card(name, "Card", facts)


def vector_card(
    name: str,
    facts: Mapping[str, str],
    layers: Sequence[int],
    norms: Sequence[float],
    targets: Sequence[float] | None = None,
) -> str:
    """The card of a steering vector, with its norm at each layer.

    Args:
        name: of the vector.
        facts: what its card says, by what it is about.
        layers: that it was read at.
        norms: of its direction at each, in the units of the activations.
        targets: the mean projection of prompts with the property at each; None when not measured.
    """
    parts = [_bars("norm by layer", layers, norms)]
    if targets is not None:
        parts.append(_bars("target projection by layer", layers, targets))
    return _card(name, "SteeringVector", facts, *parts)


def stepped_card(
    name: str,
    facts: Mapping[str, str],
    layers: Sequence[int],
    by_step: Sequence[float],
    by_layer: Sequence[float],
    running: Sequence[int],
) -> str:
    """The card of a vector of several steps, with its norm at each step and each layer.

    Args:
        name: of the vector.
        facts: what its card says, by what it is about.
        layers: that it was read at.
        by_step: the norm at each step, over all layers.
        by_layer: the norm at each layer, over all steps.
        running: at each step the answers that were still running, of the side with fewer.
    """
    steps = range(len(by_step))
    facts = {"steps": str(len(by_step)), **facts}
    if len(running):
        facts["answers running"] = f"{running[0]} at step 0, {running[-1]} at step {steps[-1]}"
    return _card(
        name,
        "SteppedVector",
        facts,
        _bars("norm by step", steps, by_step),
        _bars("norm by layer", layers, by_layer),
    )


def pairs_card(
    name: str, digest: str, splits: Mapping[str, Sequence[tuple[Prompt, Prompt, str]]]
) -> str:
    """A contrast set: how large its splits are, and its first pairs side by side.

    Args:
        name: what the pairs differ in.
        digest: the set's hash.
        splits: of each the prompts without the property and with it, and how it was said.
    """
    n = sum(map(len, splits.values()))
    counts = [
        (split, str(len(pairs)), str(len({said for *_, said in pairs})))
        for split, pairs in splits.items()
    ]
    every = [pair for pairs in splits.values() for pair in pairs]
    shown = [(_said(without), _said(with_it)) for without, with_it, _ in every[:EXAMPLES]]
    more = f"The first {len(shown)} of {n} pairs." if n > len(shown) else ""
    return _card(
        name,
        f"ContrastSet, {n} {'pair' if n == 1 else 'pairs'}",
        {"hash": digest[:12]},
        _table(("split", "pairs", "phrasings"), counts, numeric=(1, 2)),
        _table(("without", "with"), shown, wrap=True),
        f'<div style="{_MUTED}">{more}</div>' if more else "",
    )


def completion_card(prompt: str, text: str, n_tokens: int, finish_reason: str, applied: str) -> str:
    """An answer: what shaped it, the text, and the prompt that the model read, folded."""
    ends = {"stop": "ended by itself", "length": "cut at the limit", "settled": "settled early"}
    tokens = "1 token" if n_tokens == 1 else f"{n_tokens} tokens"
    return _card(
        "Completion",
        f"{tokens}, {ends.get(finish_reason, finish_reason)}",
        {},
        f'<div style="{_MONO};{_WRAP};{_MUTED}">{_text(applied)}</div>',
        f'<div style="{_WRAP};margin:.5em 0">{_text(text) or "(no answer)"}</div>',
        _folded("prompt", f'<div style="{_MONO};{_WRAP}">{_text(prompt)}</div>'),
    )


def _card(title: str, kind: str, facts: Mapping[str, Any], *parts: str) -> str:
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    listed = "".join(
        f'<div style="display:flex;gap:.8em"><span style="{_MUTED};flex:0 0 8.5em">{_text(name)}'
        f'</span><span style="overflow-wrap:anywhere;min-width:0">{_text(value)}</span></div>'
        for name, value in known.items()
    )
    return (
        f'<div style="{_SANS};border:{_RULE};border-radius:6px;padding:.7em 1em;max-width:46em;'
        'margin:.3em 0">'
        f'<div style="overflow-wrap:anywhere"><b>{_text(title)}</b> '
        f'<span style="{_MUTED}">{_text(kind)}</span></div>{listed}{"".join(parts)}</div>'
    )


def _bars(title: str, places: Iterable[Any], values: Sequence[float]) -> str:
    """Small bars on a line at zero, the smallest and the largest value said in words."""
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
        f'fill="{_BLUE}"><title>{_text(place)}: {value:.4g}</title></rect>'
        for at, (place, value) in enumerate(zip(places, known, strict=True))
    )
    low, high = known.index(min(known)), known.index(max(known))
    said = f"{known[low]:.3g} at {places[low]}, {known[high]:.3g} at {places[high]}"
    wide = step * len(known) + 1
    return (
        f'<div style="margin:.5em 0 0"><span style="{_MUTED}">{_text(title)}: {_text(said)}</span>'
        f'<br><svg width="{wide:.0f}" height="37" viewBox="0 0 {wide:.0f} 37" role="img" '
        f'aria-label="{_text(title)}" style="max-width:100%">{bars}<line x1="0" '
        f'x2="{wide:.0f}" y1="{1 + zero:.1f}" y2="{1 + zero:.1f}" stroke="currentColor" '
        'stroke-opacity=".5"/></svg></div>'
    )


def _table(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    wrap: bool = False,
) -> str:
    def cell(tag: str, at: int, text: str) -> str:
        side = "right" if at in numeric else "left"
        kept = _WRAP if wrap else "overflow-wrap:anywhere"
        style = f"text-align:{side};vertical-align:top;padding:.2em .8em .2em 0;{kept}"
        return f'<{tag} style="{style};border-bottom:{_RULE}">{_text(text)}</{tag}>'

    head = "".join(cell("th", at, text) for at, text in enumerate(header))
    body = "".join(
        f"<tr>{''.join(cell('td', at, text) for at, text in enumerate(line))}</tr>"
        for line in lines
    )
    return (
        '<table style="border-collapse:collapse;margin:.5em 0;background:none">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _folded(summary: str, inner: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{inner}</details>"


def _said(prompt: Prompt) -> str:
    """A prompt as it is read: of a conversation every message under its role."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{one.get('role', '')}: {one.get('content', '')}" for one in prompt)


def _text(value: Any) -> str:
    """A value as text of an HTML page, cut where it is very long."""
    text = str(value)
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"
    # Characters that no HTML may hold, which an answer of a model can.
    kept = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in cut)
    return html.escape(kept)
