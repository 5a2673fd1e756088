"""Families that have a name, and are expressions of others; and the Kumaraswamy distribution."""

import mpmath

from functional_dists import (
    folded,
    half_cauchy,
    half_normal,
    kumaraswamy,
    log_normal,
    logit_normal,
    pareto,
    student_t,
    weibull,
)
from tests.algebra.case import Case


def _normal(x, loc, scale):
    return -(((x - loc) / scale) ** 2) / 2 - mpmath.log(scale * mpmath.sqrt(2 * mpmath.pi))


def _log_normal(x, loc, scale):
    return _normal(mpmath.log(x), loc, scale) - mpmath.log(x)


def _logit_normal(x, loc, scale):
    return _normal(mpmath.log(x / (1 - x)), loc, scale) - mpmath.log(x * (1 - x))


def _kumaraswamy(x, a, b):
    return mpmath.log(a * b) + (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x**a)


def _half_normal(x, scale):
    return mpmath.log(2) + _normal(x, 0, scale)


def _half_cauchy(x, scale):
    return mpmath.log(2 / (mpmath.pi * scale)) - mpmath.log1p((x / scale) ** 2)


def _pareto(x, scale, alpha):
    return mpmath.log(alpha / x) - alpha * mpmath.log(x / scale)


def _weibull(x, scale, k):
    return mpmath.log(k / x) + k * mpmath.log(x / scale) - (x / scale) ** k


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
    Case(
        "half_normal",
        half_normal,
        {"scale": [0.5, 1.4]},
        [0.2, 2.4],
        {"scale": [0.6, 1.2]},
        mp_log_density=_half_normal,
    ),
    Case(
        "half_cauchy",
        half_cauchy,
        {"scale": [0.5, 1.4]},
        [0.2, 2.4],
        {"scale": [0.6, 1.2]},
        mp_log_density=_half_cauchy,
    ),
    Case(
        "student_t, folded",
        folded(student_t),
        {"df": [3.5, 9.0], "scale": [0.5, 1.4]},
        [0.2, 2.4],
        {"scale": [0.6, 1.2]},
    ),
    Case(
        "pareto",
        pareto,
        {"scale": [0.5, 1.4], "alpha": [6.5, 8.0]},
        [0.7, 1.6],
        {"scale": [0.5, 1.3], "alpha": [5.5, 8.5]},
        mp_log_density=_pareto,
        no_differences=("kl",),
    ),
    Case(
        "weibull",
        weibull,
        {"scale": [0.5, 1.4], "concentration": [0.8, 3.5]},
        [0.2, 2.4],
        {"scale": [0.6, 1.2], "concentration": [1.0, 3.0]},
        mp_log_density=_weibull,
    ),
]
