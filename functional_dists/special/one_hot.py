"""One-hot vectors of outcomes, and relaxed one-hot vectors on the simplex."""

import math

import torch
from torch import Tensor

from functional_dists.special import softmax
from functional_dists.special.axis import (
    Cut,
    cut_of_rows,
    cuts_of,
    gathered,
    largest_of_rows,
    positions_in_rows,
    shared,
    summed,
)
from functional_dists.special.temperature import tempered

__all__ = [
    "decoded",
    "encoded",
    "log_prob",
    "nan_where",
    "relaxed",
    "relaxed_log_density",
    "straight_through",
]
__dir__ = __all__.copy  # what tab completion shows


def encoded(index: Tensor, like: Tensor) -> Tensor:
    """Return outcomes ``(*S, *B)`` as one-hot vectors ``(*S, *B, N)``, int64, as long as the rows of `like`.

    >>> encoded(torch.tensor([2, 0]), torch.zeros(3))
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    return (positions_in_rows(like) == index[..., None]).long()


def log_prob(logits: Tensor, mask: Tensor | None, vector: Tensor) -> Tensor:
    """Return the log-probabilities ``(*S, *B)`` of vectors ``(*S, *B, N)``: -inf if not one-hot, NaN for a NaN.

    >>> log_prob(torch.zeros(2), None, torch.tensor([[1, 0], [1, 1]]))
    tensor([-0.6931,    -inf])
    """
    outcome, is_nan = decoded(vector)
    return nan_where(is_nan, softmax.log_prob(logits, mask, outcome))


def decoded(vector: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the outcomes of one-hot vectors, -1 for other vectors, and which vectors hold a NaN.

    A vector with a NaN gets the first outcome whose element is not 0. The second result is None for integer vectors.

    >>> decoded(torch.tensor([[0, 1], [1, 1], [0, 2]]))
    (tensor([ 1, -1, -1]), None)
    """
    if cut := cut_of_rows():
        return _decoded_of_parts(vector, cut)
    is_one, is_zero = vector == 1, vector == 0
    is_one_hot = (is_one | is_zero).all(-1) & (is_one.sum(-1) == 1)
    first_nonzero = is_zero.long().argmin(-1)
    if not vector.is_floating_point():
        return torch.where(is_one_hot, first_nonzero, -1), None
    is_nan = vector.detach().amax(-1).isnan()
    return torch.where(is_one_hot | is_nan, first_nonzero, -1), is_nan


def _decoded_of_parts(vector: Tensor, cut: Cut) -> tuple[Tensor, Tensor | None]:
    """Return what `decoded` returns, from the parts of vectors."""
    is_one, is_zero = vector == 1, vector == 0
    first = torch.where(is_zero, math.inf, positions_in_rows(vector).double())
    padding = (*vector.shape[:-1], 1)  # a process may have no part
    first = torch.cat([first, first.new_full(padding, math.inf)], -1).amin(-1)
    numbers = [is_one.sum(-1), (~(is_one | is_zero)).sum(-1), vector.isnan().sum(-1)]
    of_parts = gathered(torch.stack([*(n.double() for n in numbers), first]), cut)
    ones, others, nans = of_parts[:, :3].sum(0)
    is_one_hot, is_nan = (others == 0) & (ones == 1), nans > 0
    index = of_parts[:, 3].amin(0).nan_to_num(0.0, 0.0, 0.0).long()
    outcome = torch.where(is_one_hot | is_nan, index, -1)
    return outcome, is_nan if vector.is_floating_point() else None


def nan_where(is_nan: Tensor | None, score: Tensor) -> Tensor:
    """Return scores, with NaN values and gradients where `is_nan` is true.

    >>> nan_where(torch.tensor([True, False]), torch.tensor(-1.0))
    tensor([nan, -1.])
    """
    return score if is_nan is None else score * torch.where(is_nan, math.nan, 1.0).to(score.dtype)


def straight_through(hard: Tensor, probs: Tensor) -> Tensor:
    """Return one-hot vectors whose gradient is that of the probabilities.

    Source: Bengio, Leonard, Courville, "Estimating or propagating gradients through stochastic neurons" (2013).

    >>> straight_through(torch.tensor([0, 1]), torch.tensor([0.4, 0.6]))
    tensor([0., 1.])
    """
    return hard + (probs - probs.detach())


def relaxed(logits: Tensor, support: Tensor, gumbel: Tensor, temperature: Tensor | float) -> Tensor:
    """Return the logarithms of relaxed one-hot vectors at temperatures ``(*B, 1)``: -inf outside the support.

    At temperature 0 the vectors are one-hot.

    Source: Maddison, Mnih, Teh, "The Concrete distribution" (2017); Jang, Gu, Poole, "Gumbel-softmax" (2017).

    >>> relaxed(torch.zeros(2), torch.tensor([True, True]), torch.tensor([0.0, 1.0]), torch.ones(1)).exp()
    tensor([0.2689, 0.7311])
    """
    perturbed = torch.where(support, torch.where(support, logits, 0.0) + gumbel, -math.inf)
    quotient = tempered(perturbed, temperature, perturbed.dtype)
    shifted = torch.where(support, quotient - largest_of_rows(quotient), 0.0)
    cuts = cuts_of([-1])
    total = shared(summed(torch.where(support, shifted.exp(), 0.0).sum(-1, keepdim=True), cuts), cuts)
    return torch.where(support, shifted - torch.where(total == 0, 1.0, total).log(), -math.inf)


def relaxed_log_density(logits: Tensor, support: Tensor, log_value: Tensor, temperature: Tensor) -> Tensor:
    """Return the log-density of relaxed one-hot vectors v on the simplex of their support.

    With n outcomes in the support and temperatures t ``(*B, 1)`` it is

        log (n-1)! + (n-1) log t + sum(logits - (t+1) log v) - n log sum exp(logits - t log v).

    Source: Maddison, Mnih, Teh, "The Concrete distribution" (2017), eq. 10.

    >>> relaxed_log_density(torch.zeros(2), torch.tensor([True, True]), torch.tensor([0.3, 0.7]).log(), torch.ones(1))
    tensor(0.)
    """
    cuts = cuts_of([-1])
    count = summed(support.sum(-1).to(logits.dtype), cuts)
    logits, log_value = torch.where(support, logits, 0.0), torch.where(support, log_value, 0.0)
    perturbed = logits - temperature * log_value
    largest = largest_of_rows(torch.where(support, perturbed.detach(), -math.inf))
    shifted = torch.where(support, perturbed - largest, 0.0)
    total = summed(torch.where(support, shifted.exp(), 0.0).sum(-1), cuts)
    spread = (count - 1) * temperature.log().squeeze(-1)
    if any(cut.rank for cut in cuts):
        spread = 0.0 * spread  # one process has it, since slopes by the temperature are added up
    of_row = torch.lgamma(count) - count * torch.where(total == 0, 1.0, total).log()
    return torch.where(count > 0, of_row + summed(spread + (shifted - log_value).sum(-1), cuts), -math.inf)
