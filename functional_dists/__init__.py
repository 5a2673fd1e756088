"""Probability distributions as pure functions for PyTorch, made for reinforcement-learning policies."""

from functional_dists import parameters, random, special, tree
from functional_dists.continuous import independent_normal, normal, tanh_normal
from functional_dists.family import Family, bind

__all__ = [
    "Family",
    "bind",
    "independent_normal",
    "normal",
    "parameters",
    "random",
    "special",
    "tanh_normal",
    "tree",
]
