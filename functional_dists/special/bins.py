"""Probabilities of bins that stand for a real number, and back."""

import torch
from torch import Tensor

from functional_dists.special import softmax
from functional_dists.special.elementary import expm1
from functional_dists.special.gaussian import log_ndtr

__all__ = ["expected", "score_of_weights", "smoothed", "two_nearest"]

_FAR = 1e6  # standard deviations beyond the last edge; there all mass is in the last bin


def two_nearest(bins: Tensor, value: Tensor) -> Tensor:
    """Return weights ``(*S, *B, N)`` of the two bins about each value ``(*S, *B)``, whose mean is the value.

    A value beyond the ends gets all weight on the end. Both weights are quotients of exact distances.

    >>> two_nearest(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([0.5, 9.0]))
    tensor([[0.0000, 0.7500, 0.2500],
            [0.0000, 0.0000, 1.0000]])
    """
    wide, x = bins.double(), value.double()[..., None]
    x = torch.minimum(torch.maximum(x, wide[..., :1]), wide[..., -1:])
    width = wide[..., 1:] - wide[..., :-1]
    one = torch.ones_like(x)
    up = torch.cat([one, (x - wide[..., :-1]) / width], -1)  # rises to 1 at its bin
    down = torch.cat([(wide[..., 1:] - x) / width, one], -1)  # falls from 1 at its bin
    return torch.minimum(up, down).clamp(0.0, 1.0).to(bins.dtype)


def smoothed(bins: Tensor, value: Tensor, sigma: Tensor) -> Tensor:
    """Return the masses ``(*S, *B, N)`` that normal distributions about the values have in the bins, normalised.

    The edges lie midway between bins. Masses are differences of two logarithms of tails, of the nearer side.

    >>> smoothed(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor(0.0), torch.tensor([1.0]))
    tensor([0.2790, 0.4420, 0.2790])
    """
    wide, sigma = bins.double(), sigma.double()
    middle = 0.5 * (wide[..., 1:] + wide[..., :-1])
    first, last = 2 * wide[..., :1] - middle[..., :1], 2 * wide[..., -1:] - middle[..., -1:]
    x = value.double()[..., None]
    x = torch.minimum(torch.maximum(x, (first - _FAR * sigma).detach()), (last + _FAR * sigma).detach())
    z = (torch.cat([first, middle, last], -1) - x) / sigma
    low, high = z[..., :-1], z[..., 1:]
    is_above = low + high > 0
    log_far, log_near = log_ndtr(torch.where(is_above, -high, low)), log_ndtr(torch.where(is_above, -low, high))
    # Below exp(-80) the far tail is lost beside the near one.
    log_mass = log_near + torch.log(-expm1((log_far - log_near).clamp(min=-80.0)))
    return torch.softmax(log_mass, -1).to(bins.dtype)


def score_of_weights(weights: Tensor, logits: Tensor) -> Tensor:
    """Return the sums ``(*S, *B)`` of weights times log-probabilities; -inf, without gradient, where one is -inf.

    >>> score_of_weights(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.0, -torch.inf]))
    tensor(-0.6931)
    """
    log_probs = softmax.log_probs(softmax.terms(logits, None))
    is_possible = log_probs != -torch.inf
    is_used = weights != 0
    is_missed = (is_used & ~is_possible).any(-1, keepdim=True)
    counts = is_used & ~is_missed
    terms = torch.where(counts, weights, 0.0).double() * torch.where(counts & is_possible, log_probs, 0.0)
    return torch.where(is_missed.squeeze(-1), -torch.inf, terms.sum(-1)).to(logits.dtype)


def expected(probs: Tensor, bins: Tensor) -> Tensor:
    """Return the mean ``(*B)`` of the bins, added up in pairs from both ends.

    So equal probabilities of symmetric bins have the mean 0 exactly.

    >>> expected(torch.tensor([0.3, 0.4, 0.3]), torch.tensor([-20.0, 0.0, 20.0]))
    tensor(0.)
    """
    terms = probs * bins
    return 0.5 * (terms + terms.flip(-1)).sum(-1)
