"""The Dirichlet distribution, and families that follow from the gamma distribution."""

from functional_dists import dirichlet
from tests.algebra.case import Case

CASES = [
    Case(
        "dirichlet",
        dirichlet,
        {"concentration": [[0.4, 3.7, 1.6], [2.2, 0.8, 5.0]]},
        [[0.1, 0.6, 0.3], [0.25, 0.05, 0.7]],
        {"concentration": [[0.7, 2.9, 1.3], [1.9, 1.1, 3.0]]},
    ),
]
