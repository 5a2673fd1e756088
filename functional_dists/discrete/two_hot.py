"""Categorical distribution over bins of a real number, trained on the two bins about a target: a value head.

A target between two bins has the weights with which their mean is the target; see Schrittwieser et al., "Mastering
Atari, Go, chess and shogi by planning with a learned model" (2020), appendix F, and Hafner et al., "Mastering diverse
domains through world models" (2023). A target beyond the ends counts as the end.
"""

from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete.categorical import check_logits, draw, draw_and_log_prob
from functional_dists.family import Real, RowReal, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, softmax
from functional_dists.special.bins import expected, score_of_weights, two_nearest


class Params(NamedTuple):
    """Parameters of a distribution over bins, which broadcast against each other.

    logits: Log-probabilities of the bins up to a constant, of shape (*batch, N).
    bins: The numbers that the bins stand for, ascending, of shape (*batch, N), such as (N,).
    value: Real numbers, of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Numbers of bins, of shape (*sample_shape, *batch), in the parameters' dtype.
    """

    logits: Real
    bins: Real


verb = define(Params, values_of=RowReal)


@verb
def check(logits: Real, bins: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(3), torch.tensor([0.0, 2.0, 1.0]))
    Traceback (most recent call last):
    ...
    ValueError: bins must be at least 2 finite numbers that ascend
    """
    ascend = (bins[..., 1:] > bins[..., :-1]).all() & bins.isfinite().all()
    require(ascend & (bins.shape[-1] > 1), "bins", "must be at least 2 finite numbers that ascend")
    check_logits(logits, torch.ones_like(logits, dtype=torch.bool))


# ------------------------------------------------------------------------------------------------------------- targets
@verb
def encode(bins: Real, value: RowReal) -> Tensor:
    """Return the target of the probabilities: the weights of the two bins about each value, of shape (*value, N).

    >>> encode(torch.tensor([-1.0, 0.0, 1.0]), 0.25)
    tensor([0.0000, 0.7500, 0.2500])
    """
    return two_nearest(bins, value)


@verb
def log_prob(logits: Real, bins: Real, value: RowReal) -> Tensor:
    """Return the log-probs of the two bins about a value, weighted as `encode` does: minus the loss of a value head.

    >>> log_prob(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.0]), 0.25)
    tensor(-1.0986)
    """
    return score_of_weights(two_nearest(bins, value), logits)


# --------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, logits: Real, bins: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the number of a bin.

    >>> sample(random.key(42), torch.zeros(3), torch.tensor([-1.0, 0.0, 1.0]))
    tensor(0.)
    """
    logits, bins = torch.broadcast_tensors(logits, bins)
    return _number(logits, bins, draw(key, logits, None, sample_shape)).detach()


@verb
def sample_and_log_prob(key: Source, logits: Real, bins: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> sample_and_log_prob(random.key(42), torch.zeros(3), torch.tensor([-1.0, 0.0, 1.0]))
    (tensor(0.), tensor(-1.0986))
    """
    logits, bins = torch.broadcast_tensors(logits, bins)
    outcome, log_prob = draw_and_log_prob(key, logits, None, sample_shape)
    number = _number(logits, bins, outcome).detach()
    return number, nan_of(log_prob, number)


def _number(logits: Tensor, bins: Tensor, outcome: Tensor) -> Tensor:
    """Return the numbers of bins ``(*B, N)`` at outcomes ``(*S, *B)``; NaN where a logit is."""
    number = bins.expand(*outcome.shape, bins.shape[-1]).gather(-1, outcome[..., None]).squeeze(-1)
    return nan_of(number, logits.amax(-1))


# ------------------------------------------------------------------------------------------------------- probabilities
@verb
def probs(logits: Real, bins: Real) -> Tensor:
    """Return the probabilities of the bins.

    >>> probs(torch.zeros(4), torch.arange(4.0))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return nan_of(softmax.probs(softmax.terms(logits, None)), bins)


@verb
def normalized_logits(logits: Real, bins: Real) -> Tensor:
    """Return the log-probabilities of the bins.

    >>> normalized_logits(torch.zeros(4), torch.arange(4.0))
    tensor([-1.3863, -1.3863, -1.3863, -1.3863])
    """
    return nan_of(softmax.log_probs(softmax.terms(logits, None)), bins)


@verb
def entropy(logits: Real, bins: Real) -> Tensor:
    """Return the entropy of the bins in nats.

    >>> entropy(torch.zeros(4), torch.arange(4.0))
    tensor(1.3863)
    """
    return nan_of(softmax.entropy(logits, None), bins.amax(-1))


@verb
def mean(logits: Real, bins: Real) -> Tensor:
    """Return the mean, the value that the head predicts; exactly 0 for equal logits and symmetric bins.

    >>> mean(torch.zeros(3), torch.tensor([-20.0, 0.0, 20.0]))
    tensor(0.)
    """
    return expected(_wide_probs(logits), bins.double()).to(logits.dtype)


@verb
def variance(logits: Real, bins: Real) -> Tensor:
    """Return the variance of the numbers of the bins.

    >>> variance(torch.zeros(2), torch.tensor([-1.0, 1.0]))
    tensor(1.)
    """
    table, wide = _wide_probs(logits), bins.double()
    return (table * (wide - expected(table, wide)[..., None]).square()).sum(-1).to(logits.dtype)


def _wide_probs(logits: Tensor) -> Tensor:
    """Return the probabilities in float64: rounded ones do not add up to 1, which matters beside large bins."""
    return softmax.probs(softmax.terms(logits.double(), None))


stddev = verb.stddev(variance)


@verb
def mode(logits: Real, bins: Real) -> Tensor:
    """Return the number of the most probable bin, the first among equals.

    >>> mode(torch.tensor([0.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))
    tensor(0.)
    """
    logits, bins = torch.broadcast_tensors(logits, bins)
    return _number(logits, bins, softmax.mode(logits, None))
