"""Answer prompts under interventions, in batches, here or on a cluster."""
