"""Scores of an answer: instruction verifiers (IFEval) and fluency."""
