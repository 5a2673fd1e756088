"""Discrete families, a module each."""

from functional_dists.discrete import categorical, masked_categorical
from functional_dists.discrete.logits import logits_from_probs

__all__ = ["categorical", "logits_from_probs", "masked_categorical"]
