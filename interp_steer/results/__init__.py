"""Write the results folder of a run, and read it again.

The package may import from :mod:`interp_steer.statistics`, :mod:`interp_steer.storage`,
:mod:`interp_steer.notebook` and :mod:`interp_steer.errors`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
