"""Write files completely or not at all, and read them within bounds.

The package may import from :mod:`interp_steer.errors` only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
