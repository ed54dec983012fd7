"""Run the experiments on instruction steering of paper A (Stolfo et al. 2025)."""
