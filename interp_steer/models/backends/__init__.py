"""The kinds of TransformerLens model that a ``HookedLM`` wraps, behind one protocol."""
