"""Burattino: how the bundled models are trained."""
