"""Load a causal language model and say where in it one can read and write."""
