"""Draw language steering: schedules, steps, benchmarks and the cost of adaptation.

Imports from `figures.style` and `figures.published`.
"""
