"""Uniform distribution of every element on the closed interval [low, high].

A draw that rounds to a bound is in the support. All verbs compute in float64 and round once.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.continuous import location_scale
from functional_dists.family import Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of a uniform distribution, which broadcast against each other.

    low: The lower bound, of shape (*batch, *event).
    high: The upper bound, above `low`, of shape (*batch, *event).
    """

    low: Real = 0.0
    high: Real = 1.0


verb = define(Params)


@verb
def check(low: Real, high: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, 1.0]), 1.0)
    Traceback (most recent call last):
    ...
    ValueError: high must exceed low by a finite number; this fails at position (1,)
    """
    require(low.isfinite(), "low", "must be finite")
    require((low < high) & (high - low).isfinite(), "high", "must exceed low by a finite number")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable with respect to the bounds.

    >>> rsample(random.key(42), torch.zeros(2), 2.0)
    tensor([1.2259, 0.9372])
    """
    return _between(low, high, *location_scale.tails(key, sample_shape, low, high))


sample = verb.sample(rsample)


@verb
def sample_and_log_prob(
    key: Source, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 2.0)
    >>> log_prob
    tensor([-0.6931, -0.6931])
    """
    value, log_prob = _scored_draw(key, low, high, sample_shape, event_dims)
    return value.detach(), log_prob


@verb
def rsample_and_log_prob(
    key: Source, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 2.0)
    >>> log_prob
    tensor([-0.6931, -0.6931])
    """
    return _scored_draw(key, low, high, sample_shape, event_dims)


def _scored_draw(key: Source, low: Tensor, high: Tensor, sample_shape: Shape, event_dims: int) -> tuple[Tensor, Tensor]:
    lower, upper = location_scale.tails(key, sample_shape, low, high)
    log_prob = (-_width(low, high).log()).expand(lower.shape)
    return _between(low, high, lower, upper), sum_event(log_prob, event_dims).to(low.dtype)


def _width(low: Tensor, high: Tensor) -> Tensor:
    return high.double() - low.double()


def _between(low: Tensor, high: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return low + width lower = high - width upper, from the nearer bound, not beyond the bounds."""
    width = _width(low, high)
    value = torch.where(lower < upper, low.double() + width * lower, high.double() - width * upper).to(low.dtype)
    fixed = value.detach()
    return torch.clamp(fixed, low.detach(), high.detach()) + (value - fixed)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(low: Real, high: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, outside of the bounds.

    >>> log_prob(torch.zeros(3), 2.0, torch.tensor([0.0, 2.0, 3.0]))
    tensor([-0.6931, -0.6931,    -inf])
    """
    is_outside = (value < low) | (value > high)  # False for NaN
    density = torch.where(is_outside, -math.inf, nan_of(-_width(low, high).log(), torch.where(is_outside, 0.0, value)))
    return sum_event(density, event_dims).to(low.dtype)


@verb
def entropy(low: Real, high: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log(high - low).

    >>> entropy(torch.zeros(2), 2.0)
    tensor([0.6931, 0.6931])
    """
    return sum_event(_width(low, high).log(), event_dims).to(low.dtype)


@verb
def support(low: Real, high: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the closed interval.

    >>> support(torch.zeros(2), 1.0).check(torch.tensor([0.0, 1.5]))
    tensor([ True, False])
    """
    return supports.of_events(supports.finite_interval(low, high), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where the interval of p is not in that of q.

    >>> kl(Params(torch.zeros(2), 1.0), Params(0.0, torch.tensor([2.0, 0.5])))
    tensor([0.6931,    inf])
    """
    p_low, p_high, q_low, q_high = (t.double() for t in (*p, *q))
    below, above = p_low - q_low, q_high - p_high
    is_outside = (below < 0) | (above < 0)  # False for NaN
    excess = torch.where(is_outside, 0.0, (below + above) / (p_high - p_low))
    return sum_event(torch.where(is_outside, math.inf, torch.log1p(excess)), event_dims).to(p.low.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(low: Real, high: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(3), 2.0, torch.tensor([0.5, -1.0, 3.0]))
    tensor([0.2500, 0.0000, 1.0000])
    """
    is_outside, below, _ = _fractions(low, high, value)
    return torch.where(is_outside, (value > low).double(), below).to(low.dtype)


@verb
def log_cdf(low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; -inf, with no gradient, up to the lower bound.

    >>> log_cdf(torch.zeros(3), 2.0, torch.tensor([0.5, -1.0, 3.0]))
    tensor([-1.3863,    -inf,  0.0000])
    """
    is_outside, below, above = _fractions(low, high, value)
    is_zero, is_lower = below <= 0, below < 0.5
    lower = torch.where(is_zero, -math.inf, torch.where(is_lower & ~is_zero, below, 0.5).log())
    inside = torch.where(is_lower, lower, torch.log1p(-torch.where(is_lower, 0.0, above)))
    return torch.where(is_outside, torch.where(value > low, 0.0, -math.inf).double(), inside).to(low.dtype)


def _fractions(low: Tensor, high: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the value is outside, and elsewhere the fractions of the interval below and above the value."""
    is_outside = (value < low) | (value > high)
    low, high = low.double(), high.double()
    value = torch.where(is_outside, low.detach(), value.double())
    return is_outside, (value - low) / (high - low), (high - value) / (high - low)


survival, log_survival = verb.survivals(cdf, log_cdf, lambda low, high, value: (-high, -low, -value))


@verb
def icdf(low: Real, high: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 2.0, torch.tensor([0.25, 1.0]))
    tensor([0.5000, 2.0000])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    return _between(low, high, p, 1 - p)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(low: Real, high: Real) -> Tensor:
    """Return the mean, elementwise: the centre of the interval. It is also the median, and there is no single mode.

    >>> mean(torch.zeros(2), 2.0)
    tensor([1., 1.])
    """
    return (0.5 * low.double() + 0.5 * high.double()).to(low.dtype)


median = deterministic = mean


@verb
def stddev(low: Real, high: Real) -> Tensor:
    """Return the standard deviation, elementwise: the width divided by the root of 12.

    >>> stddev(torch.zeros(2), 6.0)
    tensor([1.7321, 1.7321])
    """
    return (_width(low, high) / math.sqrt(12)).to(low.dtype)


@verb
def variance(low: Real, high: Real) -> Tensor:
    """Return the variance, elementwise.

    >>> variance(torch.zeros(2), 6.0)
    tensor([3., 3.])
    """
    return (_width(low, high).square() / 12).to(low.dtype)
