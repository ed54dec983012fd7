"""Run the experiments on language steering of paper B (Scalena et al. 2024), and more."""
