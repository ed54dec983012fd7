"""Describe directions: cosines, layers, heads, subspaces, propagation, exchanges and probes.

The package may import every package of the library but interchange, world, harness and burattino.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
