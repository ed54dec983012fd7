"""The tests: a package for each package of the project, with what they share in ``support``."""

from tests.support.shapes import check_shapes

check_shapes("interp_steer", "analyses")  # before any test imports them
