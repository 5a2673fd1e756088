"""Univariate families with a closed form."""

import mpmath

from functional_dists import bernoulli, cauchy, exponential, geometric, gumbel, laplace, logistic, poisson, uniform
from tests.algebra.case import Case


def _laplace(x, loc, scale):
    return -abs(x - loc) / scale - mpmath.log(2 * scale)


def _logistic(x, loc, scale):
    z = (x - loc) / scale
    return -z - 2 * mpmath.log(1 + mpmath.exp(-z)) - mpmath.log(scale)


def _gumbel(x, loc, scale):
    z = (x - loc) / scale
    return -z - mpmath.exp(-z) - mpmath.log(scale)


def _cauchy(x, loc, scale):
    return -mpmath.log(mpmath.pi * scale * (1 + ((x - loc) / scale) ** 2))


_PARAMS = {"loc": [0.3, -1.1], "scale": [0.5, 1.4]}
_OTHER = {"loc": [0.1, -0.7], "scale": [0.7, 1.1]}

CASES = [
    *(
        Case(family.__name__.rpartition(".")[2], family, _PARAMS, [0.2, -0.4], _OTHER, mp_log_density=density)
        for family, density in ((laplace, _laplace), (gumbel, _gumbel), (cauchy, _cauchy))
    ),
    Case("logistic", logistic, _PARAMS, [0.2, -0.4], mp_log_density=_logistic),
    Case(
        "exponential",
        exponential,
        {"rate": [0.4, 2.5]},
        [0.3, 1.7],
        {"rate": [0.9, 1.8]},
        mp_log_density=lambda x, rate: mpmath.log(rate) - rate * x,
    ),
    Case(
        "uniform",
        uniform,
        {"low": [-1.0, 0.4], "high": [0.5, 3.2]},
        [0.2, 1.7],
        {"low": [-1.5, 0.1], "high": [0.7, 3.3]},
        mp_log_density=lambda x, low, high: -mpmath.log(high - low),
    ),
    Case(
        "bernoulli",
        bernoulli,
        {"logits": [0.4, -1.3]},
        [0, 0],
        {"logits": [0.1, -0.6]},
        lambda params: [0, 1],
        lambda x, logits: -mpmath.log(1 + mpmath.exp(-logits if x else logits)),
        inexact=("rsample", "rsample_and_log_prob"),  # straight-through values are constant, and have a gradient
    ),
    Case(
        "poisson",
        poisson,
        {"rate": [3.4, 11.5]},
        [2, 14],
        {"rate": [2.9, 13.0]},
        lambda params: list(range(60)),
        lambda x, rate: x * mpmath.log(rate) - rate - mpmath.loggamma(x + 1),
    ),
    Case(
        "geometric",
        geometric,
        {"logits": [0.4, -1.3]},
        [2, 1],
        {"logits": [0.1, -0.9]},
        lambda params: list(range(120)),
        lambda x, logits: -mpmath.log(1 + mpmath.exp(-logits)) - x * mpmath.log(1 + mpmath.exp(logits)),
    ),
]
