"""Fit steering vectors, and save, share, gauge, question and carry them."""
