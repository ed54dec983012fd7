"""What the benchmark is made of: the work, the contenders, and the clock."""
