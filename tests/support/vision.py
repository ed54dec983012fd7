"""Compute colours as people see them: dichromacies, CIELAB, and colour differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

DICHROMACIES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""Linear RGB to linear RGB at severity 1: Machado, Oliveira and Fernandes (2009), table 1."""

SIGHTS = ("full", *DICHROMACIES)

_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""Linear sRGB to XYZ (IEC 61966-2-1)."""

_WHITE = _TO_XYZ.sum(axis=1)


def linear(colour: str) -> Vector:
    """Return a ``#rrggbb`` colour as linear RGB in [0, 1]."""
    encoded = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lab(colour: str, sight: str = "full") -> Vector:
    """Return CIELAB (D65) of a colour as a person with this kind of sight sees it."""
    rgb = linear(colour)
    if sight != "full":
        rgb = np.clip(np.array(DICHROMACIES[sight]) @ rgb, 0, 1)
    ratio = _TO_XYZ @ rgb / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(first: Vector, second: Vector) -> float:
    """Compute the CIEDE2000 difference of CIELAB colours (CIE 142; Sharma, Wu and Dalal, 2005)."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = 0.0 if grey else (h2 - h1 + 180) % 360 - 180
    if turn == -180:
        turn = 180.0
    lightness, middle = (l1 + l2) / 2, (c1 + c2) / 2
    if grey:
        hue = h1 + h2
    elif abs(h1 - h2) <= 180:
        hue = (h1 + h2) / 2
    else:
        hue = ((h1 + h2 + 360) / 2) % 360
    t = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * middle, 1 + 0.015 * middle * t
    rotation = (
        -2
        * np.sqrt(middle**7 / (middle**7 + 25.0**7))
        * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    )
    parts = (
        (l2 - l1) / s_l,
        (c2 - c1) / s_c,
        2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2) / s_h,
    )
    squared = sum(part**2 for part in parts) + rotation * parts[1] * parts[2]
    return float(np.sqrt(max(squared, 0.0)))


def closest_pair(colours: Sequence[str], sight: str) -> tuple[float, str, str]:
    """Return the least difference between two colours, and these colours."""
    seen = {colour: lab(colour, sight) for colour in dict.fromkeys(colours)}
    names = list(seen)
    return min(
        (ciede2000(seen[one], seen[other]), one, other)
        for at, one in enumerate(names)
        for other in names[at + 1 :]
    )
