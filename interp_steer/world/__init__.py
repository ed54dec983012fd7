"""The invented world of the bundled models: facts, texts, questions, contrast sets and judges."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
