"""Ways to steer that an analysis tries, and the vectors of a property that they act along."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import interp_steer as ist
from interp_steer.errors import InterventionError, RunError
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.positions import span
from interp_steer.interventions.schedules import AnySchedule, fixed

Control = Callable[[ist.SteeringVector], ist.SteeringVector]
"""From a vector to another that acts in its place, as strongly."""

READ_TOKENS = 32
"""Tokens of an answer at which a vector is read."""

READS = ("last", "all", "generated")
"""Where a vector may be read, besides at an index of the prompt."""


@dataclass(frozen=True)
class SteeringSpec:
    """Where a vector is read, what is done along it, how strongly, and at which positions.

    Written ``[READ/]HOW[:STRENGTH][@POSITIONS][*SCHEDULE]``, such as ``project``,
    ``add:2@generated``, ``generated/add:0.3kl``, ``add:1.5ppl`` or
    ``add:1residual@generated*exponential(0.9)``.
    """

    how: Operation
    """``add``, ``turn`` (an addition that keeps the norm) or ``project``."""
    strength: ist.Strength | None = None
    """Of an addition or a turn always; a projection without one goes to the vector's own target."""
    positions: str = "all"
    """Where it acts; see :func:`interp_steer.interventions.positions.span`."""
    read: str = "last"
    """Where in the prompt the vector is read: last, all, generated, or an index."""
    schedule: AnySchedule = fixed
    """What share of it is done at each step of an answer; strengths are measured at the whole."""

    @classmethod
    def parse(cls, text: str) -> SteeringSpec:
        """Read an operation from the command line.

        Raises:
            RunError: for a text that is none.
        """
        edit, star, schedule = text.partition("*")
        read, slash, rest = edit.rpartition("/")
        how, at, positions = rest.partition("@")
        how, colon, strength = how.partition(":")
        known = [each.value for each in Operation if each.is_measured_as_length]
        needs_strength = how != Operation.PROJECT or bool(colon)
        reads_somewhere = read in READS or read.lstrip("-").isdigit() or not slash
        if (
            how not in known
            or (needs_strength and not strength)
            or (at and not positions)
            or (star and not schedule)
            or not reads_somewhere
        ):
            raise RunError(
                f"{text!r} is no operation; write project, add:2, turn:2, add:0.3kl@generated, "
                "add:1.5ppl, or generated/add:2 for a vector that is read in answers (else: "
                f"{', '.join(READS)}, or an index)"
            )
        try:
            span(positions or "all")
            amount = ist.Strength.parse(strength) if strength else None
            share = ist.schedules.parse(schedule) if schedule else fixed
        except InterventionError as error:
            raise RunError(f"operation {text!r}: {error}") from error
        return cls(Operation(how), amount, positions or "all", read or "last", share)


@dataclass(frozen=True)
class Placement:
    """An operation at layers: where along the model its vector is read, and where it acts.

    Written ``VECTOR=OPERATION@LAYER``, or ``VECTOR=OPERATION@LAYER->LAYER`` where the layer that it
    is read at is not the one that it acts at: ``change_case:english_lowercase=project@3->5``.
    """

    vector: str
    """An IFEval id, with ``?ARGUMENT=VALUE`` behind it where it is to have it; or the path of a
    vector that was saved, which ends in .safetensors."""
    operation: str
    """See :class:`SteeringSpec`."""
    read_layer: int
    """Where the vector was read."""
    apply_layer: int
    """Where it acts."""

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Read a placement from the command line.

        Raises:
            RunError: for a text that is none, or a saved vector that is to be read somewhere.
        """
        what, _, layers = text.rpartition("@")
        vector, _, operation = what.rpartition("=")
        at = re.fullmatch(r"(\d+)(?:->(\d+))?", layers)
        if at is None or not vector:
            raise RunError(
                f"{text!r} is no intervention; write VECTOR=OPERATION@LAYER, such as "
                "'change_case:english_lowercase=project@5', and LAYER->LAYER for a vector that is "
                "read at one layer and acts at another, such as "
                "'length_constraints:number_words?relation=less than=add:2@generated@3->5'"
            )
        placed = cls(vector, operation, int(at[1]), int(at[2] or at[1]))
        if placed.saved and "/" in operation:
            raise RunError(
                f"{text!r}: where a saved vector was read is settled; leave out "
                f"{operation.partition('/')[0] + '/'!r}"
            )
        SteeringSpec.parse(operation)
        return placed

    @property
    def saved(self) -> bool:
        """Whether the vector is that of a file."""
        return self.vector.endswith(".safetensors")

    @property
    def layers(self) -> str:
        """As it was written: one layer, or that it is read at and that it acts at."""
        moved = self.read_layer != self.apply_layer
        return f"{self.read_layer}->{self.apply_layer}" if moved else str(self.read_layer)


class Steerer:
    """The vectors of a property, by where they were read, and how each operation acts along them.

    Args:
        gauges: by where its vector was read.
    """

    def __init__(self, gauges: Mapping[str, ist.StrengthCalibrator]) -> None:
        self.gauges = dict(gauges)

    @classmethod
    def fit(
        cls,
        model: ist.HookedLM,
        pairs: ist.ContrastSet,
        operations: Iterable[str],
        *,
        steered: ist.HookedLM | None = None,
        **options: Any,
    ) -> Steerer:
        """Fit the vectors that operations need on the fit split.

        Args:
            model: that vectors are read from.
            pairs: the contrast; strengths are measured on its select split.
            operations: the operations that will be tried.
            steered: the model that they act on; the same when not given.
            options: of :func:`interp_steer.fit`.
        """
        reads = dict.fromkeys(SteeringSpec.parse(text).read for text in operations)
        fitted = read_at(reads, model, pairs.fit, **options)
        prompts = pairs.select.absent
        return cls(
            {
                read: ist.StrengthCalibrator(steered or model, one, prompts)
                for read, one in fitted.items()
            }
        )

    @property
    def vectors(self) -> dict[str, ist.SteeringVector]:
        """The vectors, by where they were read."""
        return {read: gauge.vector for read, gauge in self.gauges.items()}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that can be steered."""
        return next(iter(self.gauges.values())).vector.layers

    def vector(self, operation: str) -> ist.SteeringVector:
        """The vector that an operation acts along."""
        return self.gauges[SteeringSpec.parse(operation).read].vector

    def steering(
        self,
        layer: int,
        operation: str,
        control: Control | None = None,
        *,
        apply_layer: int | None = None,
    ) -> ist.Intervention:
        """What an operation does at a layer.

        Args:
            layer: where the vector was read.
            operation: see :class:`SteeringSpec`.
            control: makes the vector that acts in place of the one that was fitted, with the
                coefficient that this one has.
            apply_layer: where it acts; where it was read when not given.
        """
        chosen = SteeringSpec.parse(operation)
        gauge = self.gauges[chosen.read]
        along = None if control is None else control(gauge.vector)
        return gauge.steering(
            layer,
            chosen.how,
            chosen.strength,
            chosen.positions,
            chosen.schedule,
            apply_layer=apply_layer,
            along=along,
        )

    def leave(self, run: ist.Run, name: str) -> None:
        """Write the vectors into a results folder, under the name of the property."""
        for read, vector in self.vectors.items():
            run.leave(vector, name=name if read == "last" else f"{name}.{read}")


def read_at(
    reads: Iterable[str], model: ist.HookedLM, pairs: ist.ContrastSet, **options: Any
) -> dict[str, ist.SteeringVector]:
    """The vector of each place to read.

    Args:
        reads: see :class:`SteeringSpec`.
        model: that is read.
        pairs: the pairs of one split.
        options: of :func:`interp_steer.fit`.
    """
    return {
        read: ist.fit(
            model,
            pairs,
            position=position_of(read),
            max_new_tokens=READ_TOKENS,
            **options,
        )
        for read in reads
    }


def position_of(read: str) -> str | int:
    """Where activations are captured for vectors that are read so."""
    return int(read) if read.lstrip("-").isdigit() else read
