"""What acts on the model, from the words of a command line."""

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
"""What ``operation`` may be."""

Vector = SteeringVector | SteppedVector


def read_vector(path: str | Path) -> Vector:
    """The vector in a file, of whichever kind it is.

    Raises:
        VectorError: when the file is missing, damaged, or holds no vector.
    """
    path = Path(path).expanduser()
    try:
        with safe_open(path, framework="pt") as opened:
            kind = (opened.metadata() or {}).get("interp_steer")
    except (OSError, SafetensorError):
        kind = None  # what is wrong is said when it is loaded
    return SteppedVector.load(path) if kind == "SteppedVector" else SteeringVector.load(path)


def intervention(
    vector: Vector,
    layer: int | None = None,
    operation: str | None = None,
    coefficient: float | None = None,
    positions: str | None = None,
    schedule: str = "fixed",
) -> Intervention:
    """One vector at work, as ``--model_args`` tells it.

    Args:
        vector: the vector.
        layer: at which of its layers it acts. Without one ``"shift"`` acts at all of them; the
            other operations need one, unless the vector has no other.
        operation: ``"add"`` (times the unit direction), ``"shift"`` (times the raw direction) or
            ``"project"`` (clamp the projection). When it is not given, ``"shift"`` for a vector
            with steps, which takes no other, and ``"add"`` otherwise.
        coefficient: of ``"add"`` and ``"shift"``, 1 when it is not given; the projection after
            ``"project"``, the vector's own target when it is not given.
        positions: see :func:`interp_steer.interventions.positions.span`; where answers are
            generated, and of a vector with steps as far as there are directions, when not given.
        schedule: see :func:`interp_steer.interventions.schedules.parse`.

    Raises:
        InterventionError: for an unknown operation, positions or schedule, an operation that the
            vector does not take, or no layer where one is needed.
        VectorError: when the vector has no such layer, or is zero there.

    Example:
        >>> str(intervention(vector, 5, "shift", 1.5, positions="all", schedule="start"))
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
    return _direction(vector, layer).apply(operation, coefficient, positions, weights)


def _direction(vector: Vector, layer: int | None) -> Direction:
    """The direction at a layer, or at the only one."""
    if layer is None:
        layer, *others = vector.layers
        if others:
            raise InterventionError(
                f"{vector} has the layers {', '.join(map(str, vector.layers))}; say at which it "
                "acts, as layer=5"
            )
    if isinstance(vector, SteppedVector):
        site = Site(vector.card.component, layer)
        return vector.direction(site, site)
    return vector.at(layer)
