"""Describe the invented world of the bundled models: facts, texts, contrast sets and judges.

This package imports from lower levels only; it uses ``errors``, ``contrast`` and ``scoring``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
