"""Try many interventions on the same prompts, and choose among them."""
