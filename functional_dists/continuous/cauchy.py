"""Cauchy distribution of every element, with density 1 / (pi scale (1 + z^2)), z = (x - loc) / scale.

It has no mean and no variance. See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1994),
chapter 16.
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
    """Parameters of a cauchy distribution, which broadcast against each other.

    loc: The median, of shape (*batch, *event).
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
    tensor([ 0.3706, -0.0990])
    """
    return location_scale.moved(_noise(key, sample_shape, loc, scale), loc, scale)


def _noise(key: Source, sample_shape: Shape, loc: Tensor, scale: Tensor) -> Tensor:
    return _quantile(*location_scale.tails(key, sample_shape, loc, scale))


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, where it overflows.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([0.0, 1.0]))
    tensor([-1.1447, -1.8379])
    """
    return location_scale.score(_log_density, value, loc, scale, event_dims)


def _log_density(z: Tensor) -> Tensor:
    is_far = z.abs() > 1e100  # where 1 + z^2 = z^2 to the last digit, and may overflow
    far = 2 * torch.log(torch.where(is_far, z, 1.0).abs())
    return -math.log(math.pi) - torch.where(is_far, far, torch.log1p(torch.where(is_far, 0.0, z).square()))


check, sample, sample_and_log_prob, rsample_and_log_prob, support = location_scale.shared_verbs(
    verb, rsample, _noise, _log_density
)


@verb
def entropy(loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log(4 pi scale).

    >>> entropy(torch.zeros(2), 1.0)
    tensor([2.5310, 2.5310])
    """
    return sum_event(nan_of(math.log(4 * math.pi) + scale.double().log(), loc), event_dims).to(scale.dtype)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    It is log(1 + ((p.scale - q.scale)^2 + (p.loc - q.loc)^2) / (4 p.scale q.scale)).
    Source: Chyzak & Nielsen, "A closed-form formula for the Kullback-Leibler divergence between Cauchy
    distributions" (2019).

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor([0.2231, 0.2231])
    """
    dtype, (p_loc, p_scale, q_loc, q_scale) = p.loc.dtype, (t.double() for t in (*p, *q))
    spread, shift = p_scale - q_scale, p_loc - q_loc
    excess = 0.25 * ((spread / p_scale) * (spread / q_scale) + (shift / p_scale) * (shift / q_scale))
    is_far = excess.detach() > 1e100  # the excess may overflow
    far_shift = torch.where(is_far, shift, 1.0)
    far = 2 * torch.log(torch.hypot(p_scale + q_scale, far_shift)) - p_scale.log() - q_scale.log() - math.log(4)
    found = torch.where(is_far, far, torch.log1p(torch.where(is_far, 0.0, excess)))
    return sum_event(found, event_dims).to(dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -1e10]))
    tensor([5.0000e-01, 3.1831e-11])
    """
    return _lower_tail(location_scale.standardized(value, loc, scale)).to(loc.dtype)


@verb
def log_cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -1e10]))
    tensor([ -0.6931, -24.1706])
    """
    z = location_scale.standardized(value, loc, scale)
    is_far, is_lower = z < -1e100, z < 0
    far = -math.log(math.pi) - torch.log(-torch.where(is_far, z, -1.0))  # the tail may underflow
    lower = torch.log(_lower_tail(torch.where(is_lower & ~is_far, z, -1.0)))
    upper = torch.log1p(-_lower_tail(-torch.where(is_lower, 0.0, z)))
    return torch.where(is_far, far, torch.where(is_lower, lower, upper)).to(loc.dtype)


def _lower_tail(z: Tensor) -> Tensor:
    """Return the standard cdf, exact in both tails."""
    is_infinite = z.isinf()
    tail = torch.atan2(torch.ones_like(z), -torch.where(is_infinite, 0.0, z)) / math.pi
    return torch.where(is_infinite, (z > 0).to(z.dtype), tail)


survival, log_survival = verb.survivals(cdf, log_cdf, lambda loc, scale, value: (-loc, scale, -value))


@verb
def icdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, torch.tensor([0.975, 0.0]))
    tensor([12.7062,    -inf])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    return location_scale.moved(_quantile(p, 1 - p), loc, scale)


def _quantile(lower: Tensor, upper: Tensor) -> Tensor:
    """Return the standard quantile from both tail probabilities, by the cotangent of pi times the smaller one."""
    tail = torch.where(lower < upper, lower, upper)  # `minimum` halves the slope of equal ones
    is_central = tail > 0.25
    near = torch.tan(math.pi * (0.5 - torch.where(is_central, tail, 0.5)))
    far = 1 / torch.tan(math.pi * torch.where(is_central, 0.25, tail))
    distance = torch.where(is_central, near, far)
    return torch.where(lower < upper, -distance, distance)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def median(loc: Real, scale: Real) -> Tensor:
    """Return the median, elementwise.

    >>> median(torch.zeros(2), 3.0)
    tensor([0., 0.])
    """
    return nan_of(loc, scale)


mode = deterministic = median
