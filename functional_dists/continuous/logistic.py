"""Logistic distribution of every element, with density exp(-z) / (scale (1 + exp(-z))^2), z = (x - loc) / scale.

See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1995), chapter 23. The divergence of two of
them has no closed form.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.continuous import location_scale
from functional_dists.family import Real, define, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of


class Params(NamedTuple):
    """Parameters of a logistic distribution, which broadcast against each other.

    loc: The mean and median, of shape (*batch, *event).
    scale: The scale, positive, of shape (*batch, *event).
    """

    loc: Real
    scale: Real


verb = define(Params)


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, loc: Real, scale: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable with respect to `loc` and `scale`.

    >>> rsample(random.key(42), torch.zeros(2), 1.0)
    tensor([ 0.4598, -0.1258])
    """
    return location_scale.moved(_noise(key, sample_shape, loc, scale), loc, scale)


def _noise(key: Source, sample_shape: Shape, loc: Tensor, scale: Tensor) -> Tensor:
    return _quantile(*location_scale.tails(key, sample_shape, loc, scale))


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, where it overflows.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([0.0, 1.0]))
    tensor([-1.3863, -1.6265])
    """
    return location_scale.score(_log_density, value, loc, scale, event_dims)


def _log_density(z: Tensor) -> Tensor:
    distance = torch.where(z < 0, -z, z)
    return -distance - 2 * torch.log1p(torch.exp(-distance))


check, sample, sample_and_log_prob, rsample_and_log_prob, support = location_scale.shared_verbs(
    verb, rsample, _noise, _log_density
)


@verb
def entropy(loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, 2 + log(scale).

    >>> entropy(torch.zeros(2), 1.0)
    tensor([2., 2.])
    """
    return sum_event(nan_of(2 + scale.double().log(), loc), event_dims).to(scale.dtype)


@verb
def cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -50.0]))
    tensor([5.0000e-01, 1.9287e-22])
    """
    z = location_scale.standardized(value, loc, scale)
    decay = torch.exp(torch.where(z < 0, z, -z))  # the derivative of `torch.sigmoid` cancels in a tail
    return torch.where(z < 0, decay / (1 + decay), 1 / (1 + decay)).to(loc.dtype)


@verb
def log_cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -50.0]))
    tensor([ -0.6931, -50.0000])
    """
    z = location_scale.standardized(value, loc, scale)
    spread = torch.log1p(torch.exp(torch.where(z < 0, z, -z)))
    return (torch.where(z < 0, z, 0.0) - spread).to(loc.dtype)


survival, log_survival = verb.survivals(cdf, log_cdf, lambda loc, scale, value: (-loc, scale, -value))


@verb
def icdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, torch.tensor([0.975, 0.0]))
    tensor([3.6636,   -inf])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    return location_scale.moved(_quantile(p, 1 - p), loc, scale)


def _quantile(lower: Tensor, upper: Tensor) -> Tensor:
    """Return the standard quantile log(lower / upper) from both tail probabilities."""
    is_central = (lower > 0.25) & (upper > 0.25)
    difference = torch.where(is_central, lower - upper, 0.0)  # exact
    near = torch.log1p(difference / torch.where(is_central, upper, 1.0))
    return torch.where(is_central, near, torch.log(lower) - torch.log(upper))


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(loc: Real, scale: Real) -> Tensor:
    """Return the mean, elementwise.

    >>> mean(torch.zeros(2), 3.0)
    tensor([0., 0.])
    """
    return nan_of(loc, scale)


median = mode = deterministic = mean


@verb
def variance(loc: Real, scale: Real) -> Tensor:
    """Return the variance, (pi scale)^2 / 3, elementwise.

    >>> variance(torch.zeros(2), 3.0)
    tensor([29.6088, 29.6088])
    """
    return nan_of(math.pi**2 / 3 * scale.square(), loc)


@verb
def stddev(loc: Real, scale: Real) -> Tensor:
    """Return the standard deviation, elementwise.

    >>> stddev(torch.zeros(2), 3.0)
    tensor([5.4414, 5.4414])
    """
    return nan_of(math.pi / math.sqrt(3) * scale, loc)
