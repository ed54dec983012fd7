"""Steer language models by their activations, on TransformerLens hook points.

Name a model, fit a steering vector from contrasting prompts, steer, measure:

    >>> import interp_steer as ist
    >>> model = ist.load("burattino-instruct")
    >>> pairs = ist.world.instruction("change_case:english_lowercase", fit=32, select=8, test=8)
    >>> vector = ist.fit(model, pairs.fit)
    >>> steer = vector.at(layer=5).project()
    >>> ist.generate(model, ["Tell me about the castle."], steer, max_new_tokens=8)[0].finish_reason
    'length'

PyTorch and TransformerLens take seconds to import, so a name is imported when it is first used.
The public names stand in ``__init__.pyi``, here and in every package.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
