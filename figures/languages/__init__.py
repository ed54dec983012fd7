"""Draw language steering: schedules, steps, benchmarks and adaptation."""
