"""One script per question; `python -m analyses` lists them."""
