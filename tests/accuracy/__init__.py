"""Accuracy of the functions against a 50-digit reference, on grids chosen to be hard.

`reference` computes the exact answers with mpmath, `grids` lists the inputs, `generate` stores both, `calls` says how
the package is asked, `meter` measures the difference, `test_accuracy` holds it to goals, and `table` prints it.
"""
