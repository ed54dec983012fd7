"""Load causal language models, and name the sites at which they are read and written.

This package imports from ``errors``, ``notebook``, ``statistics`` and ``storage`` only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
