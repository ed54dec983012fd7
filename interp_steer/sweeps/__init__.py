"""Try many interventions on the same prompts, and choose among them.

This package imports from lower levels only: ``errors``, ``notebook``, ``statistics``, ``storage``,
``models``, ``results``, ``interventions``, ``contrast``, ``generation``, ``capture``, ``scoring``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
