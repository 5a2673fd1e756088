"""Gumbel distribution of every element, with density exp(-z - exp(-z)) / scale, z = (x - loc) / scale.

It is the limit law of maxima. See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1995),
chapter 22.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random
from functional_dists.continuous import location_scale
from functional_dists.family import Real, broadcast_shape, define, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special.deviance import exp_excess, log_one_minus_exp, one_minus_exp
from functional_dists.special.log_gamma import EULER_GAMMA, log_gamma_excess


class Params(NamedTuple):
    """Parameters of a gumbel distribution, which broadcast against each other.

    loc: The mode, of shape (*batch, *event).
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
    tensor([0.0521, 0.4585])
    """
    return location_scale.moved(_noise(key, sample_shape, loc, scale), loc, scale)


def _noise(key: Source, sample_shape: Shape, loc: Tensor, scale: Tensor) -> Tensor:
    shape = broadcast_shape(loc, scale)
    return random.draw_entries(random.gumbel, key, sample_shape, shape, dtype=loc.dtype, device=loc.device)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, where it overflows.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([0.0, 1.0]))
    tensor([-1.0000, -1.3679])
    """
    return location_scale.score(_log_density, value, loc, scale, event_dims)


def _log_density(z: Tensor) -> Tensor:
    is_far, decay = _decay(z)
    return torch.where(is_far, -math.inf, -torch.where(is_far, 0.0, z) - decay)


def _decay(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return where exp(-z) would overflow, and exp(-z) elsewhere, which is minus the logarithm of the cdf."""
    is_far = z < -709.0
    return is_far, torch.exp(-torch.where(is_far, 0.0, z))


check, sample, sample_and_log_prob, rsample_and_log_prob, support = location_scale.shared_verbs(
    verb, rsample, _noise, _log_density
)


@verb
def entropy(loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log(scale) + 1 + gamma.

    >>> entropy(torch.zeros(2), 1.0)
    tensor([1.5772, 1.5772])
    """
    return sum_event(nan_of(1 + EULER_GAMMA + scale.double().log(), loc), event_dims).to(scale.dtype)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    With r = p.scale / q.scale and w = log Gamma(1 + r) - (p.loc - q.loc) / q.scale it is
    (log Gamma(r) + gamma (r - 1)) + (exp(w) - 1 - w), a sum of two terms that are not negative.

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor([0.7183, 0.7183])
    """
    dtype, (p_loc, p_scale, q_loc, q_scale) = p.loc.dtype, (t.double() for t in (*p, *q))
    excess, log_gamma = log_gamma_excess(p_scale, q_scale)
    found = excess + exp_excess(log_gamma - (p_loc - q_loc) / q_scale)
    return sum_event(found, event_dims).to(dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -4.0]))
    tensor([3.6788e-01, 1.9423e-24])
    """
    is_far, decay = _decay(location_scale.standardized(value, loc, scale))
    return torch.where(is_far, 0.0, torch.exp(-decay)).to(loc.dtype)


@verb
def log_cdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(2), 1.0, torch.tensor([0.0, -4.0]))
    tensor([ -1.0000, -54.5981])
    """
    is_far, decay = _decay(location_scale.standardized(value, loc, scale))
    is_far = is_far | (decay.detach() > torch.finfo(loc.dtype).max)
    return torch.where(is_far, -math.inf, -decay).to(loc.dtype)


@verb
def survival(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise.

    >>> survival(torch.zeros(2), 1.0, torch.tensor([0.0, 50.0]))
    tensor([6.3212e-01, 1.9287e-22])
    """
    is_far, decay = _decay(location_scale.standardized(value, loc, scale))
    return torch.where(is_far, 1.0, one_minus_exp(decay)).to(loc.dtype)


@verb
def log_survival(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.zeros(2), 1.0, torch.tensor([0.0, 2000.0]))
    tensor([-4.5868e-01, -2.0000e+03])
    """
    z = location_scale.standardized(value, loc, scale)
    is_far, decay = _decay(z)
    is_high = z > 40  # where log(1 - exp(-decay)) = log(decay) to the last digit
    found = torch.where(is_high, -z, log_one_minus_exp(torch.where(is_high, 1.0, decay)))
    return torch.where(is_far, 0.0, found).to(loc.dtype)


@verb
def icdf(loc: Real, scale: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, torch.tensor([0.975, 0.0]))
    tensor([3.6762,   -inf])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    return location_scale.moved(-torch.log(-torch.log(p)), loc, scale)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(loc: Real, scale: Real) -> Tensor:
    """Return the mean, loc + gamma scale, elementwise.

    >>> mean(torch.zeros(2), 3.0)
    tensor([1.7316, 1.7316])
    """
    return loc + EULER_GAMMA * scale


@verb
def median(loc: Real, scale: Real) -> Tensor:
    """Return the median, loc - log(log 2) scale, elementwise.

    >>> median(torch.zeros(2), 3.0)
    tensor([1.0995, 1.0995])
    """
    return loc - math.log(math.log(2)) * scale


@verb
def mode(loc: Real, scale: Real) -> Tensor:
    """Return the mode, elementwise.

    >>> mode(torch.zeros(2), 3.0)
    tensor([0., 0.])
    """
    return nan_of(loc, scale)


deterministic = verb.deterministic(mode)


@verb
def variance(loc: Real, scale: Real) -> Tensor:
    """Return the variance, (pi scale)^2 / 6, elementwise.

    >>> variance(torch.zeros(2), 3.0)
    tensor([14.8044, 14.8044])
    """
    return nan_of(math.pi**2 / 6 * scale.square(), loc)


@verb
def stddev(loc: Real, scale: Real) -> Tensor:
    """Return the standard deviation, elementwise.

    >>> stddev(torch.zeros(2), 3.0)
    tensor([3.8476, 3.8476])
    """
    return nan_of(math.pi / math.sqrt(6) * scale, loc)
