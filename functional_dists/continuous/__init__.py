"""Continuous families, one module each."""

from functional_dists.continuous import (
    beta,
    cauchy,
    delta,
    dirichlet,
    exponential,
    gamma,
    gumbel,
    kumaraswamy,
    laplace,
    logistic,
    low_rank_normal,
    multivariate_normal,
    normal,
    tanh_delta,
    tanh_normal,
    truncated_normal,
    uniform,
)
from functional_dists.family.protocol import hide_imports

__all__ = [
    "beta",
    "cauchy",
    "delta",
    "dirichlet",
    "exponential",
    "gamma",
    "gumbel",
    "kumaraswamy",
    "laplace",
    "logistic",
    "low_rank_normal",
    "multivariate_normal",
    "normal",
    "tanh_delta",
    "tanh_normal",
    "truncated_normal",
    "uniform",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(
    beta,
    cauchy,
    delta,
    dirichlet,
    exponential,
    gamma,
    gumbel,
    kumaraswamy,
    laplace,
    logistic,
    low_rank_normal,
    multivariate_normal,
    normal,
    tanh_delta,
    tanh_normal,
    truncated_normal,
    uniform,
)
