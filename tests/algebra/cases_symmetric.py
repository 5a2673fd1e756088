"""Symmetric families whose quantiles have no closed form."""

import mpmath

from functional_dists import von_mises
from tests.algebra.case import Case


def _von_mises(x, loc, concentration):
    return concentration * mpmath.cos(x - loc) - mpmath.log(2 * mpmath.pi * mpmath.besseli(0, concentration))


CASES = [
    Case(
        "von_mises",
        von_mises,
        {"loc": [0.3, -2.1], "concentration": [4.5, 0.7]},
        [0.2, 2.4],
        {"loc": [0.1, -1.7], "concentration": [5.5, 1.1]},
        mp_log_density=_von_mises,
        is_circular=True,
    ),
]
