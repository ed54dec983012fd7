"""Pair prompts that have a property with prompts that lack it."""
