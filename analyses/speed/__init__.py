"""Measure the speed of interp_steer against other tools: the work, the contenders, and the
clock."""
