"""Poisson distribution of every element: P(X = k) = rate^k exp(-rate) / k! for k = 0, 1, 2, ...

A rate may be 0: X is then 0. See Johnson, Kemp & Kotz, "Univariate discrete distributions" (2005), chapter 4. All verbs
compute in float64 and round once. Those with a cdf, and draws, take tables of 88 numbers for each element.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete.counts import LARGEST_COUNT, NO_COUNT, as_count, counted, nan_with
from functional_dists.family import Atom, Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import poisson as special
from functional_dists.special import support as supports
from functional_dists.special.deviance import ratio_excess


class Params(NamedTuple):
    """The parameter of a Poisson distribution.

    rate: The mean, at least 0, of shape (*batch, *event).
    value: Counts, of shape (*sample, *batch, *event): they may add leading axes to the batch.
    sample: Counts, int64, of shape (*sample_shape, *batch, *event).
    """

    rate: Real


verb = define(Params)


@verb
def check(rate: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    ...
    ValueError: rate must be finite and at least 0; this fails at position (1,)
    """
    require((rate >= 0) & rate.isfinite(), "rate", "must be finite and at least 0")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, rate: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw counts by the inverse cdf, from one 64-bit word each.

    >>> sample(random.key(42), torch.full((6,), 3.0))
    tensor([3, 1, 7, 3, 5, 3])
    """
    options: dict[str, Any] = {"dtype": torch.float64, "device": rate.device}
    lower, upper = random.draw_entries(random.uniform_and_rest, key, sample_shape, rate.shape, **options)
    return as_count(special.quantile(rate.detach().double(), lower, upper))


@verb
def sample_and_log_prob(
    key: Source, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.full((2,), 3.0))
    >>> log_prob
    tensor([-1.4959, -1.9014])
    """
    value = sample(key, rate, sample_shape=sample_shape)
    return value, log_prob(rate, value, event_dims=event_dims)


# -------------------------------------------------------------------------------------------------------- probability
@verb(keeps_dtypes=True)
def log_prob(rate: Real, value: Atom, *, event_dims: int = 0) -> Tensor:
    """Return the log-probability of a count; -inf, with no gradient, for a value that is no count.

    >>> log_prob(torch.ones(3), torch.tensor([0, 2, -1]))
    tensor([-1.0000, -1.6931,    -inf])
    """
    is_outside, count = counted(value)
    score = special.log_mass(rate.double(), count)
    return sum_event(torch.where(is_outside, -math.inf, nan_of(score, count)), event_dims).to(rate.dtype)


@verb
def entropy(rate: Real, *, event_dims: int = 0) -> Tensor:
    """Return the entropy in nats, a sum or an asymptotic series.

    >>> entropy(torch.tensor([1.0, 1000.0]))
    tensor([1.3048, 4.8727])
    """
    return sum_event(special.entropy(rate.double()), event_dims).to(rate.dtype)


log_prob_and_entropy = verb.log_prob_and_entropy(log_prob, entropy)


@verb
def support(rate: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the integers from 0 on; for rate 0 only 0 has a finite log-probability.

    >>> support(torch.ones(3)).check(torch.tensor([0.0, 0.5, -1.0]))
    tensor([ True, False, False])
    """
    return supports.of_events(constraints.nonnegative_integer, event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where the rate of q alone is 0.

    It is p.rate (r - 1 - log r) with r = q.rate / p.rate, a product of numbers that are not negative.

    >>> kl(Params(torch.ones(2)), Params(torch.tensor([2.0, 0.0])))
    tensor([0.3069,    inf])
    """
    p_rate, q_rate = p.rate.double(), q.rate.double()
    is_zero, is_excluded = p_rate == 0, (q_rate == 0) & (p_rate > 0)
    p_safe, q_safe = torch.where(is_zero, 1.0, p_rate), torch.where(is_zero | is_excluded, 1.0, q_rate)
    found = torch.where(is_zero, q_rate + 0.0 * p_rate, p_safe * ratio_excess(q_safe, p_safe))
    return sum_event(torch.where(is_excluded, math.inf, found), event_dims).to(p.rate.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb(keeps_dtypes=True)
def cdf(rate: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise, for any real number.

    >>> cdf(torch.ones(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([0.0000, 0.3679, 0.7358])
    """
    return _rounded(special.tails(rate.double(), value.double())[0], rate, value)


@verb(keeps_dtypes=True)
def log_cdf(rate: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise, for any real number; finite where the cdf underflows.

    >>> log_cdf(torch.full((3,), 2000.0), torch.tensor([-1.0, 0.0, 2000.0]))
    tensor([       -inf, -2.0000e+03, -6.8132e-01])
    """
    return _rounded(special.log_tails(rate.double(), value.double())[0], rate, value)


@verb(keeps_dtypes=True)
def survival(rate: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise, for any real number.

    >>> survival(torch.ones(3), torch.tensor([-1.0, 0.0, 20.0]))
    tensor([1.0000e+00, 6.3212e-01, 7.5426e-21])
    """
    return _rounded(special.tails(rate.double(), value.double())[1], rate, value)


@verb(keeps_dtypes=True)
def log_survival(rate: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise, for any real number; finite where the survival underflows.

    >>> log_survival(torch.ones(3), torch.tensor([-1.0, 0.0, 2000.0]))
    tensor([ 0.0000e+00, -4.5868e-01, -1.3215e+04])
    """
    return _rounded(special.log_tails(rate.double(), value.double())[1], rate, value)


def _rounded(found: Tensor, rate: Tensor, value: Tensor) -> Tensor:
    return nan_with(found, rate, value).to(rate.dtype)


_ROUNDING = 2.0**-42


@verb
def icdf(rate: Real, value: Real) -> Tensor:
    """Return the quantile of a probability: the lowest count whose cdf reaches it but for rounding, int64.

    It is 2^62 for the probability 1, and -1, which is no count, for a probability outside [0, 1] or NaN.

    >>> icdf(torch.ones(3), torch.tensor([0.0, 0.8, 1.0]))
    tensor([                  0,                   2, 4611686018427387904])
    """
    p, wide = value.detach().double(), rate.detach().double()
    # So the quantile of the cdf of a count is that count: the last digits of p are those of a rounded cdf.
    found = special.quantile(wide, p * (1 - _ROUNDING), (1 - p) * (1 + _ROUNDING) + 2.0**-54)
    found = torch.where(p == 0, 0.0, torch.where((p == 1) & (wide > 0), LARGEST_COUNT, found))
    return torch.where((p >= 0) & (p <= 1) & ~wide.isnan(), as_count(found), NO_COUNT)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(rate: Real) -> Tensor:
    """Return the mean, elementwise, which is the rate.

    >>> mean(torch.tensor([1.0, 4.0]))
    tensor([1., 4.])
    """
    return 1.0 * rate


variance = mean
stddev = verb.stddev(variance)


@verb
def median(rate: Real) -> Tensor:
    """Return the lowest count whose cdf reaches 1/2, int64, elementwise.

    >>> median(torch.tensor([1.0, 4.5]))
    tensor([1, 4])
    """
    return icdf(rate, torch.full_like(rate, 0.5))


@verb
def mode(rate: Real) -> Tensor:
    """Return the most probable count, int64, elementwise: the integer part of the rate, the higher of two.

    For an integer rate, the counts rate - 1 and rate are equally probable.

    >>> mode(torch.tensor([0.5, 4.0]))
    tensor([0, 4])
    """
    return as_count(rate.detach().double().floor())


deterministic = verb.deterministic(mode)
