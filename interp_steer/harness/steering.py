"""Make an intervention from the words of a command line."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from interp_steer.errors import InterventionError
from interp_steer.interventions import schedules
from interp_steer.interventions.intervention import Direction, Intervention
from interp_steer.interventions.operations import Operation
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.stepped_vector import SteppedVector

OPERATIONS = (Operation.ADD, Operation.PROJECT, Operation.SHIFT)
"""The values of ``operation``."""

Vector = SteeringVector | SteppedVector


def read_vector(path: str | Path) -> Vector:
    """Read a vector from a file, with or without a direction for each step.

    Raises:
        VectorError: when the file is missing, damaged, or does not hold a vector.
    """
    path = Path(path).expanduser()
    try:
        with safe_open(path, framework="pt") as opened:
            kind = (opened.metadata() or {}).get("interp_steer")
    except (OSError, SafetensorError):
        kind = None  # loading the file raises the error
    return SteppedVector.load(path) if kind == "SteppedVector" else SteeringVector.load(path)


def make_intervention(
    vector: Vector,
    layer: int | None = None,
    operation: str | None = None,
    coefficient: float | None = None,
    positions: str | None = None,
    schedule: str = "fixed",
) -> Intervention:
    """Make the intervention that ``--model_args`` describe.

    Args:
        vector: the vector.
        layer: the layer at which the vector acts. Without a layer, ``"shift"`` acts at all layers
            of the vector; the other operations need a layer, unless the vector has only one.
        operation: ``"add"`` (times the unit direction), ``"shift"`` (times the raw direction) or
            ``"project"`` (clamp the projection). By default ``"shift"`` for a vector with steps,
            which takes no other, and ``"add"`` otherwise.
        coefficient: the coefficient of ``"add"`` and ``"shift"``, by default 1; the projection
            after ``"project"``, by default the vector's target.
        positions: see :func:`interp_steer.interventions.positions.span`; by default the
            generated positions, and for a vector with steps as many as there are directions.
        schedule: see :func:`interp_steer.interventions.schedules.parse`.

    Raises:
        InterventionError: for an unknown operation, positions or schedule, an operation that the
            vector does not take, or a missing layer.
        VectorError: when the vector does not have the layer, or is zero there.

    Example:
        >>> str(make_intervention(vector, 5, "shift", 1.5, positions="all", schedule="start"))
        'shift(title@resid_post.5, coefficient=1.5, schedule=start)'
    """
    stepped = isinstance(vector, SteppedVector)
    operation = operation or (Operation.SHIFT if stepped else Operation.ADD)
    takes = (Operation.SHIFT,) if stepped else OPERATIONS
    if operation not in takes:
        raise InterventionError(
            f"operation is {operation!r}; {vector} takes "
            f"{', '.join(repr(each.value) for each in takes)}"
        )
    weights = schedules.parse(schedule)
    if coefficient is None and operation != Operation.PROJECT:
        coefficient = 1.0
    if operation == Operation.SHIFT and layer is None:
        assert coefficient is not None
        if isinstance(vector, SteppedVector):
            return vector.shift(coefficient, weights, positions)
        return vector.shift(coefficient, weights, positions or "generated")
    if positions is None:
        positions = f"first({vector.n_steps})" if isinstance(vector, SteppedVector) else "generated"
    return _direction_at(vector, layer).apply(operation, coefficient, positions, weights)


def _direction_at(vector: Vector, layer: int | None) -> Direction:
    """Return the direction at a layer, or at the only layer of the vector."""
    if layer is None:
        layer, *others = vector.layers
        if others:
            raise InterventionError(
                f"{vector} has the layers {', '.join(map(str, vector.layers))}; choose one, as in "
                "layer=5"
            )
    if isinstance(vector, SteppedVector):
        site = Site(vector.card.component, layer)
        return vector.direction(site, site)
    return vector.at(layer)
