"""What other tools leave, read into this project's own nouns: one file for each."""
