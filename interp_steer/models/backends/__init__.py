"""Wrap the kinds of TransformerLens model that a ``HookedLM`` can hold, behind one protocol."""
