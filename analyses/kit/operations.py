"""Parse ways to steer, and apply them along the vectors of a property."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import interp_steer as ist
from interp_steer.errors import InterventionError, OptionError
from interp_steer.interventions import AnySchedule, Operation, fixed, span

Control = Callable[[ist.SteeringVector], ist.SteeringVector]
"""A function from a vector to another that acts in its place, with the same strength."""

READ_TOKENS = 32
"""Number of tokens of an answer over which a vector is read."""

READS = ("last", "all", "generated")
"""Positions at which a vector may be read. An index of the prompt is possible too."""


@dataclass(frozen=True)
class SteeringSpec:
    """Way to steer: where the vector is read, the edit, its strength, and its positions.

    Written ``[READ/]HOW[:STRENGTH][@POSITIONS][*SCHEDULE]``, such as ``project``,
    ``add:2@generated``, ``generated/add:0.3kl``, ``add:1.5ppl`` or
    ``add:1residual@generated*exponential(0.9)``.
    """

    how: Operation
    """``add``, ``turn`` (an addition that keeps the norm) or ``project``."""
    strength: ist.Strength | None = None
    """Strength of the edit. An addition or a turn always has one. A projection without a strength
    moves activations to the vector's own target."""
    positions: str = "all"
    """Positions of the edit; see :func:`interp_steer.interventions.positions.span`."""
    read: str = "last"
    """Position in the prompt at which the vector is read: last, all, generated, or an index."""
    schedule: AnySchedule = fixed
    """Share of the strength at each step of an answer. Strengths are measured at the full share."""

    @classmethod
    def parse(cls, text: str) -> SteeringSpec:
        """Read an operation from the command line.

        Raises:
            OptionError: for a text that cannot be read.
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
            raise OptionError(
                f"invalid operation {text!r}; write project, add:2, turn:2, add:0.3kl@generated, "
                "add:1.5ppl, or generated/add:2 for a vector that is read in answers (other "
                f"positions: {', '.join(READS)}, or an index)"
            )
        try:
            span(positions or "all")
            amount = ist.Strength.parse(strength) if strength else None
            share = ist.schedules.parse(schedule) if schedule else fixed
        except InterventionError as error:
            raise OptionError(f"operation {text!r}: {error}") from error
        return cls(Operation(how), amount, positions or "all", read or "last", share)


@dataclass(frozen=True)
class Placement:
    """Operation of a vector, with the layer where the vector is read and the layer where it acts.

    Written ``VECTOR=OPERATION@LAYER``, or ``VECTOR=OPERATION@LAYER->LAYER`` where the two layers
    differ: ``change_case:english_lowercase=project@3->5``.
    """

    vector: str
    """An IFEval id, followed by ``?ARGUMENT=VALUE`` to fix an argument; or the path of a saved
    vector, which ends in .safetensors."""
    operation: str
    """See :class:`SteeringSpec`."""
    read_layer: int
    """The layer where the vector is read."""
    apply_layer: int
    """The layer where the vector acts."""

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Read a placement from the command line.

        Raises:
            OptionError: for a text that cannot be read, or a saved vector with a position to read.
        """
        what, _, layers = text.rpartition("@")
        vector, _, operation = what.rpartition("=")
        at = re.fullmatch(r"(\d+)(?:->(\d+))?", layers)
        if at is None or not vector:
            raise OptionError(
                f"invalid intervention {text!r}; write VECTOR=OPERATION@LAYER, such as "
                "'change_case:english_lowercase=project@5', and LAYER->LAYER for a vector that is "
                "read at one layer and acts at another, such as "
                "'length_constraints:number_words?relation=less than=add:2@generated@3->5'"
            )
        placed = cls(vector, operation, int(at[1]), int(at[2] or at[1]))
        if placed.saved and "/" in operation:
            raise OptionError(
                f"{text!r}: the read position of a saved vector cannot be changed; leave out "
                f"{operation.partition('/')[0] + '/'!r}"
            )
        SteeringSpec.parse(operation)
        return placed

    @property
    def saved(self) -> bool:
        """Return whether the vector is loaded from a file."""
        return self.vector.endswith(".safetensors")

    @property
    def layers(self) -> str:
        """Return the layers as they were written: one layer, or two joined by an arrow."""
        moved = self.read_layer != self.apply_layer
        return f"{self.read_layer}->{self.apply_layer}" if moved else str(self.read_layer)


class Steerer:
    """Vectors of a property, by the position where they were read, and how operations use them.

    Args:
        gauges: the calibrator of each vector, by the position where the vector was read.
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
            model: the model whose activations are read.
            pairs: the contrast set. Strengths are measured on its select split.
            operations: the operations that will be tried.
            steered: the model that the vectors act on. Default: ``model``.
            options: options of :func:`interp_steer.fit`.
        """
        reads = dict.fromkeys(SteeringSpec.parse(text).read for text in operations)
        fitted = fit_vectors(reads, model, pairs.fit, **options)
        prompts = pairs.select.absent
        return cls(
            {
                read: ist.StrengthCalibrator(steered or model, vector, prompts)
                for read, vector in fitted.items()
            }
        )

    @property
    def vectors(self) -> dict[str, ist.SteeringVector]:
        """Return the vectors, by the position where they were read."""
        return {read: gauge.vector for read, gauge in self.gauges.items()}

    @property
    def layers(self) -> tuple[int, ...]:
        """Return the layers that can be steered."""
        return next(iter(self.gauges.values())).vector.layers

    def vector(self, operation: str) -> ist.SteeringVector:
        """Return the vector that an operation acts along."""
        return self.gauges[SteeringSpec.parse(operation).read].vector

    def steering(
        self,
        layer: int,
        operation: str,
        control: Control | None = None,
        *,
        apply_layer: int | None = None,
    ) -> ist.Intervention:
        """Return the intervention of an operation at a layer.

        Args:
            layer: the layer where the vector was read.
            operation: see :class:`SteeringSpec`.
            control: makes the vector that acts in place of the fitted one, with the coefficient
                of the fitted one.
            apply_layer: the layer where the vector acts. Default: ``layer``.
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


def fit_vectors(
    reads: Iterable[str], model: ist.HookedLM, pairs: ist.ContrastSet, **options: Any
) -> dict[str, ist.SteeringVector]:
    """Fit the vector of each position to read.

    Args:
        reads: the positions; see :class:`SteeringSpec`.
        model: the model whose activations are read.
        pairs: the pairs of one split.
        options: options of :func:`interp_steer.fit`.
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
    """Return the position argument of :func:`interp_steer.fit` for a position to read."""
    return int(read) if read.lstrip("-").isdigit() else read
