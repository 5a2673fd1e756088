"""Laplace distribution of every element, with density exp(-|z|) / (2 scale), z = (x - loc) / scale.

See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1995), chapter 24.
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
from functional_dists.special.deviance import exp_excess, ratio_excess
from functional_dists.special.elementary import LOG_2


class Params(NamedTuple):
    """Parameters of a laplace distribution, which broadcast against each other.

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
    tensor([ 0.2561, -0.0649])
    """
    return location_scale.moved(_noise(key, sample_shape, loc, scale), loc, scale)


def _noise(key: Source, sample_shape: Shape, loc: Tensor, scale: Tensor) -> Tensor:
    return _quantile(*location_scale.tails(key, sample_shape, loc, scale))


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, where it overflows.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([0.0, 1.0]))
    tensor([-0.6931, -1.6931])
    """
    return location_scale.score(_log_density, value, loc, scale, event_dims)


def _log_density(z: Tensor) -> Tensor:
    distance = torch.where(z < 0, -z, z)
    return nan_of(-distance - LOG_2, z)


check, sample, sample_and_log_prob, rsample_and_log_prob, support = location_scale.shared_verbs(
    verb, rsample, _noise, _log_density
)


@verb
def entropy(loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, 1 + log(2 scale).

    >>> entropy(torch.zeros(2), 1.0)
    tensor([1.6931, 1.6931])
    """
    return sum_event(nan_of(1 + LOG_2 + scale.double().log(), loc), event_dims).to(scale.dtype)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    With r = p.scale / q.scale and t = |p.loc - q.loc| / p.scale it is (r - 1 - log r) + r (exp(-t) - 1 + t), a sum of
    two terms that are not negative.

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor([0.3679, 0.3679])
    """
    dtype, (p_loc, p_scale, q_loc, q_scale) = p.loc.dtype, (t.double() for t in (*p, *q))
    distance = (p_loc - q_loc) / p_scale
    distance = torch.where(distance < 0, -distance, distance)
    shift = (p_scale / q_scale) * exp_excess(-distance)
    return sum_event(ratio_excess(p_scale, q_scale) + shift, event_dims).to(dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -50.0]))
    tensor([5.0000e-01, 9.6437e-23])
    """
    z = location_scale.standardized(value, loc, scale)
    tail = 0.5 * torch.exp(torch.where(z < 0, z, -z))
    return torch.where(z < 0, tail, 1 - tail).to(loc.dtype)


@verb
def log_cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -50.0]))
    tensor([ -0.6931, -50.6931])
    """
    z = location_scale.standardized(value, loc, scale)
    upper = torch.log1p(-0.5 * torch.exp(-torch.where(z < 0, 0.0, z)))
    return torch.where(z < 0, z - LOG_2, upper).to(loc.dtype)


survival, log_survival = verb.survivals(cdf, log_cdf, lambda loc, scale, value: (-loc, scale, -value))


@verb
def icdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, torch.tensor([0.975, 0.0]))
    tensor([2.9957,   -inf])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    return location_scale.moved(_quantile(p, 1 - p), loc, scale)


def _quantile(lower: Tensor, upper: Tensor) -> Tensor:
    """Return the standard quantile from both tail probabilities."""
    is_lower = lower < upper
    distance = -torch.log(2 * torch.where(is_lower, lower, upper))  # `minimum` halves the slope of equal ones
    return torch.where(is_lower, -distance, distance)


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
    """Return the variance, elementwise.

    >>> variance(torch.zeros(2), 3.0)
    tensor([18., 18.])
    """
    return nan_of(2 * scale.square(), loc)


@verb
def stddev(loc: Real, scale: Real) -> Tensor:
    """Return the standard deviation, elementwise.

    >>> stddev(torch.zeros(2), 3.0)
    tensor([4.2426, 4.2426])
    """
    return nan_of(math.sqrt(2) * scale, loc)
