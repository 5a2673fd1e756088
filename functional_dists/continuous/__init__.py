"""Continuous families, a module each."""

from functional_dists.continuous import normal, tanh_normal
from functional_dists.family import bind

independent_normal = bind(normal, event_dims=1)

__all__ = ["independent_normal", "normal", "tanh_normal"]
