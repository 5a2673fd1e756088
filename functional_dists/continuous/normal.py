"""Normal distribution of every element, with density exp(-z^2 / 2) / (scale sqrt(2 pi)), z = (x - loc) / scale."""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Real, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import (
    HALF_LOG_2PI,
    log_ndtr,
    log_normal_density_at,
    log_pushforward_density,
    nan_of,
    ndtr,
    ndtri,
    noise_of_constant_value,
    normal_kl,
    plus_scaled,
)
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of a normal distribution, which broadcast against each other.

    loc: The mean, of shape (*batch, *event).
    scale: The standard deviation, positive, of shape (*batch, *event).
    """

    loc: Real
    scale: Real


verb = define(Params)


@verb
def check(loc: Real, scale: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), torch.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    ...
    ValueError: scale must be positive and finite; this fails at position (1,)
    """
    require(loc.isfinite(), "loc", "must be finite")
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, loc: Real, scale: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable with respect to `loc` and `scale`.

    >>> rsample(random.key(42), torch.zeros(2), 1.0)
    tensor([-0.9702,  0.1940])
    """
    return loc + scale * _noise(key, sample_shape, loc, scale)


sample = verb.sample(rsample)


@verb
def sample_and_log_prob(
    key: Source, loc: Real, scale: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 1.0)
    >>> log_prob
    tensor([-1.3896, -0.9378])
    """
    noise = _noise(key, sample_shape, loc, scale)
    value, dtype = (loc + scale * noise).detach(), loc.dtype
    noise, loc, scale = noise.double(), loc.double(), scale.double()
    log_prob = log_pushforward_density(_nan_with(loc, noise_of_constant_value(noise, loc, scale)), scale.log())
    return value, sum_event(log_prob, event_dims).to(dtype)


@verb
def rsample_and_log_prob(
    key: Source, loc: Real, scale: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 1.0)
    >>> log_prob
    tensor([-1.3896, -0.9378])
    """
    noise = _noise(key, sample_shape, loc, scale)
    value, dtype = loc + scale * noise, loc.dtype
    noise, loc, scale = noise.double(), loc.double(), scale.double()
    log_prob = log_pushforward_density(_nan_with(loc, noise), scale.log())
    return value, sum_event(log_prob, event_dims).to(dtype)


def _noise(key: Source, sample_shape: Shape, loc: Tensor, scale: Tensor) -> Tensor:
    shape = broadcast_shape(loc, scale)
    return random.draw_entries(random.normal, key, sample_shape, shape, dtype=loc.dtype, device=loc.device)


def _nan_with(loc: Tensor, noise: Tensor) -> Tensor:
    """Return `noise`, NaN where `loc` is not finite."""
    return plus_scaled(noise, loc, 0.0)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, where it overflows.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([0.0, 1.0]))
    tensor([-0.9189, -1.4189])
    """
    return log_normal_density_at(value, loc, scale, event_dims)


@verb
def entropy(loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, 1/2 log(2 pi e scale^2).

    >>> entropy(torch.zeros(2), 1.0)
    tensor([1.4189, 1.4189])
    """
    return sum_event(nan_of(0.5 + HALF_LOG_2PI + scale.log(), loc), event_dims)


@verb
def support(loc: Real, scale: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the real numbers.

    >>> support(torch.zeros(2), 1.0).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return supports.of_events(constraints.real, event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor([0.5000, 0.5000])
    """
    return sum_event(normal_kl(p.loc, p.scale, q.loc, q.scale), event_dims)


@verb
def cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -10.0]))
    tensor([5.0000e-01, 7.6199e-24])
    """
    return ndtr((value - loc) / scale)


@verb
def log_cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(()), 1.0, -100.0)
    tensor(-5005.5244)
    """
    return log_ndtr((value - loc) / scale)


survival, log_survival = verb.survivals(cdf, log_cdf, lambda loc, scale, value: (-loc, scale, -value))


@verb
def icdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(()), 1.0, 0.975)
    tensor(1.9600)
    """
    return loc + scale * ndtri(value)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(loc: Real, scale: Real) -> Tensor:
    """Return the mean, elementwise.

    >>> mean(torch.zeros(2), 1.0)
    tensor([0., 0.])
    """
    return nan_of(loc, scale)


median = mode = deterministic = mean


@verb
def stddev(loc: Real, scale: Real) -> Tensor:
    """Return the standard deviation, elementwise.

    >>> stddev(torch.zeros(2), 3.0)
    tensor([3., 3.])
    """
    return nan_of(scale, loc)


@verb
def variance(loc: Real, scale: Real) -> Tensor:
    """Return the variance, elementwise.

    >>> variance(torch.zeros(2), 3.0)
    tensor([9., 9.])
    """
    return nan_of(scale.square(), loc)
