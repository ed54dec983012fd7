"""The card of a steering vector: what it stands for and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version


def _versions() -> dict[str, str]:
    found = {}
    for package in ("interp_steer", "torch", "transformers", "transformer_lens"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            found[package] = "uninstalled"
    return found


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

    @property
    def whose(self) -> str:
        """The model with its sizes, for error messages."""
        return f"{self.model} ({self.n_layers} layers, d_model {self.d_model})"
