"""Probability distributions as pure functions for PyTorch, made for reinforcement-learning policies."""

from functional_dists import distributions, divergence, parameters, random, special, tree
from functional_dists.continuous import (
    delta,
    independent_normal,
    normal,
    tanh_delta,
    tanh_normal,
    truncated_normal,
)
from functional_dists.discrete import (
    categorical,
    llm_masked_categorical,
    logits,
    logits_from_probs,
    masked_categorical,
    masked_one_hot_categorical,
    one_hot_categorical,
    one_hot_ordinal,
    ordinal,
    sparse_categorical,
    sparse_one_hot_categorical,
)
from functional_dists.family import Family, bind

__all__ = [
    "Family",
    "bind",
    "categorical",
    "delta",
    "distributions",
    "divergence",
    "independent_normal",
    "llm_masked_categorical",
    "logits",
    "logits_from_probs",
    "masked_categorical",
    "masked_one_hot_categorical",
    "normal",
    "one_hot_categorical",
    "one_hot_ordinal",
    "ordinal",
    "parameters",
    "random",
    "sparse_categorical",
    "sparse_one_hot_categorical",
    "special",
    "tanh_delta",
    "tanh_normal",
    "tree",
    "truncated_normal",
]
