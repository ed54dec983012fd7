"""Measure the geometry of vectors: layers, heads, propagation, subspaces, stability and causality.

Imports from `interp_steer`, `figures` and `analyses.kit`.
"""
