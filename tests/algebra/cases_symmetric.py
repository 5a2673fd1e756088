"""Symmetric families whose quantiles have no closed form."""

import mpmath

from functional_dists import student_t, von_mises
from tests.algebra.case import Case


def _von_mises(x, loc, concentration):
    return concentration * mpmath.cos(x - loc) - mpmath.log(2 * mpmath.pi * mpmath.besseli(0, concentration))


def _student_t(x, df, loc, scale):
    z = (x - loc) / scale
    normaliser = mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2) - mpmath.log(df * mpmath.pi) / 2
    return normaliser - mpmath.log(scale) - (df + 1) / 2 * mpmath.log1p(z * z / df)


CASES = [
    Case(
        "student_t",
        student_t,
        {"df": [5.5, 9.5], "loc": [0.3, -2.1], "scale": [0.5, 1.4]},
        [0.2, 2.4],
        {"df": [7.5, 9.0], "loc": [0.1, -1.7], "scale": [0.6, 1.3]},
        mp_log_density=_student_t,
    ),
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
