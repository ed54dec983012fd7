"""Draw the effect of steering: accuracy, layers, doses, damage and answers."""
