"""The Beta distribution."""

import mpmath

from functional_dists import beta
from tests.algebra.case import Case


def _beta(x, a, b, low=0, high=1):
    share = (x - low) / (high - low)
    constant = mpmath.loggamma(a + b) - mpmath.loggamma(a) - mpmath.loggamma(b)
    return constant + (a - 1) * mpmath.log(share) + (b - 1) * mpmath.log(1 - share) - mpmath.log(high - low)


_CONCENTRATIONS = {"concentration1": [0.4, 3.7], "concentration0": [1.3, 0.6]}
_OTHER = {"concentration1": [0.7, 2.9], "concentration0": [1.1, 0.8]}

CASES = [
    Case(
        "beta",
        beta,
        {**_CONCENTRATIONS, "low": [-2.0, 0.5], "high": [3.0, 1.5]},
        [-1.1, 1.4],
        {**_OTHER, "low": [-2.5, 0.25], "high": [3.5, 1.75]},
        mp_log_density=_beta,
    ),
]
