"""Empirical distribution: one of K real numbers, each with a weight, such as the returns of K episodes.

Probabilities are proportional to exp(logits), and equal if the logits are left out. Points that are equal add up their
probabilities. A logit of -inf excludes its point.
"""

from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete.categorical import check_logits, draw
from functional_dists.discrete.logits import log_kept_mass
from functional_dists.family import Real, RowReal, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, row_is_nan, softmax


class Params(NamedTuple):
    """Parameters of an empirical distribution, which broadcast against each other.

    points: The numbers, of shape (*batch, K).
    logits: Log-probabilities of the points up to a constant, of shape (*batch, K).
    value: Real numbers, of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Points of shape (*sample_shape, *batch), in the parameters' dtype.
    """

    points: Real
    logits: Real = 0.0


verb = define(Params, values_of=RowReal)


@verb
def check(points: Real, logits: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, torch.inf]))
    Traceback (most recent call last):
    ...
    ValueError: points must be finite; this fails at position (1,)
    """
    require(points.isfinite(), "points", "must be finite")
    points, logits = torch.broadcast_tensors(points, logits)
    check_logits(logits, torch.ones_like(logits, dtype=torch.bool))


@verb
def sample(key: Source, points: Real, logits: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a point, cut from the graph.

    >>> sample(random.key(42), torch.tensor([1.0, 2.0, 5.0]), sample_shape=4)
    tensor([2., 5., 5., 2.])
    """
    points, logits = torch.broadcast_tensors(points, logits)
    place = draw(key, logits, None, sample_shape)
    found = points.expand(*place.shape, points.shape[-1]).gather(-1, place[..., None]).squeeze(-1)
    return nan_of(found, row_is_nan(points, logits)).detach()


@verb
def sample_and_log_prob(key: Source, points: Real, logits: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> sample_and_log_prob(random.key(42), torch.tensor([1.0, 2.0, 2.0]))
    (tensor(2.), tensor(-0.4055))
    """
    value = sample(key, points, logits, sample_shape=sample_shape)
    return value, log_prob(points, logits, value)


@verb
def log_prob(points: Real, logits: Real, value: RowReal) -> Tensor:
    """Return the log of the probability of the points that equal a value; -inf, with no gradient, if there is none.

    >>> log_prob(torch.tensor([1.0, 2.0, 2.0]), value=torch.tensor([2.0, 3.0]))
    tensor([-0.4055,    -inf])
    """
    points, logits = torch.broadcast_tensors(points, logits)
    is_equal = points == value[..., None]
    return nan_of(log_kept_mass(logits.expand(is_equal.shape), is_equal), row_is_nan(points, logits), value)


@verb
def cdf(points: Real, logits: Real, value: RowReal) -> Tensor:
    """Return P(X <= value).

    >>> cdf(torch.tensor([1.0, 2.0, 5.0]), value=torch.tensor([0.0, 2.0]))
    tensor([0.0000, 0.6667])
    """
    points, logits = torch.broadcast_tensors(points, logits)
    below = torch.where(points <= value[..., None], softmax.probs(softmax.terms(logits.double(), None)), 0.0)
    total = below.sum(-1).clamp(max=1.0).to(points.dtype)
    return nan_of(total, row_is_nan(points, logits), value)


@verb
def icdf(points: Real, logits: Real, value: RowReal) -> Tensor:
    """Return the smallest point at which the cdf reaches the probability `value`; NaN outside [0, 1].

    >>> icdf(torch.tensor([5.0, 1.0, 2.0]), value=torch.tensor([0.0, 0.5, 1.0]))
    tensor([1., 2., 5.])
    """
    points, logits = torch.broadcast_tensors(points, logits)
    ordered, order = points.sort(-1)
    weight = softmax.probs(softmax.terms(logits.detach().double(), None)).gather(-1, order)
    total = weight.cumsum(-1)
    # The cdf of the last point may have been rounded below 1; points without weight are no quantiles.
    last = (weight.flip(-1).cumsum(-1).flip(-1) > 0).sum(-1) - 1
    place = ((total < value[..., None]) | (total <= 0)).sum(-1)
    place = torch.minimum(place, last.clamp(min=0))
    found = ordered.expand(*place.shape, ordered.shape[-1]).gather(-1, place[..., None]).squeeze(-1)
    is_probability = (value >= 0) & (value <= 1)
    return nan_of(torch.where(is_probability, found, torch.nan), row_is_nan(points, logits))


@verb
def median(points: Real, logits: Real) -> Tensor:
    """Return the smallest point at which the cdf reaches 1/2.

    >>> median(torch.tensor([5.0, 1.0, 2.0]))
    tensor(2.)
    """
    return icdf(points, logits, 0.5)


@verb
def mean(points: Real, logits: Real) -> Tensor:
    """Return the mean.

    >>> mean(torch.tensor([1.0, 2.0, 6.0]))
    tensor(3.)
    """
    return _mean(points, logits)[0].to(points.dtype)


@verb
def variance(points: Real, logits: Real) -> Tensor:
    """Return the variance, with the weights as they are: a sum over K points, not over K - 1.

    >>> variance(torch.tensor([1.0, 2.0, 6.0]))
    tensor(4.6667)
    """
    centre, weight = _mean(points, logits)
    return (weight * (points.double() - centre[..., None]).square()).sum(-1).to(points.dtype)


stddev = verb.stddev(variance)


def _mean(points: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the probabilities, in float64."""
    points, logits = torch.broadcast_tensors(points, logits)
    weight = softmax.probs(softmax.terms(logits.double(), None))
    return (weight * points.double()).sum(-1), weight
