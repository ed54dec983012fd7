"""Draw directions: similarity, heads, projections, propagation and reliability."""
