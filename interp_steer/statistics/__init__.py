"""Compute intervals, tests, resamples and shrunk covariances.

The package may import errors only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
