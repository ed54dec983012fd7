"""Look at directions: cosines, layers, heads, subspaces, propagation, exchanges and probes."""
