"""Continuous families, a module each."""

from functional_dists.continuous import delta, normal, tanh_delta, tanh_normal, truncated_normal
from functional_dists.family import bind

independent_normal = bind(normal, event_dims=1)

__all__ = ["delta", "independent_normal", "normal", "tanh_delta", "tanh_normal", "truncated_normal"]
