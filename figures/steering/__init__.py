"""Draw the effect of steering: accuracy, layers, strengths, damage and answers.

Imports from `figures.style` and `figures.published`.
"""
