"""Exponential distribution of every element, with density rate exp(-rate x) for x >= 0.

See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1994), chapter 19. All verbs compute in float64
and round once.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports
from functional_dists.special.deviance import log_one_minus_exp, one_minus_exp, ratio_excess
from functional_dists.special.elementary import LOG_2


class Params(NamedTuple):
    """The parameter of an exponential distribution.

    rate: The inverse of the mean, positive, of shape (*batch, *event).
    """

    rate: Real


verb = define(Params)


@verb
def check(rate: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: rate must be positive and finite; this fails at position (1,)
    """
    require((rate > 0) & rate.isfinite(), "rate", "must be positive and finite")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, rate: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable with respect to `rate`.

    >>> rsample(random.key(42), torch.ones(2))
    tensor([0.9492, 0.6322])
    """
    return (_noise(key, sample_shape, rate).double() / rate.double()).to(rate.dtype)


sample = verb.sample(rsample)


@verb
def sample_and_log_prob(
    key: Source, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.ones(2))
    >>> log_prob
    tensor([-0.9492, -0.6322])
    """
    noise, wide = _noise(key, sample_shape, rate).double(), rate.double()
    log_prob = wide.log() - noise * (wide / wide.detach())  # rate times a constant value
    return (noise / wide).to(rate.dtype).detach(), sum_event(log_prob, event_dims).to(rate.dtype)


@verb
def rsample_and_log_prob(
    key: Source, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.ones(2))
    >>> log_prob
    tensor([-0.9492, -0.6322])
    """
    noise, wide = _noise(key, sample_shape, rate).double(), rate.double()
    return (noise / wide).to(rate.dtype), sum_event(wide.log() - noise, event_dims).to(rate.dtype)


def _noise(key: Source, sample_shape: Shape, rate: Tensor) -> Tensor:
    return random.draw_entries(random.exponential, key, sample_shape, rate.shape, dtype=rate.dtype, device=rate.device)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(rate: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, below 0 and where it overflows.

    >>> log_prob(torch.ones(3), torch.tensor([0.0, 1.0, -1.0]))
    tensor([ 0., -1., -inf])
    """
    is_outside, energy = _energy(rate, value)
    is_outside = is_outside | (energy.detach() > torch.finfo(rate.dtype).max)
    density = torch.where(is_outside, -math.inf, rate.double().log() - energy)
    return sum_event(density, event_dims).to(rate.dtype)


def _energy(rate: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the value is negative, and rate value elsewhere in float64, with no gradient where it is infinite.

    >>> _energy(torch.tensor(2.0), torch.tensor([-1.0, 3.0]))
    (tensor([ True, False]), tensor([0., 6.], dtype=torch.float64))
    """
    rate, value = rate.double(), value.double()
    is_outside = value < 0
    value = torch.where(is_outside, 0.0, value)
    product = (rate * value).detach()
    is_far = product.isinf()
    inside = torch.where(is_far, 0.0, value)
    return is_outside, torch.where(is_far, product, nan_of(rate * inside, inside))


@verb
def entropy(rate: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, 1 - log(rate).

    >>> entropy(torch.ones(2))
    tensor([1., 1.])
    """
    return sum_event(1 - rate.double().log(), event_dims).to(rate.dtype)


@verb
def support(rate: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the numbers from 0 on.

    >>> support(torch.ones(2)).check(torch.tensor([0.0, -1.0]))
    tensor([ True, False])
    """
    return supports.of_events(supports.finite_interval(0.0, math.inf), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, r - 1 - log r with r = q.rate / p.rate.

    >>> kl(Params(torch.ones(2)), Params(2.0))
    tensor([0.3069, 0.3069])
    """
    return sum_event(ratio_excess(q.rate.double(), p.rate.double()), event_dims).to(p.rate.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(rate: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.ones(2), torch.tensor([1.0, 1e-10]))
    tensor([6.3212e-01, 1.0000e-10])
    """
    return one_minus_exp(_energy(rate, value)[1]).to(rate.dtype)


@verb
def log_cdf(rate: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows, -inf at 0 and below.

    >>> log_cdf(torch.ones(2), torch.tensor([1.0, 0.0]))
    tensor([-0.4587,    -inf])
    """
    return log_one_minus_exp(_energy(rate, value)[1]).to(rate.dtype)


@verb
def survival(rate: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise.

    >>> survival(torch.ones(2), torch.tensor([1.0, 50.0]))
    tensor([3.6788e-01, 1.9287e-22])
    """
    return torch.exp(-_energy(rate, value)[1]).to(rate.dtype)


@verb
def log_survival(rate: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.ones(2), torch.tensor([1.0, 1000.0]))
    tensor([   -1., -1000.])
    """
    return -_energy(rate, value)[1].to(rate.dtype)


@verb
def icdf(rate: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.ones(2), torch.tensor([0.5, 1e-10]))
    tensor([6.9315e-01, 1.0000e-10])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    return (-torch.log1p(-p) / rate.double()).to(rate.dtype)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(rate: Real) -> Tensor:
    """Return the mean, elementwise.

    >>> mean(torch.tensor([1.0, 4.0]))
    tensor([1.0000, 0.2500])
    """
    return 1 / rate


stddev = mean


@verb
def variance(rate: Real) -> Tensor:
    """Return the variance, elementwise.

    >>> variance(torch.tensor([1.0, 4.0]))
    tensor([1.0000, 0.0625])
    """
    return 1 / rate.square()


@verb
def median(rate: Real) -> Tensor:
    """Return the median, elementwise: log 2 / rate.

    >>> median(torch.tensor([1.0, 4.0]))
    tensor([0.6931, 0.1733])
    """
    return LOG_2 / rate


@verb
def mode(rate: Real) -> Tensor:
    """Return the mode, elementwise, which is 0.

    >>> mode(torch.tensor([1.0, 4.0]))
    tensor([0., 0.])
    """
    return 0.0 * rate


@verb
def deterministic(rate: Real) -> Tensor:
    """Return the action of a policy that does not explore: the median, since the mode is always 0.

    >>> deterministic(torch.tensor([1.0, 4.0]))
    tensor([0.6931, 0.1733])
    """
    return LOG_2 / rate
