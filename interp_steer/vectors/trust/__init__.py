"""Ask how far a fitted direction can be trusted."""
