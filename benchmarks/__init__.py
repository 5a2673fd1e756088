"""Comparisons with other libraries: `python -m benchmarks.compare` is the harness, `studies` ran once."""
