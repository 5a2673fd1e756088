"""Comparisons with other libraries, and of ways to do a thing; `python -m benchmarks.compare` is the main one."""
