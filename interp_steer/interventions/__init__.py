"""Say what is done to activations, where and at which steps, and turn it into hooks.

This package may import ``errors`` and ``models``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
