"""The card of a steering vector: what it stands for, where it comes from, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from interp_steer.basis import UNPROCESSED
from interp_steer.errors import VectorError
from interp_steer.statistics import Interval


def _versions() -> dict[str, str]:
    found = {}
    for package in ("interp_steer", "torch", "transformers", "transformer_lens"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            found[package] = "uninstalled"
    return found


@dataclass(frozen=True)
class Reliability:
    """How sure a vector is at each of its layers; :func:`interp_steer.stability.assess` makes it.

    Example:
        >>> print(vector.card.reliability.at(5))  # doctest: +SKIP
        0.978 [0.967, 0.983]
    """

    layers: tuple[int, ...]
    n: int
    """Independent pairs, or groups of pairs that share a query."""
    cosine: tuple[float, ...]
    """With the vector that infinitely many such pairs would give, by a bootstrap of the pairs."""
    low: tuple[float, ...]
    """Lower end of its 95 % interval."""
    high: tuple[float, ...]
    """Its upper end."""
    split_half: tuple[float, ...]
    """The cosine that two vectors of as many pairs would have, from the cosines of halves."""
    p_value: tuple[float, ...]
    """Of the vector's length, when the sides of pairs are swapped at random; not corrected for the
    number of layers."""

    def __str__(self) -> str:
        """The least sure layer, in words."""
        _, _, worst = min(zip(self.low, self.cosine, self.layers, strict=True))
        return (
            f"cosine with the vector of all such pairs {self.at(worst)} at layer {worst}, the least"
        )

    def at(self, layer: int) -> Interval:
        """The cosine at a layer with its interval.

        Raises:
            VectorError: when the vector has no such layer.
        """
        if layer not in self.layers:
            raise VectorError(
                f"reliability is known at layers {', '.join(map(str, self.layers))} and not at "
                f"{layer}; use one of those"
            )
        row = self.layers.index(layer)
        ends = (self.cosine[row], self.low[row], self.high[row])
        return Interval(*ends, self.n, "bootstrap percentile 95%")


@dataclass(frozen=True)
class Card:
    """Where a vector comes from."""

    name: str
    """What it stands for; canonical lines call it so."""
    model: str
    """The name of the model that it was read from."""
    fingerprint: str
    """Of that model's weights."""
    n_layers: int
    d_model: int
    component: str
    """One of :data:`interp_steer.sites.COMPONENTS`."""
    position: str
    """``"last"``, an index, ``"all"`` or ``"generated"``: where it was read."""
    estimator: str
    """How it was computed, such as ``"difference_in_means"``."""
    n: int
    """The number of pairs that it was fitted on."""
    data_hash: str
    """The hash of the contrast set that it was fitted on."""
    revision: str | None = None
    """The revision of the model, where it has one."""
    versions: Mapping[str, str] = field(default_factory=_versions)
    """The packages that it was made with."""
    reliability: Reliability | None = None
    """How sure the vector is; None where it was not assessed."""
    basis: str = UNPROCESSED
    """The basis of the weights that it was read from (:mod:`interp_steer.basis`)."""

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Card:
        """The card from what :func:`dataclasses.asdict` and JSON made of one.

        Args:
            stored: fields by name; a file of an earlier version lacks those that came later.
        """
        found = dict(stored)
        if (sure := found.get("reliability")) is not None:
            listed: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in ((each.name, sure[each.name]) for each in fields(Reliability))
            }
            found["reliability"] = Reliability(**listed)
        return cls(**found)

    @property
    def whose(self) -> str:
        """The model with its sizes, for error messages."""
        return f"{self.model} ({self.n_layers} layers, d_model {self.d_model})"
