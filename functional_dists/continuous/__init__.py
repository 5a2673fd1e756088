"""Continuous families, one module each."""

from functional_dists.continuous import (
    delta,
    low_rank_normal,
    multivariate_normal,
    normal,
    tanh_delta,
    tanh_normal,
    truncated_normal,
)
from functional_dists.family.protocol import hide_imports

__all__ = [
    "delta",
    "low_rank_normal",
    "multivariate_normal",
    "normal",
    "tanh_delta",
    "tanh_normal",
    "truncated_normal",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(delta, low_rank_normal, multivariate_normal, normal, tanh_delta, tanh_normal, truncated_normal)
