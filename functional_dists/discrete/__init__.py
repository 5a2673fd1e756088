"""Discrete families, one module each."""

from functional_dists.discrete import (
    bernoulli,
    categorical,
    geometric,
    kept,
    linear_categorical,
    llm_masked_categorical,
    logits,
    masked_categorical,
    ordinal,
    poisson,
    sparse_categorical,
)
from functional_dists.discrete.logits import logits_from_probs
from functional_dists.family.protocol import hide_imports

__all__ = [
    "bernoulli",
    "categorical",
    "geometric",
    "kept",
    "linear_categorical",
    "llm_masked_categorical",
    "logits",
    "logits_from_probs",
    "masked_categorical",
    "ordinal",
    "poisson",
    "sparse_categorical",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(bernoulli, geometric, poisson)
hide_imports(categorical, linear_categorical, llm_masked_categorical, masked_categorical, ordinal, sparse_categorical)
