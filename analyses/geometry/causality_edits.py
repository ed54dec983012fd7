"""Edit prompts along a direction: ablate, set to a mean, or exchange within a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import interp_steer as ist
from analyses.kit.instruction_following import EditedPrompts
from interp_steer.geometry import Part, Rows, displacement_along, exchange_activations

EDITS = {
    "zero": "set to zero",
    "mean": "set to mean without",
    "one": "one layer's, set to zero",
    "steer": "set to mean with",
    "whole": "whole exchanged",
    "component": "component exchanged",
    "rest": "rest exchanged",
}
"""Edits by name, with their labels in figures."""


@dataclass(frozen=True, eq=False)
class Editor:
    """Makes the edits of the pairs of a split along a vector."""

    vector: ist.SteeringVector
    sides: tuple[Rows, Rows]
    """Activations with and without the instruction; see
    :func:`~interp_steer.geometry.exchange.capture_last_tokens`."""
    removed_at: str
    """Positions at which components are set to zero; see
    :func:`interp_steer.interventions.positions.span`."""
    set_at: str
    """Positions at which components are set to a mean. Exchanges are at the last prompt token."""

    def at_layer(self, layer: int, draw: int | None = None) -> Iterator[EditedPrompts]:
        """Yield the edits at one layer, along the direction or along a random direction.

        Args:
            layer: the layer of the edits.
            draw: the seed of a random direction; None for the direction itself.
        """
        along, away = (vector.at(layer) for vector in self._vectors(draw))
        own = self.vector.at(layer)
        present, absent = (side[own.site] for side in self.sides)
        for name, instructed, edit in (
            ("zero", True, along.ablate(self.removed_at)),
            ("mean", True, away.project(positions=self.set_at)),
            ("steer", False, along.project(positions=self.set_at)),
        ):
            yield EditedPrompts(name, instructed, [edit] * len(present), layer, draw)
        for instructed, donor, receiver in ((True, absent, present), (False, present, absent)):
            if draw is None:
                for part in get_args(Part):
                    yield EditedPrompts(
                        part, instructed, exchange_activations(own, donor, receiver, part), layer
                    )
            else:
                distances = displacement_along(own, donor, receiver).tolist()
                edits = [along.add(amount, "last") for amount in distances]
                yield EditedPrompts("component", instructed, edits, layer, draw)

    def at_every_layer(self, source: int, draw: int | None = None) -> Iterator[EditedPrompts]:
        """Yield the edits at all layers at once.

        Args:
            source: the layer whose direction the edit ``one`` ablates at all layers.
            draw: the seed of a random vector; None for the vector itself.
        """
        along, away = self._vectors(draw)
        prompts = len(next(iter(self.sides[0].values())))
        for name, instructed, edits in (
            ("zero", True, [along.at(k).ablate(self.removed_at) for k in along.layers]),
            ("mean", True, [away.at(k).project(positions=self.set_at) for k in along.layers]),
            ("one", True, [along.at(source, k).ablate(self.removed_at) for k in along.layers]),
            ("steer", False, [along.at(k).project(positions=self.set_at) for k in along.layers]),
        ):
            yield EditedPrompts(name, instructed, [ist.compose(edits)] * prompts, draw=draw)

    def _vectors(self, draw: int | None) -> tuple[ist.SteeringVector, ist.SteeringVector]:
        """Return the vector and its negative, or random vectors that move a prompt as far."""
        towards, away = self.vector, -self.vector
        if draw is None:
            return towards, away
        return towards.like_random(draw), away.like_random(draw)
