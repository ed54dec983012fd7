"""List what may be done to an activation along a direction, and the number that each takes.

Every operation is the same affine edit along a unit direction ``u``, at the positions of its mask,
with the weight ``a_i`` that its schedule has at step ``i``::

    x  <-  x + a_i (push + pull (target - <x, u>)) u

============= ====================================================================================
``add``       ``push = c``, so ``x + c u``
``shift``     ``push = c |v|``, so ``x + c v`` with the raw vector ``v``
``project``   ``pull = 1`` and ``target = z``: the projection becomes ``z``
``ablate``    ``pull = 1`` and ``target = 0``: the projection becomes 0
``transport`` a shift by ``c``, and ``c`` times the linear part of a map
              (:mod:`interp_steer.vectors.transport`)
``turn``      ``add(c)``, and then the activation is scaled back to the length that it had
============= ====================================================================================

Because all operations share one form, each row of a batch can have its own intervention, and the
batch is still edited by one tensor operation per site (:mod:`interp_steer.interventions.hooks`).

At ``z`` the direction spans all heads together: ``<x, u>`` runs over heads and head dimensions, as
the output projection reads them. To edit heads separately, compose one direction per head that is
zero in the other heads.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

from interp_steer.errors import InterventionError

Parameter: TypeAlias = Literal["coefficient", "target"]
"""The number of an operation: how much is added, or the projection that is set."""


class Operation(str, Enum):
    """An operation, by the name that users write: on command lines, in canonical lines, in code.

    Example:
        >>> Operation.parse("project").parameter
        'target'
    """

    ADD = "add"
    SHIFT = "shift"
    PROJECT = "project"
    ABLATE = "ablate"
    TRANSPORT = "transport"
    TURN = "turn"

    @classmethod
    def parse(cls, name: str) -> Operation:
        """Return the operation of a name; an operation stands for itself.

        Raises:
            InterventionError: for an unknown name.
        """
        try:
            return cls(name)
        except ValueError as error:
            raise InterventionError(
                f"unknown operation {name!r}; use one of {', '.join(cls)}"
            ) from error

    @property
    def parameter(self) -> Parameter | None:
        """Return the name of the number that the operation takes, or None."""
        if self is Operation.ABLATE:
            return None
        return "target" if self is Operation.PROJECT else "coefficient"

    @property
    def is_measured_as_length(self) -> bool:
        """Return whether the amount is a length along the unit direction.

        Only such an amount can be given as a :class:`~interp_steer.vectors.strength.Strength`.
        """
        return self in (Operation.ADD, Operation.PROJECT, Operation.TURN)

    @property
    def counts_raw_vectors(self) -> bool:
        """Return whether a coefficient of 1 adds the raw vector, and not the unit vector."""
        return self in (Operation.SHIFT, Operation.TRANSPORT)

    @property
    def sets_projection(self) -> bool:
        """Return whether the projection is set, whatever it was."""
        return self in (Operation.PROJECT, Operation.ABLATE)

    @property
    def keeps_length(self) -> bool:
        """Return whether the activation keeps its length."""
        return self is Operation.TURN

    @property
    def needs_map(self) -> bool:
        """Return whether the direction must come with a linear map."""
        return self is Operation.TRANSPORT

    def __str__(self) -> str:
        return self.value
