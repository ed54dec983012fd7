"""Run prompts through a model and keep the moments of their activations.

The package may import errors, storage, statistics, models, interventions, contrast and generation.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
