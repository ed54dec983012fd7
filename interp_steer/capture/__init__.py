"""Run prompts through a model and keep the moments of their activations."""
