"""The invented world of the bundled models: facts, texts, questions, contrast sets and judges."""
