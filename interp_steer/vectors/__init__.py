"""Fit steering vectors; save, share, calibrate and assess them, and carry them between models.

The package may import errors, notebook, statistics, storage, models, interventions, contrast,
generation and capture.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
