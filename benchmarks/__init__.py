"""Comparisons with other libraries: `python -m benchmarks.compare` runs them; `studies` holds single experiments."""
