"""The gamma distribution."""

import mpmath

from functional_dists import gamma
from tests.algebra.case import Case

CASES = [
    Case(
        "gamma",
        gamma,
        {"concentration": [0.4, 3.7], "rate": [1.3, 0.6]},
        [0.3, 4.1],
        {"concentration": [0.7, 2.9], "rate": [1.1, 0.8]},
        mp_log_density=lambda x, a, rate: (
            a * mpmath.log(rate) + (a - 1) * mpmath.log(x) - rate * x - mpmath.loggamma(a)
        ),
    ),
]
