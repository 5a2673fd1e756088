"""Functions that make logits."""

import math

import torch
from torch import Tensor

__all__ = ["logits_from_probs"]


def logits_from_probs(probs: Tensor) -> Tensor:
    """Return the logits of probabilities, their logarithm, with a gradient of 0 where a probability is 0.

    The probabilities of a row need not sum to 1: every family divides by their sum.

    Args:
        probs: Probabilities or weights, not negative, of any shape.

    Returns:
        Logits of that shape, -inf where the probability is 0.

    >>> logits_from_probs(torch.tensor([1.0, 0.0]))
    tensor([0., -inf])
    """
    positive = probs != 0  # NaN stays NaN
    return torch.where(positive, torch.where(positive, probs, 1.0).log(), -math.inf)
