"""Families that have a name, and are expressions of others; and the Kumaraswamy distribution."""

import mpmath

from functional_dists import kumaraswamy, log_normal, logit_normal
from tests.algebra.case import Case


def _normal(x, loc, scale):
    return -(((x - loc) / scale) ** 2) / 2 - mpmath.log(scale * mpmath.sqrt(2 * mpmath.pi))


def _log_normal(x, loc, scale):
    return _normal(mpmath.log(x), loc, scale) - mpmath.log(x)


def _logit_normal(x, loc, scale):
    return _normal(mpmath.log(x / (1 - x)), loc, scale) - mpmath.log(x * (1 - x))


def _kumaraswamy(x, a, b):
    return mpmath.log(a * b) + (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x**a)


_PARAMS = {"loc": [0.3, -1.1], "scale": [0.5, 0.8]}
_OTHER = {"loc": [0.1, -0.7], "scale": [0.7, 0.6]}

CASES = [
    Case("log_normal", log_normal, _PARAMS, [0.2, 2.4], _OTHER, mp_log_density=_log_normal),
    Case("logit_normal", logit_normal, _PARAMS, [0.2, 0.9], _OTHER, mp_log_density=_logit_normal),
    Case(
        "kumaraswamy",
        kumaraswamy,
        {"concentration1": [0.7, 5.5], "concentration0": [1.4, 2.5]},
        [0.2, 0.8],
        mp_log_density=_kumaraswamy,
    ),
]
