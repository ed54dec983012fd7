"""The card of a steering vector: what it stands for, where it comes from, and how sure it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from interp_steer import notebook
from interp_steer.errors import VectorError
from interp_steer.models.basis import UNPROCESSED
from interp_steer.statistics.intervals import Interval


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
    """How sure a vector is at each of its layers; :func:`interp_steer.vectors.trust.assessment.assess` makes it.

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

    @classmethod
    def read(cls, stored: Any) -> Reliability:
        """From what :func:`dataclasses.asdict` and JSON made of one.

        Raises:
            VectorError: for anything else.
        """
        names = [each.name for each in fields(cls)]
        if isinstance(stored, Mapping) and stored.keys() == set(names):
            rows: dict[str, Any] = {name: stored[name] for name in names if name != "n"}
            size = len(stored["layers"]) if isinstance(stored["layers"], Sequence) else 0
            if (
                size
                and type(stored["n"]) is int
                and all(isinstance(row, Sequence) and len(row) == size for row in rows.values())
                and all(type(number) in (int, float) for row in rows.values() for number in row)
            ):
                return cls(n=stored["n"], **{name: tuple(row) for name, row in rows.items()})
        raise VectorError("reliability of the card is damaged: numbers for each layer are lacking")

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
    """Where a vector comes from; printed, a dozen lines that say it.

    Example:
        >>> print(vector.card)  # doctest: +SKIP
        property   english_lowercase
        model      burattino-instruct (8 layers, d_model 160)
        ...
    """

    name: str
    """What it stands for; canonical lines call it so."""
    model: str
    """The name of the model that it was read from."""
    fingerprint: str
    """Of that model's weights."""
    n_layers: int
    d_model: int
    component: str
    """One of :data:`interp_steer.models.sites.COMPONENTS`."""
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
    """The basis of the weights that it was read from (:mod:`interp_steer.models.basis`)."""

    contrast: str | None = None
    """The name of the contrast set that it was fitted on; None where that was not recorded."""
    split: str | None = None
    """Which of that set's splits, of :data:`interp_steer.contrast.pair.SPLITS`; None where that was not
    recorded."""
    layers: tuple[int, ...] = field(default=(), compare=False)
    """The layers that it was read at. A vector writes its own here, so that what keeps some of them
    is still from where the card says."""

    def __str__(self) -> str:
        said = {"property": self.name, **self.facts()}
        width = max(map(len, said))
        # A card may be anyone's: what would move the cursor or break a line is shown as a mark.
        return "\n".join(
            f"{name:<{width}}  " + "".join(c if c.isprintable() else "\ufffd" for c in value)
            for name, value in said.items()
        )

    def _repr_html_(self) -> str:
        return notebook.render_card(self.name, self.facts())

    def facts(self) -> dict[str, str]:
        """What it is, where it was read and may act, how sure it is and what it was fitted on.

        Returns:
            Texts of a line each by what they say, in the order in which they are shown.
        """
        pairs = "1 pair" if self.n == 1 else f"{self.n} pairs"
        of = f"contrast set {self.contrast}" if self.contrast else "contrast set not recorded"
        made = [f"{package} {number}" for package, number in self.versions.items()]
        return {
            "model": self.whose,
            "revision": self.revision or "not recorded",
            "weights": self.fingerprint[:12] or "not recorded",
            "basis": self.basis,
            "read at": f"{self.component} of {self._layers()}, position {self.position}",
            "may act": f"at {self.component} of any layer, on these weights in this basis only",
            "estimator": self.estimator,
            "fitted on": f"{of}, split {self.split or 'not recorded'}",
            "data": self.data_hash[:12] or "not recorded",
            "pairs": f"{pairs} at each layer" if self.n else "not recorded",
            "how sure": f"{sure}, 95 % by bootstrap of {sure.n}"
            if (sure := self.reliability)
            else "not measured: ist.trust.fit does, for a difference in means at one position",
            "made with": ", ".join(made) or "not recorded",
        }

    def _layers(self) -> str:
        if not self.layers:
            return "layers not recorded"
        return f"layer{'s' * (len(self.layers) > 1)} {listed(self.layers)}"

    def joined(self, other: Card, sign: str) -> Card:
        """The card of a sum or a difference of two vectors of one model.

        Args:
            other: of the vector on the right.
            sign: ``"+"`` or ``"-"``.
        """
        sets = (self.contrast, other.contrast)
        hashes = f"{self.data_hash}{other.data_hash}"
        return replace(
            self,
            name=f"{self.name} {sign} {closed(other.name)}",
            estimator=self.estimator
            if self.estimator == other.estimator
            else f"{self.estimator} {sign} {other.estimator}",
            n=self.n + other.n,
            data_hash=hashlib.sha256(hashes.encode()).hexdigest(),
            contrast=None if None in sets else f" {sign} ".join(map(str, dict.fromkeys(sets))),
            split=self.split if self.split == other.split else None,
            reliability=None,
        )

    @classmethod
    def read(cls, stored: Any) -> Card:
        """The card from what :func:`dataclasses.asdict` and JSON made of one.

        Args:
            stored: fields by name; a file of an earlier version lacks those that came later.

        Raises:
            VectorError: for anything that is no card, or has fields that this version does not
                know.
        """
        if not isinstance(stored, Mapping):
            raise VectorError(f"the card is a {type(stored).__name__}, not fields by name")
        found = {"basis": UNPROCESSED, **stored}
        known = {each.name for each in fields(cls)}
        if more := sorted(map(str, found.keys() - known)):
            raise VectorError(
                f"the card has {', '.join(more)[:200]}, which this version of interp_steer does "
                "not know; read it with the version that wrote it"
            )
        for name, what in _TEXTS.items():
            if not isinstance(found.get(name), what):
                raise VectorError(f"{name} of the card is {found.get(name)!r:.80}, no text")
        for name, least in _COUNTS.items():
            count = found.get(name)
            if type(count) is not int or not least <= count < 2**31:
                raise VectorError(
                    f"{name} of the card is {count!r:.80}; it must be an integer of at least "
                    f"{least} and at most {2**31 - 1}"
                )
        versions = found.get("versions")
        if not isinstance(versions, Mapping) or not all(
            isinstance(text, str) for text in (*versions.keys(), *versions.values())
        ):
            raise VectorError("versions of the card are no texts by package")
        found["layers"] = layers_of(found.get("layers", ()))
        if (sure := found.get("reliability")) is not None:
            found["reliability"] = Reliability.read(sure)
        return cls(**found)

    @property
    def whose(self) -> str:
        """The model with its sizes, for error messages."""
        return f"{self.model} ({self.n_layers} layers, d_model {self.d_model})"


_TEXTS = {
    **dict.fromkeys(("name", "model", "fingerprint", "component"), str),
    **dict.fromkeys(("position", "estimator", "data_hash", "basis"), str),
    **dict.fromkeys(("revision", "contrast", "split"), (str, type(None))),
}
_COUNTS = {"n_layers": 1, "d_model": 1, "n": 0}
"""The least that each may be."""


def layers_of(stored: Any) -> tuple[int, ...]:
    """Layers from what JSON made of them.

    Raises:
        VectorError: for anything but integers.
    """
    if not isinstance(stored, Sequence) or not all(type(layer) is int for layer in stored):
        raise VectorError(f"the layers are {stored!r:.80}, no integers; make the file again")
    return tuple(stored)


def listed(layers: Sequence[int]) -> str:
    """Layers in words, a run of them by its ends."""
    whole = list(layers) == list(range(layers[0], layers[-1] + 1)) and len(layers) > 2
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))


def closed(name: str) -> str:
    """The name, in parentheses where it is a sum."""
    return f"({name})" if " " in name else name
