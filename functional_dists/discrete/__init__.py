"""Discrete families, one module each."""

from functional_dists.discrete import (
    categorical,
    linear_categorical,
    llm_masked_categorical,
    logits,
    masked_categorical,
    ordinal,
    sparse_categorical,
)
from functional_dists.discrete.logits import logits_from_probs

__all__ = [
    "categorical",
    "linear_categorical",
    "llm_masked_categorical",
    "logits",
    "logits_from_probs",
    "masked_categorical",
    "ordinal",
    "sparse_categorical",
]
