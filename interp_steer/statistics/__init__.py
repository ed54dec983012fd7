"""Compute intervals, paired tests and resamples of the numbers that a run reports."""
