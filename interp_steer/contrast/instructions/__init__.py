"""Say instructions in words, and read the prompts that carry them."""
