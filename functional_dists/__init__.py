"""Probability distributions as pure functions for PyTorch, made for reinforcement-learning policies."""

from functional_dists import distributions, parameters, random, special, tree
from functional_dists.continuous import independent_normal, normal, tanh_normal
from functional_dists.discrete import categorical, logits_from_probs, masked_categorical
from functional_dists.family import Family, bind

__all__ = [
    "Family",
    "bind",
    "categorical",
    "distributions",
    "independent_normal",
    "logits_from_probs",
    "masked_categorical",
    "normal",
    "parameters",
    "random",
    "special",
    "tanh_normal",
    "tree",
]
