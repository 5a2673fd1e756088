"""Continuous families, one module each."""

from functional_dists.continuous import delta, normal, tanh_delta, tanh_normal, truncated_normal
from functional_dists.family.protocol import hide_imports

__all__ = ["delta", "normal", "tanh_delta", "tanh_normal", "truncated_normal"]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(delta, normal, tanh_delta, tanh_normal, truncated_normal)
