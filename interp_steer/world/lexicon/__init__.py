"""Hand-written vocabulary of the small world: names, words and frames in five languages."""
