"""Continuous families, one module each."""

from functional_dists.continuous import (
    cauchy,
    delta,
    exponential,
    gamma,
    gumbel,
    kumaraswamy,
    laplace,
    logistic,
    low_rank_normal,
    multivariate_normal,
    normal,
    student_t,
    tanh_delta,
    tanh_normal,
    truncated_normal,
    uniform,
    von_mises,
)
from functional_dists.family.protocol import hide_imports

__all__ = [
    "cauchy",
    "delta",
    "exponential",
    "gamma",
    "gumbel",
    "kumaraswamy",
    "laplace",
    "logistic",
    "low_rank_normal",
    "multivariate_normal",
    "normal",
    "student_t",
    "tanh_delta",
    "tanh_normal",
    "truncated_normal",
    "uniform",
    "von_mises",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(
    cauchy,
    delta,
    exponential,
    gamma,
    gumbel,
    kumaraswamy,
    laplace,
    logistic,
    low_rank_normal,
    multivariate_normal,
    normal,
    student_t,
    tanh_delta,
    tanh_normal,
    truncated_normal,
    uniform,
    von_mises,
)
