"""Answer research questions, one script for each; `python -m analyses` lists the scripts."""
