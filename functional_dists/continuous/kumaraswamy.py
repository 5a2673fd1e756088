"""Kumaraswamy distribution of every element on (0, 1), with density a b x^(a-1) (1 - x^a)^(b-1).

Here a is `concentration1` and b is `concentration0`, as in `torch.distributions`. See Kumaraswamy, "A generalized
probability density function for double-bounded random processes" (1980), and Jones, "Kumaraswamy's distribution: a
beta-type distribution with some tractability advantages" (2009).

X^a = 1 - exp(-E / b) for a standard exponential E. So everything is computed from log x and log(1 - x^a), in float64,
and rounded once.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Real, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, strictly_inside
from functional_dists.special import support as supports
from functional_dists.special.constant import scalar
from functional_dists.special.deviance import log_one_minus_exp, one_minus_exp
from functional_dists.special.elementary import LOG_2
from functional_dists.special.log_gamma import EULER_GAMMA, log_beta_ratio, log_gamma_curvature


class Params(NamedTuple):
    """Parameters of a Kumaraswamy distribution, which broadcast against each other.

    concentration1: The power a of the value, positive, of shape (*batch, *event).
    concentration0: The power b of 1 - x^a, positive, of shape (*batch, *event).
    """

    concentration1: Real
    concentration0: Real


verb = define(Params)


@verb
def check(concentration1: Real, concentration0: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.ones(2), torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: concentration0 must be positive and finite; this fails at position (1,)
    """
    require((concentration1 > 0) & concentration1.isfinite(), "concentration1", "must be positive and finite")
    require((concentration0 > 0) & concentration0.isfinite(), "concentration0", "must be positive and finite")


def _inside(value: Tensor) -> Tensor:
    return strictly_inside(value, scalar(0.0, value), scalar(1.0, value))


# -------------------------------------------------------------------------------------------------------------- draws
@verb(confine=_inside)
def rsample(key: Source, concentration1: Real, concentration0: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable by both parameters.

    >>> rsample(random.key(42), torch.full((2,), 2.0), 3.0)
    tensor([0.5208, 0.4359])
    """
    noise, a, b = _noise_and_params(key, sample_shape, concentration1, concentration0)
    return _rounded(log_one_minus_exp(noise / b) / a, concentration1)


sample = verb.sample(rsample)


@verb(confine=_inside)
def sample_and_log_prob(
    key: Source, concentration1: Real, concentration0: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)
    >>> log_prob
    tensor([0.5066, 0.5400])
    """
    noise, a, b = _noise_and_params(key, sample_shape, concentration1, concentration0)
    decay = (noise / b).detach()
    log_power = log_one_minus_exp(decay)  # log x^a
    # At a constant x, log x^a grows with a, and log(1 - x^a) depends on it: its digits are those of the noise.
    moved = log_power.clamp(max=-1e-300) * (a / a.detach())
    log_rest = log_one_minus_exp(-moved)
    log_rest = (log_rest - log_rest.detach()) - decay
    log_prob = _log_density(a, b, moved / a, log_rest)
    value = _rounded(log_power / a.detach(), concentration1)
    return value.detach(), sum_event(log_prob, event_dims).to(value.dtype)


@verb(confine=_inside)
def rsample_and_log_prob(
    key: Source, concentration1: Real, concentration0: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)
    >>> log_prob
    tensor([0.5066, 0.5400])
    """
    noise, a, b = _noise_and_params(key, sample_shape, concentration1, concentration0)
    decay = noise / b
    log_value = log_one_minus_exp(decay) / a
    log_prob = _log_density(a, b, log_value, -decay)
    return _rounded(log_value, concentration1), sum_event(log_prob, event_dims).to(concentration1.dtype)


def _noise_and_params(key: Source, sample_shape: Shape, *params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shape, like = broadcast_shape(*params), params[0]
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    noise = random.draw_entries(random.exponential, key, sample_shape, shape, **options)
    return noise.double(), params[0].double(), params[1].double()


def _rounded(log_value: Tensor, like: Tensor) -> Tensor:
    return _inside(torch.exp(log_value).to(like.dtype))


def _log_density(a: Tensor, b: Tensor, log_value: Tensor, log_rest: Tensor) -> Tensor:
    """Return the log-density from log x and log(1 - x^a)."""
    return a.log() + b.log() + (a - 1) * log_value + (b - 1) * log_rest


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(concentration1: Real, concentration0: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, outside [0, 1], and its limits at 0 and 1.

    >>> log_prob(torch.full((3,), 2.0), 3.0, torch.tensor([0.5, 0.0, 2.0]))
    tensor([0.5232,   -inf,   -inf])
    """
    a, b, dtype = concentration1.double(), concentration0.double(), value.dtype
    is_outside = ((value < 0) | (value > 1)) & ~(a.isnan() | b.isnan())
    is_low, is_high = value == 0, value == 1
    is_end = (value <= 0) | (value >= 1)
    log_value, log_rest = _logs(a, torch.where(is_end, 0.5, value).double())
    inside = _log_density(a, b, log_value, log_rest)
    # At the end 0 the density is b times 0, 1 or inf, at the end 1 it is a times these.
    low, high = _limit(a, b), _limit(b, a)
    density = torch.where(is_low, low, torch.where(is_high, high, inside))
    return sum_event(torch.where(is_outside, -math.inf, density), event_dims).to(dtype)


def _limit(power: Tensor, factor: Tensor) -> Tensor:
    """Return the logarithm of factor x^(power - 1) at x = 0."""
    end = torch.where(power > 1, -math.inf, torch.where(power < 1, math.inf, 0.0))
    is_finite = (power == 1) | power.isnan() | factor.isnan()
    return torch.where(is_finite, power.log() + factor.log(), end.double())


def _logs(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return log x and log(1 - x^a) for 0 < x < 1."""
    log_value = x.log()
    return log_value, log_one_minus_exp(-a * log_value)


@verb
def entropy(concentration1: Real, concentration0: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, (1 - 1/b) + (1 - 1/a) (digamma(1 + b) + gamma) - log(a b).

    >>> entropy(torch.ones(2), torch.tensor([1.0, 3.0]))
    tensor([ 0.0000, -0.4319])
    """
    a, b = concentration1.double(), concentration0.double()
    found = (1 - 1 / b) + (1 - 1 / a) * (torch.digamma(1 + b) + EULER_GAMMA) - a.log() - b.log()
    return sum_event(found, event_dims).to(concentration1.dtype)


@verb
def support(concentration1: Real, concentration0: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the open interval (0, 1).

    >>> support(torch.ones(2), 3.0).check(torch.tensor([0.5, 1.5]))
    tensor([ True, False])
    """
    return supports.of_events(supports.open_interval(0.0, 1.0), event_dims)


# ------------------------------------------------------------------------------------------------------- distribution
class _Tails(NamedTuple):
    """What the probabilities of both tails are computed from, in float64."""

    is_low: Tensor  # where the value is at 0 or below
    is_high: Tensor  # where it is at 1 or above
    power: Tensor  # -log x^a
    hazard: Tensor  # minus the logarithm of the survival


def _tails(concentration1: Tensor, concentration0: Tensor, value: Tensor) -> _Tails:
    a, b = concentration1.double(), concentration0.double()
    is_low, is_high = value <= 0, value >= 1
    power = -a * torch.where(is_low | is_high, 0.5, value).double().log()
    return _Tails(is_low, is_high, power, -b * log_one_minus_exp(power))


def _with_ends(tails: _Tails, low: float, high: float, inside: Tensor, like: Tensor) -> Tensor:
    found = torch.where(tails.is_low, low, torch.where(tails.is_high, high, inside))
    return nan_of(found, inside.detach()).to(like.dtype)


@verb
def cdf(concentration1: Real, concentration0: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-10]))
    tensor([5.7812e-01, 3.0000e-20])
    """
    tails = _tails(concentration1, concentration0, value)
    return _with_ends(tails, 0.0, 1.0, one_minus_exp(tails.hazard), value)


@verb
def log_cdf(concentration1: Real, concentration0: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-30]))
    tensor([  -0.5480, -137.0565])
    """
    tails = _tails(concentration1, concentration0, value)
    log_hazard = concentration0.double().log() - tails.power  # to the last digit where the power is large
    is_far = (tails.power > 40) & (log_hazard < -40)
    usual = log_one_minus_exp(torch.where(is_far, 1.0, tails.hazard))
    return _with_ends(tails, -math.inf, 0.0, torch.where(is_far, log_hazard, usual), value)


@verb
def survival(concentration1: Real, concentration0: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise.

    >>> survival(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 0.999]))
    tensor([4.2188e-01, 7.9877e-09])
    """
    tails = _tails(concentration1, concentration0, value)
    return _with_ends(tails, 1.0, 0.0, torch.exp(-tails.hazard), value)


@verb
def log_survival(concentration1: Real, concentration0: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 0.999]))
    tensor([ -0.8630, -18.6454])
    """
    tails = _tails(concentration1, concentration0, value)
    return _with_ends(tails, 0.0, -math.inf, -tails.hazard, value)


@verb(confine=_inside)
def icdf(concentration1: Real, concentration0: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise, strictly inside (0, 1); NaN outside [0, 1].

    >>> icdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-10]))
    tensor([4.5420e-01, 5.7735e-06])
    """
    a, b, p = concentration1.double(), concentration0.double(), value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    is_last = p == 1
    hazard = -torch.log1p(-torch.where(is_last, 0.5, p))
    log_value = torch.where(is_last, 0.0, log_one_minus_exp(hazard / b) / a)
    return _rounded(nan_of(log_value, a, b), concentration1)


# ------------------------------------------------------------------------------------------------------------ moments
@verb(confine=_inside)
def mean(concentration1: Real, concentration0: Real) -> Tensor:
    """Return the mean, b B(1 + 1/a, b), elementwise.

    >>> mean(torch.full((2,), 2.0), torch.tensor([1.0, 3.0]))
    tensor([0.6667, 0.4571])
    """
    a, b = concentration1.double(), concentration0.double()
    return _rounded(log_beta_ratio(1 / a, b), concentration1)


def _log_ratio_of_moments(a: Tensor, b: Tensor) -> Tensor:
    """Return log(E X^2 / (E X)^2), without cancellation where it is small."""
    c = 1 / a
    is_small = c < 0.25
    far = torch.where(is_small, 1.0, c)
    plain = log_beta_ratio(2 * far, b) - 2 * log_beta_ratio(far, b)
    return torch.where(is_small, log_gamma_curvature(torch.where(is_small, c, 0.1), b), plain)


@verb
def variance(concentration1: Real, concentration0: Real) -> Tensor:
    """Return the variance, elementwise.

    >>> variance(torch.full((2,), 2.0), torch.tensor([1.0, 3.0]))
    tensor([0.0556, 0.0410])
    """
    a, b = concentration1.double(), concentration0.double()
    ratio = _log_ratio_of_moments(a, b)
    # (E X)^2 (exp(ratio) - 1), where exp(ratio) may overflow
    return (torch.exp(2 * log_beta_ratio(1 / a, b) + ratio) * one_minus_exp(ratio)).to(concentration1.dtype)


stddev = verb.stddev(variance)


@verb(confine=_inside)
def median(concentration1: Real, concentration0: Real) -> Tensor:
    """Return the median, (1 - 2^(-1/b))^(1/a), elementwise.

    >>> median(torch.full((2,), 2.0), torch.tensor([1.0, 3.0]))
    tensor([0.7071, 0.4542])
    """
    a, b = concentration1.double(), concentration0.double()
    return _rounded(log_one_minus_exp(LOG_2 / b) / a, concentration1)


@verb(confine=_inside)
def deterministic(concentration1: Real, concentration0: Real) -> Tensor:
    """Return the action of a policy that does not explore: the median, since the mode may be an end.

    >>> deterministic(torch.full((2,), 2.0), torch.tensor([1.0, 3.0]))
    tensor([0.7071, 0.4542])
    """
    return median(concentration1, concentration0)


@verb(confine=_inside)
def mode(concentration1: Real, concentration0: Real) -> Tensor:
    """Return the value of largest density, elementwise; where it is an end, the number next to it.

    With a and b of at least 1 it is ((a - 1) / (a b - 1))^(1/a). Below, the density is infinite at an end: at 0 if a is
    the smaller, else at 1. The mode of the uniform distribution is 1/2.

    >>> mode(torch.tensor([2.0, 1.0]), torch.tensor([3.0, 1.0]))
    tensor([0.4472, 0.5000])
    """
    a, b = concentration1.double(), concentration0.double()
    is_inner = (a > 1) & (b >= 1)
    safe_a, safe_b = torch.where(is_inner, a, 2.0), torch.where(is_inner, b, 2.0)
    inner = torch.exp(-torch.log1p(safe_a * (safe_b - 1) / (safe_a - 1)) / safe_a)
    end = torch.where((a <= 1) & (a < b), 0.0, torch.where((a == 1) & (b == 1), 0.5, 1.0))
    return _inside(nan_of(torch.where(is_inner, inner, end), a, b).to(concentration1.dtype))
