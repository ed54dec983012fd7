"""Draw the geometry of directions: similarity, heads, projections, propagation, reliability.

Imports from `figures.style` and `figures.published`.
"""
