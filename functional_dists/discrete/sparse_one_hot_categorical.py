"""Categorical distribution over those one-hot vectors of length N whose outcomes are listed.

It is `sparse_categorical` with one-hot values, and the gradients of `masked_one_hot_categorical`. Tables are over the K
slots of the list; the mean and the variance, as values are, over all N outcomes. A row that lists none draws zeros.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists import random  # noqa: F401 (for the examples)
from functional_dists.discrete import masked_one_hot_categorical as masked
from functional_dists.discrete import sparse_categorical as sparse
from functional_dists.discrete.indices import mask_from_indices
from functional_dists.discrete.masked_one_hot_categorical import Gradient
from functional_dists.options import NOT_NEGATIVE
from functional_dists.random import Shape, Source
from functional_dists.special import one_hot, root, softmax
from functional_dists.special import support as supports
from functional_dists.tree import Index, OneHot, Real, verb

__all__ = [
    "Params",
    "check",
    "deterministic",
    "entropy",
    "kl",
    "log_prob",
    "log_prob_relaxed",
    "mean",
    "mode",
    "normalized_logits",
    "probs",
    "rsample",
    "rsample_and_log_prob",
    "sample",
    "sample_and_log_prob",
    "stddev",
    "support",
    "variance",
]


class Params(NamedTuple):
    """Parameters of a sparse one-hot categorical distribution, whose batches broadcast against each other.

    logits: Log-probabilities up to a constant, of all outcomes, of shape (*batch, N).
    indices: The outcomes in the list, integers of shape (*batch, K).
    value: Vectors, of shape (*sample, *batch, N): they may add leading axes to the batch.
    sample: One-hot vectors of shape (*sample_shape, *batch, N), int64.
    """

    logits: Real
    indices: Index


@verb
def check(logits: Real, indices: Index, *, padding_value: int | None = None) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(3), torch.tensor([0, 3]))
    Traceback (most recent call last):
    ...
    ValueError: indices must lie between 0 and N - 1; it is not at position (1,)
    """
    sparse.check(logits, indices, padding_value=padding_value)


def _mask(logits: Tensor, indices: Tensor, padding_value: int | None) -> Tensor:
    return mask_from_indices(indices, logits.shape[-1], padding_value=padding_value)


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(
    key: Source, logits: Real, indices: Index, *, sample_shape: Shape = (), padding_value: int | None = None
) -> Tensor:
    """Draw one-hot vectors.

    >>> sample(random.key(42), torch.zeros(4), torch.tensor([3, 1]))
    tensor([0, 0, 0, 1])
    """
    return _hard_draw(key, logits, indices, sample_shape, padding_value)


@verb
def rsample(
    key: Source,
    logits: Real,
    indices: Index,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
    padding_value: int | None = None,
) -> Tensor:
    """Draw vectors in the logits' dtype, with a gradient: those of `sample`, or relaxed ones at a temperature.

    >>> rsample(random.key(42), torch.zeros(4), torch.tensor([3, 1]))
    tensor([0., 0., 0., 1.])
    """
    mask = _mask(logits, indices, padding_value)
    if masked.is_relaxed(gradient):
        return masked.soft_draw(
            "sparse_one_hot_categorical.rsample", key, logits, mask, sample_shape, gradient, temperature
        )
    masked.row_temperature("sparse_one_hot_categorical.rsample", temperature, logits, mask, within=NOT_NEGATIVE)
    hard = _hard_draw(key, logits, indices, sample_shape, padding_value)
    return one_hot.straight_through(hard, softmax.probs(softmax.softmax(logits, mask)))


@verb
def sample_and_log_prob(
    key: Source, logits: Real, indices: Index, *, sample_shape: Shape = (), padding_value: int | None = None
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which carries the gradient of the score function.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(4), torch.tensor([3, 1]))
    >>> log_prob
    tensor(-0.6931)
    """
    value = _hard_draw(key, logits, indices, sample_shape, padding_value)
    return value, _log_prob_of(logits, indices, value, padding_value)


@verb
def rsample_and_log_prob(
    key: Source,
    logits: Real,
    indices: Index,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
    padding_value: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-probability; of relaxed vectors the log-density, from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(4), torch.tensor([3, 1]))
    >>> log_prob
    tensor(-0.6931)
    """
    mask = _mask(logits, indices, padding_value)
    if masked.is_relaxed(gradient):
        return masked.soft_draw_and_log_prob(
            "sparse_one_hot_categorical.rsample_and_log_prob", key, logits, mask, sample_shape, gradient, temperature
        )
    masked.row_temperature(
        "sparse_one_hot_categorical.rsample_and_log_prob", temperature, logits, mask, within=NOT_NEGATIVE
    )
    hard = _hard_draw(key, logits, indices, sample_shape, padding_value)
    value = one_hot.straight_through(hard, softmax.probs(softmax.softmax(logits, mask)))
    return value, _log_prob_of(logits, indices, hard, padding_value)


def _hard_draw(key: Source, logits: Tensor, indices: Tensor, sample_shape: Shape, padding_value: int | None) -> Tensor:
    outcome = sparse.draw_listed(key, logits, indices, sample_shape, padding_value)
    return one_hot.encoded(outcome, logits.shape[-1])


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(logits: Real, indices: Index, value: OneHot, *, padding_value: int | None = None) -> Tensor:
    """Return the log-probability of a one-hot vector; -inf for one that is not listed, and for what is not one-hot.

    >>> log_prob(torch.zeros(3), torch.tensor([2, 0]), torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1]]))
    tensor([-0.6931,    -inf,    -inf])
    """
    return _log_prob_of(logits, indices, value, padding_value)


def _log_prob_of(logits: Tensor, indices: Tensor, value: Tensor, padding_value: int | None) -> Tensor:
    given, is_nan = one_hot.decoded(value)
    outcome = torch.where(given < 0, logits.shape[-1], given)  # which no list can hold
    return one_hot.nan_where(is_nan, sparse.log_prob_of(logits, indices, outcome, padding_value))


@verb
def log_prob_relaxed(
    logits: Real,
    indices: Index,
    value: OneHot,
    *,
    temperature: float | Tensor = 1.0,
    padding_value: int | None = None,
) -> Tensor:
    """Return the log-density of a relaxed vector on the simplex of the listed outcomes.

    A zero in the vector, which relaxed draws round to at low temperatures, counts as the smallest normal number.

    >>> log_prob_relaxed(torch.zeros(3), torch.tensor([2, 0]), torch.tensor([0.3, 0.0, 0.7]))
    tensor(0.)
    """
    return masked.relaxed_score(
        "sparse_one_hot_categorical.log_prob_relaxed", logits, _mask(logits, indices, padding_value), value, temperature
    )


@verb
def probs(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the probabilities of the listed outcomes, 0 in unused slots.

    >>> probs(torch.zeros(9), torch.tensor([7, 4, -1]), padding_value=-1)
    tensor([0.5000, 0.5000, 0.0000])
    """
    return softmax.probs(sparse.parts_of(logits, indices, padding_value))


@verb
def normalized_logits(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the log-probabilities of the listed outcomes, -inf in unused slots.

    >>> normalized_logits(torch.zeros(9), torch.tensor([7, 4, -1]), padding_value=-1)
    tensor([-0.6931, -0.6931,    -inf])
    """
    return softmax.log_probs(sparse.parts_of(logits, indices, padding_value))


@verb
def entropy(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(9), torch.tensor([7, 4, -1]), padding_value=-1)
    tensor(0.6931)
    """
    return softmax.entropy(*sparse.listed(logits, indices, padding_value))


@verb
def support(logits: Real, indices: Index, *, padding_value: int | None = None) -> Constraint:
    """Return the one-hot vectors of finite log-probability, as a constraint.

    >>> support(torch.zeros(3), torch.tensor([2, 0])).check(torch.tensor([[1, 0, 0], [0, 1, 0]]))
    tensor([ True, False])
    """
    return supports.one_hot_outcomes(supports.allowed(logits, _mask(logits, indices, padding_value)))


@verb
def kl(p: Params, q: Params, *, padding_value: int | None = None) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p lists an outcome that q does not.

    >>> p, q = Params(torch.zeros(9), torch.tensor([7, 4])), Params(torch.zeros(9), torch.tensor([4, 7, 5]))
    >>> kl(p, q), kl(q, p)
    (tensor(0.4055), tensor(inf))
    """
    return sparse.divergence(p, q, padding_value)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the mean of the vectors, elementwise: the probabilities of all outcomes.

    >>> mean(torch.zeros(3), torch.tensor([2, 0]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return softmax.probs(softmax.softmax(logits, _mask(logits, indices, padding_value)))


@verb
def variance(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the variance of the vectors, elementwise: p (1 - p).

    >>> variance(torch.zeros(3), torch.tensor([2, 0]))
    tensor([0.2500, 0.0000, 0.2500])
    """
    return softmax.variance(softmax.softmax(logits, _mask(logits, indices, padding_value)))


@verb
def stddev(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the standard deviation of the vectors, elementwise.

    >>> stddev(torch.zeros(3), torch.tensor([2, 0]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return root(softmax.variance(softmax.softmax(logits, _mask(logits, indices, padding_value))))


@verb
def mode(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return the most probable vector, the first listed of equals.

    >>> mode(torch.arange(3.0), torch.tensor([1, 0]))
    tensor([0, 1, 0])
    """
    return one_hot.encoded(sparse.most_probable(logits, indices, padding_value), logits.shape[-1])


@verb
def deterministic(logits: Real, indices: Index, *, padding_value: int | None = None) -> Tensor:
    """Return what a policy plays when it does not explore: the mode.

    >>> deterministic(torch.arange(3.0), torch.tensor([1, 0]))
    tensor([0, 1, 0])
    """
    return one_hot.encoded(sparse.most_probable(logits, indices, padding_value), logits.shape[-1])
