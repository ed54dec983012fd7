"""The explorer: one model, steered from a page in a browser. `analyses.explore` starts it."""
