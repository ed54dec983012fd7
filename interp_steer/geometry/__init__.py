"""Look at directions: cosines, layers, heads, subspaces, propagation, exchanges and probes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
