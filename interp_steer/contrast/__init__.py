"""Pair prompts that have a property with prompts that lack it.

This package imports from lower levels only: ``errors``, ``notebook``, ``statistics``, ``storage``,
``models``, ``results`` and ``interventions``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
