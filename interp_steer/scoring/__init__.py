"""Score answers: verify instructions, and measure fluency, language and quality.

The package may import from :mod:`interp_steer.contrast`, :mod:`interp_steer.generation` and the
packages below them.

Example:
    >>> import interp_steer as ist
    >>> ist.scoring.ifeval.verify("no commas here", ["punctuation:no_comma"], [{}]).strict
    True"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
