"""Inverse gamma distribution of every element: that of 1 / x for x of `gamma`.

The density is rate^a y^(-a-1) exp(-rate / y) / Gamma(a) for y > 0, with the concentration a. See Johnson, Kotz &
Balakrishnan, "Continuous univariate distributions" (1994), chapter 17. The logarithms of y are those of x with the
other sign, so all follows from them. All verbs compute in float64, and round once.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.continuous import gamma
from functional_dists.family import Real, broadcast_shape, define, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special.gamma_density import gamma_entropy, gamma_log_density, log_ratio
from functional_dists.special.gamma_local import gamma_local
from functional_dists.special.gamma_quantile import gamma_quantile
from functional_dists.special.implicit import carried_quantile
from functional_dists.special.polygamma import digamma
from functional_dists.special.positive import positive_normal


class Params(NamedTuple):
    """Parameters of an inverse gamma distribution, which broadcast against each other.

    concentration: The shape parameter a, positive, of shape (*batch, *event).
    rate: The scale of the values, which is the rate of their inverses; positive, of shape (*batch, *event).
    """

    concentration: Real
    rate: Real


verb = define(Params)
_of_gamma = verb.through(gamma.Params)

check = _of_gamma(
    gamma.check,
    doc="""Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.ones(2), torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: rate must be positive and finite; this fails at position (1,)
    """,
)


# -------------------------------------------------------------------------------------------------------------- draws
def _value(log_value: Tensor, like: Tensor) -> Tensor:
    return positive_normal(torch.exp(log_value).to(like.dtype))


@verb(confine=positive_normal)
def rsample(key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable by both parameters.

    >>> rsample(random.key(42), torch.full((2,), 2.0), 3.0)
    tensor([1.4483, 6.7832])
    """
    log_inverse = gamma.rsample_log(key, concentration.double(), rate.double(), sample_shape=sample_shape)
    return _value(-log_inverse, concentration)


sample = verb.sample(rsample)


@verb(confine=positive_normal)
def sample_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> sample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)[1]
    tensor([-0.9854, -3.9884])
    """
    draw = gamma.sample_log_and_log_prob(key, concentration.double(), rate.double(), sample_shape=sample_shape)
    return _pair(*draw, event_dims, concentration)


@verb(confine=positive_normal)
def rsample_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> rsample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)[1]
    tensor([-0.9854, -3.9884])
    """
    draw = gamma.rsample_log_and_log_prob(key, concentration.double(), rate.double(), sample_shape=sample_shape)
    return _pair(*draw, event_dims, concentration)


def _pair(log_inverse: Tensor, score: Tensor, event_dims: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return a value and its log-density, from log x and the log-density of log x."""
    return _value(-log_inverse, like), sum_event(score + log_inverse, event_dims).to(like.dtype)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(concentration: Real, rate: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, at 0, below it and where it underflows.

    >>> log_prob(torch.full((3,), 2.0), 3.0, torch.tensor([0.5, 0.0, -1.0]))
    tensor([-1.7233,    -inf,    -inf])
    """
    a, wide_rate, y = concentration.double(), rate.double(), value.double()
    is_outside = (y <= 0) | (y == math.inf)
    inner = torch.where(is_outside, 1.0, y)
    log_value = inner.log()
    offset = log_ratio(wide_rate, 1 / inner, a)
    score = gamma_log_density(a, wide_rate.log(), -log_value, offset, of_log=True) - log_value
    ends = nan_of(torch.full_like(score, -math.inf), a.detach(), wide_rate.detach())
    return sum_event(torch.where(is_outside, ends, score), event_dims).to(value.dtype)


@verb
def entropy(concentration: Real, rate: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, a + log Gamma(a) - (1 + a) psi(a) + log(rate).

    >>> entropy(torch.tensor([1.0, 2.0]), 1.0)
    tensor([2.1544, 0.7316])
    """
    a = concentration.double()
    found = gamma_entropy(a) - 2 * digamma(a) + rate.double().log()
    return sum_event(found, event_dims).to(concentration.dtype)


support = _of_gamma(
    gamma.support,
    doc="""Return the support as a constraint: the positive numbers.

    >>> support(torch.ones(2), 3.0).check(torch.tensor([0.5, 0.0]))
    tensor([ True, False])
    """,
)
kl = _of_gamma(
    gamma.kl,
    doc="""Return the Kullback-Leibler divergence KL(p || q) in nats, that of the inverses.

    >>> kl(Params(torch.ones(2), 1.0), Params(2.0, 1.0))
    tensor([0.5772, 0.5772])
    """,
)


# ------------------------------------------------------------------------------------------------- logarithms of draws
@verb
def rsample_log(key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the logarithm of the value that `rsample` draws, differentiable; it has its digits where that overflows.

    >>> rsample_log(random.key(42), torch.full((2,), 1e-3), 3.0)
    tensor([ 491.1308, 2615.8013])
    """
    return -gamma.rsample_log(key, concentration, rate, sample_shape=sample_shape)


sample_log = verb.mapped(
    rsample_log,
    Tensor.detach,
    """Draw the logarithm of the value that `sample` draws, detached from the graph.

    >>> sample_log(random.key(42), torch.full((2,), 1e-3), 3.0)
    tensor([ 491.1308, 2615.8013])
    """,
    "sample_log",
)


@verb
def rsample_log_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample_log` draws, with the log-density of the logarithm: that of `log_prob_log`, from the noise.

    >>> rsample_log_and_log_prob(random.key(42), torch.full((2,), 1e-3), 3.0)[1]
    tensor([-7.3972, -9.5219])
    """
    options: dict[str, Any] = {"sample_shape": sample_shape, "event_dims": event_dims}
    log_inverse, score = gamma.rsample_log_and_log_prob(key, concentration, rate, **options)
    return -log_inverse, score


@verb
def sample_log_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample_log` draws, with the log-density of the logarithm, which has the score-function gradient.

    >>> sample_log_and_log_prob(random.key(42), torch.full((2,), 1e-3), 3.0)[1]
    tensor([-7.3972, -9.5219])
    """
    options: dict[str, Any] = {"sample_shape": sample_shape, "event_dims": event_dims}
    log_inverse, score = gamma.sample_log_and_log_prob(key, concentration, rate, **options)
    return -log_inverse, score


@verb
def log_prob_log(concentration: Real, rate: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density of log y at `value`, log_prob(exp(value)) + value, also where exp(value) overflows.

    >>> log_prob_log(torch.full((2,), 1e-3), 3.0, torch.tensor([500.0, 1.0]))
    tensor([-7.4061, -8.0107])
    """
    return gamma.log_prob_log(concentration, rate, -value, event_dims=event_dims)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return P(Y <= value), elementwise.

    >>> cdf(torch.full((2,), 2.0), 3.0, torch.tensor([2.0, 0.05]))
    tensor([5.5783e-01, 5.3415e-25])
    """
    return gamma.survival(*_inverted(concentration, rate, value)).to(value.dtype)


@verb
def log_cdf(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return log P(Y <= value), elementwise; finite where that underflows.

    >>> log_cdf(torch.full((2,), 2.0), 3.0, torch.tensor([2.0, 0.001]))
    tensor([-5.8371e-01, -2.9920e+03])
    """
    return gamma.log_survival(*_inverted(concentration, rate, value)).to(value.dtype)


@verb
def survival(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return P(Y > value), elementwise.

    >>> survival(torch.full((2,), 2.0), 3.0, torch.tensor([2.0, 1e10]))
    tensor([4.4217e-01, 4.5000e-20])
    """
    return gamma.cdf(*_inverted(concentration, rate, value)).to(value.dtype)


@verb
def log_survival(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return log P(Y > value), elementwise; finite where that underflows.

    >>> log_survival(torch.full((2,), 2.0), 3.0, torch.tensor([2.0, 1e30]))
    tensor([  -0.8161, -136.6510])
    """
    return gamma.log_cdf(*_inverted(concentration, rate, value)).to(value.dtype)


def _inverted(concentration: Tensor, rate: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parameters, and 1 / value, which is infinite at 0 and below, in float64."""
    y = value.double()
    is_low = y <= 0
    return concentration.double(), rate.double(), torch.where(is_low, math.inf, 1 / torch.where(is_low, 1.0, y))


@verb
def icdf(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; 0 for 0, inf for 1, and NaN outside [0, 1].

    >>> icdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-10]))
    tensor([1.7875, 0.1139])
    """
    a, p = concentration.double(), value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    is_end = (p == 0) | (p == 1)
    above = torch.where(is_end, 0.5, p)  # the inverse
    below, precise = 1 - above, value.dtype == torch.float64
    offset = gamma_quantile(below, above, a, precise=precise)
    point = carried_quantile(offset, gamma_local(offset, a, precise=precise), [a], below, above)
    found = positive_normal((rate.double() / a.detach() * torch.exp(-point)).to(value.dtype))
    return torch.where(is_end, nan_of(torch.where(p == 1, math.inf, 0.0).to(value.dtype), found.detach()), found)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(concentration: Real, rate: Real) -> Tensor:
    """Return the mean, rate / (a - 1), elementwise; inf where a does not exceed 1.

    >>> mean(torch.tensor([1.0, 4.0]), 3.0)
    tensor([inf, 1.])
    """
    a, wide_rate = concentration.double(), rate.double()
    is_infinite = a <= 1
    found = wide_rate / torch.where(is_infinite, 1.0, a - 1)
    return torch.where(is_infinite, nan_of(torch.full_like(found, math.inf), wide_rate), found).to(rate.dtype)


@verb
def variance(concentration: Real, rate: Real) -> Tensor:
    """Return the variance, rate^2 / ((a - 1)^2 (a - 2)), elementwise; inf where a does not exceed 2.

    >>> variance(torch.tensor([2.0, 4.0]), 3.0)
    tensor([   inf, 0.5000])
    """
    a, wide_rate = concentration.double(), rate.double()
    is_infinite = a <= 2
    inner = torch.where(is_infinite, 3.0, a)
    found = (wide_rate / (inner - 1)).square() / (inner - 2)
    return torch.where(is_infinite, nan_of(torch.full_like(found, math.inf), wide_rate), found).to(rate.dtype)


stddev = verb.stddev(variance)


@verb(confine=positive_normal)
def median(concentration: Real, rate: Real) -> Tensor:
    """Return the median, elementwise.

    >>> median(torch.tensor([1.0, 4.0]), 3.0)
    tensor([4.3281, 0.8170])
    """
    half = torch.full(broadcast_shape(concentration, rate), 0.5, dtype=rate.dtype, device=rate.device)
    return icdf(concentration, rate, half)


@verb(confine=positive_normal)
def mode(concentration: Real, rate: Real) -> Tensor:
    """Return the mode, rate / (a + 1), elementwise.

    >>> mode(torch.tensor([1.0, 4.0]), 3.0)
    tensor([1.5000, 0.6000])
    """
    return positive_normal(rate / (concentration + 1))


deterministic = verb.deterministic(mode)
