"""Name and colour settings, schedules and languages of language steering."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from figures.style import theme
from figures.style.theme import Style

LANGUAGES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French",
    "it": "Italian", "ja": "Japanese", "nl": "Dutch", "pt": "Portuguese", "ru": "Russian",
    "zh": "Chinese",
}  # fmt: skip
"""Names of languages by ISO 639-1 code; any other code is its own name."""

SETTINGS = {
    "none": "unsteered",
    "original": "original",
    "random": "random direction",
    "instruction": "in-context",
    "asked": "asked in the language",
}
"""Labels of settings in comparisons of languages, where they differ from `theme.SETTINGS`."""

ORIGINAL = ("original", "none")
"""Baselines of settings: the first of these that the records have is used."""

SCHEDULES = {
    "start": Style("start", theme.SKY, "triangle-up", "/"),
    "fixed": Style("fixed", theme.BLUE, "circle"),
    "diminishing": Style("diminishing", theme.GREEN, "square", "."),
    "exponential": Style("exponential", theme.WINE, "star", "x"),
    "dynamic": Style("dynamic", theme.VERMILLION, "diamond", "\\"),
}
"""Kinds of schedule, in the order in which they are drawn."""


def language_name(code: str) -> str:
    """Return the name of a language by its code, as "Italian" for "it"."""
    return LANGUAGES.get(code, code)


def setting_look(setting: str, index: int = 0) -> Style:
    """Return the style of a setting in a comparison of languages. The original model has the style
    of the unsteered model."""
    style = theme.setting_style("none" if setting == "original" else setting, index)
    return replace(style, label=SETTINGS.get(setting, style.label))


def setting_looks(settings: Iterable[str]) -> dict[str, Style]:
    """Return the styles of the settings of one figure, in drawing order. No two settings that are
    missing in `theme.SETTINGS` look alike."""
    names = sorted(dict.fromkeys(settings), key=_place)
    own = [name for name in names if _place(name) == _place("")]
    looks = {}
    for name in names:
        at = own.index(name) if name in own else 0
        look = setting_look(name, at)
        symbol = theme.SYMBOLS[at % len(theme.SYMBOLS)] if name in own else look.symbol
        looks[name] = replace(look, symbol=symbol)
    return looks


def kind_of(schedule: str) -> tuple[str, str]:
    """Split a schedule into its kind and the text in its brackets, as ("dynamic", "0.5")."""
    match = re.fullmatch(r"([a-z]+)\((.*)\)", schedule)
    return (match[1], match[2]) if match else (schedule, "")


def schedule_looks(schedules: Sequence[str]) -> dict[str, Style]:
    """Return the styles of the schedules of one figure, in drawing order.

    Schedules of one kind share its colour, in lighter and lighter shades, and their labels give the
    text in their brackets; the label of the only schedule of a kind is the kind.
    """
    kinds = list(SCHEDULES)
    known = sorted(
        dict.fromkeys(schedules),
        key=lambda name: kinds.index(k) if (k := kind_of(name)[0]) in kinds else len(kinds),
    )
    looks: dict[str, Style] = {}
    for name in known:
        kind, inside = kind_of(name)
        alike = [other for other in known if kind_of(other)[0] == kind]
        style = SCHEDULES.get(kind) or theme.setting_style(kind, known.index(name))
        colour = _lighten(style.colour, 0.55 * alike.index(name) / max(1, len(alike) - 1))
        label = kind if len(alike) == 1 else f"{kind} {inside}".strip()
        looks[name] = replace(style, label=label, colour=colour)
    return looks


def looks_of(names: Sequence[str]) -> dict[str, Style]:
    """Return the styles of the settings and schedules of one figure, in drawing order.

    A schedule has its style of `SCHEDULES`, and a setting that of `theme.setting_style`.
    """
    schedules = schedule_looks([name for name in names if kind_of(name)[0] in SCHEDULES])
    settings = theme.order_settings([name for name in names if name not in schedules])
    known = {name: theme.setting_style(name, at) for at, name in enumerate(settings)}
    own = {name: known.pop(name) for name in settings if name not in theme.SETTINGS}
    return {**known, **schedules, **own}


def _place(setting: str) -> int:
    """Return the place of a setting in the order: original, then `theme.SETTINGS`, then others."""
    known = ["original", *theme.SETTINGS]
    return known.index(setting) if setting in known else len(known)


def _lighten(colour: str, share: float) -> str:
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (255 - part)):02x}" for part in parts)
