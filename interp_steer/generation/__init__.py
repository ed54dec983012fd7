"""Answer prompts under interventions, in batches, in this process or on a cluster.

This package imports from ``interventions``, ``models`` and the packages below those only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
