"""Train the bundled models from nothing, and evaluate them.

This package may import every package of ``interp_steer`` except ``harness``.
"""
