"""Discrete families, one module each."""

from functional_dists.discrete import (
    bernoulli,
    categorical,
    empirical,
    geometric,
    hl_gauss,
    kept,
    linear_categorical,
    llm_masked_categorical,
    logits,
    masked_categorical,
    ordinal,
    poisson,
    sparse_categorical,
    two_hot,
)
from functional_dists.discrete.logits import logits_from_probs
from functional_dists.discrete.multi_categories import multi_categorical
from functional_dists.discrete.rankings import plackett_luce
from functional_dists.family.protocol import hide_imports

__all__ = [
    "bernoulli",
    "categorical",
    "empirical",
    "geometric",
    "hl_gauss",
    "kept",
    "linear_categorical",
    "llm_masked_categorical",
    "logits",
    "logits_from_probs",
    "masked_categorical",
    "multi_categorical",
    "ordinal",
    "plackett_luce",
    "poisson",
    "sparse_categorical",
    "two_hot",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(
    bernoulli,
    categorical,
    empirical,
    geometric,
    hl_gauss,
    linear_categorical,
    llm_masked_categorical,
    masked_categorical,
    ordinal,
    poisson,
    sparse_categorical,
    two_hot,
)
