"""Compute intervals, paired tests and resamples of the numbers that a run reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
