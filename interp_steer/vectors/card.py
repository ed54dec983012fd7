"""Record what a steering vector stands for, where it was read and how reliable it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from interp_steer import notebook
from interp_steer.errors import VectorError
from interp_steer.models.basis import UNPROCESSED
from interp_steer.models.identity import FLAT_KEYS, ModelIdentity
from interp_steer.statistics.intervals import Interval


def _list_versions() -> dict[str, str]:
    versions = {}
    for package in ("interp_steer", "torch", "transformers", "transformer_lens"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            versions[package] = "uninstalled"
    return versions


@dataclass(frozen=True)
class Reliability:
    """The reliability of a vector at each of its layers.

    Made by :func:`interp_steer.vectors.trust.assess`.

    Example:
        >>> 0.5 < vector.card.reliability.at(5).value < 1
        True
    """

    layers: tuple[int, ...]
    """The layers of the vector."""
    n: int
    """The number of independent pairs, or of groups of pairs that share a query."""
    cosine: tuple[float, ...]
    """The cosine with the vector of infinitely many such pairs, by a bootstrap of the pairs."""
    low: tuple[float, ...]
    """The lower end of the cosine's 95 % interval."""
    high: tuple[float, ...]
    """The upper end of that interval."""
    split_half: tuple[float, ...]
    """The expected cosine of two vectors of as many pairs, extrapolated from halves of the
    pairs."""
    p_value: tuple[float, ...]
    """The p-value of the vector's length when the sides of pairs are swapped at random, without a
    correction for the number of layers."""

    @classmethod
    def read(cls, stored: Any) -> Reliability:
        """Read a reliability from what :func:`dataclasses.asdict` and JSON made of it.

        Raises:
            VectorError: for anything else.
        """
        names = [entry.name for entry in fields(cls)]
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
        raise VectorError("reliability of the card is damaged: numbers for some layers are missing")

    def __str__(self) -> str:
        """Describe the layer with the lowest end of the interval."""
        _, _, worst = min(zip(self.low, self.cosine, self.layers, strict=True))
        return (
            f"cosine with the vector of all such pairs {self.at(worst)} at layer {worst}, the least"
        )

    def at(self, layer: int) -> Interval:
        """Return the cosine at a layer with its interval.

        Raises:
            VectorError: for a layer that the vector does not have.
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
    """The provenance of a vector; printed, it is about a dozen lines of text.

    Example:
        >>> print(vector.card)
        property   title
        model      burattino-instruct (8 layers, d_model 160)
        ...
    """

    name: str
    """The property that the vector stands for; its name in canonical lines."""
    identity: ModelIdentity
    """The model that the vector was read from."""
    component: str
    """The component, one of :data:`interp_steer.models.sites.COMPONENTS`."""
    position: str
    """The position that was read: ``"last"``, an index, ``"all"`` or ``"generated"``."""
    estimator: str
    """The estimator, such as ``"difference_in_means"``."""
    n: int
    """The number of pairs that the vector was fitted on."""
    data_hash: str
    """The hash of the contrast set that the vector was fitted on."""
    versions: Mapping[str, str] = field(default_factory=_list_versions)
    """The versions of the packages that made the vector."""
    reliability: Reliability | None = None
    """The reliability of the vector; None where it was not assessed."""
    contrast: str | None = None
    """The name of the contrast set that the vector was fitted on; None where not recorded."""
    split: str | None = None
    """The split of that set, one of :data:`interp_steer.contrast.pair.SPLITS`; None where not
    recorded."""
    layers: tuple[int, ...] = field(default=(), compare=False)
    """The layers that the vector was read at. A vector writes its own layers here, so the card of a
    vector that keeps some of the layers is correct."""

    @property
    def model(self) -> str:
        """Return the name of the model that the vector was read from."""
        return self.identity.name

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the model's weights."""
        return self.identity.fingerprint

    @property
    def n_layers(self) -> int:
        """Return the number of layers of the model."""
        return self.identity.n_layers

    @property
    def d_model(self) -> int:
        """Return the width of the model's residual stream."""
        return self.identity.d_model

    @property
    def revision(self) -> str | None:
        """Return the revision of the model; None where the model has none."""
        return self.identity.revision

    @property
    def basis(self) -> str:
        """Return the basis of the weights that the vector was read from."""
        return self.identity.basis

    def __str__(self) -> str:
        facts = {"property": self.name, **self.facts()}
        width = max(map(len, facts))
        # Anyone may have written the card: replace characters that move the cursor or break lines.
        return "\n".join(
            f"{name:<{width}}  " + "".join(c if c.isprintable() else "\ufffd" for c in value)
            for name, value in facts.items()
        )

    def _repr_html_(self) -> str:
        return notebook.render_card(self.name, self.facts())

    def facts(self) -> dict[str, str]:
        """Describe the vector: its model, site, estimator, data and reliability.

        Returns:
            One-line texts by the name of the fact, in the order in which they are shown.
        """
        pairs = "1 pair" if self.n == 1 else f"{self.n} pairs"
        of = f"contrast set {self.contrast}" if self.contrast else "contrast set not recorded"
        made = [f"{package} {number}" for package, number in self.versions.items()]
        return {
            "model": str(self.identity),
            "revision": self.revision or "not recorded",
            "weights": self.fingerprint[:12] or "not recorded",
            "basis": self.basis,
            "read at": f"{self.component} of {self._describe_layers()}, position {self.position}",
            "may act": f"at {self.component} of any layer, on these weights in this basis only",
            "estimator": self.estimator,
            "fitted on": f"{of}, split {self.split or 'not recorded'}",
            "data": self.data_hash[:12] or "not recorded",
            "pairs": f"{pairs} at each layer" if self.n else "not recorded",
            "how sure": f"{sure}, 95 % by bootstrap of {sure.n}"
            if (sure := self.reliability)
            else "not measured: ist.trust.fit_with_reliability does, for a difference in means at "
            "one position",
            "made with": ", ".join(made) or "not recorded",
        }

    def _describe_layers(self) -> str:
        if not self.layers:
            return "layers not recorded"
        return f"layer{'s' * (len(self.layers) > 1)} {list_layers(self.layers)}"

    def join(self, other: Card, sign: str) -> Card:
        """Return the card of a sum or a difference of two vectors of one model.

        Args:
            other: the card of the vector on the right.
            sign: ``"+"`` or ``"-"``.
        """
        sets = (self.contrast, other.contrast)
        hashes = f"{self.data_hash}{other.data_hash}"
        return replace(
            self,
            name=f"{self.name} {sign} {parenthesise(other.name)}",
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
        """Read a card from what :meth:`to_flat` and JSON made of it.

        Args:
            stored: fields by name; a file of an earlier version lacks the fields added since.

        Raises:
            VectorError: for anything that is not a card, or has fields that this version does not
                know.
        """
        if not isinstance(stored, Mapping):
            raise VectorError(
                f"the card is a {type(stored).__name__}, not a mapping of fields by name"
            )
        flat = {"basis": UNPROCESSED, **stored}
        if more := sorted(map(str, flat.keys() - set(_STORED))):
            raise VectorError(
                f"the card has {', '.join(more)[:200]}, which this version of interp_steer does "
                "not know; read it with the version that wrote it"
            )
        for name, what in _TEXTS.items():
            if not isinstance(flat.get(name), what):
                raise VectorError(f"{name} of the card is {flat.get(name)!r:.80}, not a text")
        for name, least in _COUNTS.items():
            count = flat.get(name)
            if type(count) is not int or not least <= count < 2**31:
                raise VectorError(
                    f"{name} of the card is {count!r:.80}; it must be an integer of at least "
                    f"{least} and at most {2**31 - 1}"
                )
        versions = flat.get("versions")
        if not isinstance(versions, Mapping) or not all(
            isinstance(text, str) for text in (*versions.keys(), *versions.values())
        ):
            raise VectorError("versions of the card are not texts by package")
        flat["layers"] = read_layers(flat.get("layers", ()))
        if (stored_reliability := flat.get("reliability")) is not None:
            flat["reliability"] = Reliability.read(stored_reliability)
        return cls.from_flat(flat)

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> Card:
        """Build a card whose model is given by the flat keys of files, without checks."""
        own = {name: value for name, value in flat.items() if name not in FLAT_KEYS}
        return cls(identity=ModelIdentity.from_flat(flat), **own)

    def to_flat(self) -> dict[str, Any]:
        """Return the fields that files store, with the model's fields among them."""
        flat = asdict(self) | self.identity.to_flat()
        return {name: flat[name] for name in _STORED}


_STORED = (
    *("name", "model", "fingerprint", "n_layers", "d_model", "component", "position", "estimator"),
    *("n", "data_hash", "revision", "versions", "reliability", "basis"),
    *("contrast", "split", "layers"),
)
"""The keys of a stored card, in the order in which files hold them."""

_TEXTS = {
    **dict.fromkeys(("name", "model", "fingerprint", "component"), str),
    **dict.fromkeys(("position", "estimator", "data_hash", "basis"), str),
    **dict.fromkeys(("revision", "contrast", "split"), (str, type(None))),
}
_COUNTS = {"n_layers": 1, "d_model": 1, "n": 0}
"""The least value of each count."""


def read_layers(stored: Any) -> tuple[int, ...]:
    """Read layers from what JSON made of them.

    Raises:
        VectorError: for anything but integers.
    """
    if not isinstance(stored, Sequence) or not all(type(layer) is int for layer in stored):
        raise VectorError(f"the layers are {stored!r:.80}, not integers; make the file again")
    return tuple(stored)


def list_layers(layers: Sequence[int]) -> str:
    """List layers in words; name a run of layers by its ends."""
    whole = list(layers) == list(range(layers[0], layers[-1] + 1)) and len(layers) > 2
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))


def parenthesise(name: str) -> str:
    """Put the name of a sum in parentheses."""
    return f"({name})" if " " in name else name
