"""Read vectors from the files of other tools, and write vectors for them.

>>> lost = ist.interchange.write(vector, "mine.gguf", format="llama_cpp", model=model)
>>> again = ist.interchange.read("mine.gguf", model=model)

A module for each format says what its files hold and how its layers count; :data:`FORMATS` lists
the formats, and :func:`table` gives the list as rows of text. The package may import from
:mod:`interp_steer.vectors` and the packages below that.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
