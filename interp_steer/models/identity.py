"""Identify the model that activations, directions and maps belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interp_steer.models.basis import UNPROCESSED
from interp_steer.models.hooked_lm import HookedLM


@dataclass(frozen=True)
class ModelIdentity:
    """The model that a vector, a map or an activation was read from.

    Example:
        >>> str(ModelIdentity("gemma-2-2b-it", "0123", 26, 2304))
        'gemma-2-2b-it (26 layers, d_model 2304)'
    """

    name: str
    """The name of the model."""
    fingerprint: str
    """The fingerprint of its weights."""
    n_layers: int
    """The number of layers."""
    d_model: int
    """The width of the residual stream."""
    revision: str | None = None
    """The revision of the model on the hub; None where the model has none."""
    basis: str = UNPROCESSED
    """The basis of its weights (:mod:`interp_steer.models.basis`)."""

    @classmethod
    def of(cls, model: HookedLM) -> ModelIdentity:
        """Return the identity of a loaded model."""
        return cls(
            name=model.name,
            fingerprint=model.fingerprint,
            n_layers=model.n_layers,
            d_model=model.d_model,
            revision=model.revision,
            basis=model.basis,
        )

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> ModelIdentity:
        """Build an identity from the keys of :meth:`to_flat`; other keys are ignored."""
        known = {key: flat[key] for key in FLAT_KEYS if key in flat and key != "model"}
        return cls(name=flat["model"], **known)

    def to_flat(self) -> dict[str, Any]:
        """Return the keys that files store, with the name of the model under ``"model"``."""
        return {key: getattr(self, "name" if key == "model" else key) for key in FLAT_KEYS}

    def __str__(self) -> str:
        return f"{self.name} ({self.n_layers} layers, d_model {self.d_model})"


FLAT_KEYS = ("model", "fingerprint", "n_layers", "d_model", "revision", "basis")
"""The keys under which files store an identity."""
