"""Steer one model from a page in a browser; `analyses.explore` starts the server.

Imports from `interp_steer`, `figures`, `analyses.kit` and `analyses.geometry`.
"""
