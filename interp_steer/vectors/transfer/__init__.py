"""Carry vectors from one model to another.

A part of :mod:`interp_steer.vectors`: it may import what that package may.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
