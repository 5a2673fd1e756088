"""Continuous families, one module each."""

from functional_dists.continuous import delta, normal, tanh_delta, tanh_normal, truncated_normal

__all__ = ["delta", "normal", "tanh_delta", "tanh_normal", "truncated_normal"]
