"""Geometric distribution of every element: the number of failures before the first success, 0, 1, 2, ...

P(X = k) = (1 - p)^k p with p = sigmoid(logits). It is the integer part of an exponential variable of rate
softplus(logits) = -log(1 - p), so all verbs are exact in both tails. See Johnson, Kemp & Kotz, "Univariate discrete
distributions" (2005), chapter 5. A logit of inf is certain success. All verbs compute in float64 and round once.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete import bernoulli
from functional_dists.discrete.counts import NO_COUNT, as_count, counted, nan_with
from functional_dists.family import Atom, Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, softplus
from functional_dists.special import support as supports
from functional_dists.special.deviance import exp_excess, log_one_minus_exp, one_minus_exp


class Params(NamedTuple):
    """The parameter of a geometric distribution.

    logits: The log-odds log(p / (1 - p)) of a success, of shape (*batch, *event).
    value: Numbers of failures, of shape (*sample, *batch, *event): they may add leading axes to the batch.
    sample: Numbers of failures, int64, of shape (*sample_shape, *batch, *event).
    """

    logits: Real


verb = define(Params)


@verb
def check(logits: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, -math.inf]))
    Traceback (most recent call last):
    ...
    ValueError: logits must be numbers above -inf; this fails at position (1,)
    """
    require(logits > -math.inf, "logits", "must be numbers above -inf")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, logits: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw numbers of failures by the inverse cdf, from one 64-bit word each. None exceeds 2^62.

    >>> sample(random.key(42), torch.zeros(6))
    tensor([1, 0, 6, 1, 2, 1])
    """
    options: dict[str, Any] = {"dtype": torch.float64, "device": logits.device}
    noise = random.draw_entries(random.exponential, key, sample_shape, logits.shape, **options)
    return as_count((noise / _rate(logits.detach())).floor())


@verb
def sample_and_log_prob(
    key: Source, logits: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2))
    >>> log_prob
    tensor([-1.3863, -0.6931])
    """
    value = sample(key, logits, sample_shape=sample_shape)
    return value, log_prob(logits, value, event_dims=event_dims)


def _rate(logits: Tensor) -> Tensor:
    """Return -log(1 - p) in float64."""
    return softplus(logits.double())


# -------------------------------------------------------------------------------------------------------- probability
@verb(keeps_dtypes=True)
def log_prob(logits: Real, value: Atom, *, event_dims: int = 0) -> Tensor:
    """Return the log-probability of a number of failures; -inf, with no gradient, for a value that is no such number.

    >>> log_prob(torch.zeros(3), torch.tensor([0, 2, -1]))
    tensor([-0.6931, -2.0794,    -inf])
    """
    is_outside, count = counted(value)
    is_certain = logits == math.inf
    is_outside = is_outside | (is_certain & (count > 0))
    wide = torch.where(is_certain, 0.0, logits.double())
    score = torch.where(is_certain, 0.0, -softplus(-wide) - count * softplus(wide))
    return sum_event(torch.where(is_outside, -math.inf, nan_of(score, logits)), event_dims).to(logits.dtype)


@verb
def entropy(logits: Real, *, event_dims: int = 0) -> Tensor:
    """Return the entropy in nats: that of a Bernoulli variable, divided by p.

    >>> entropy(torch.zeros(2))
    tensor([1.3863, 1.3863])
    """
    is_certain, is_rare = logits == math.inf, logits < -40
    wide = torch.where(is_certain, 0.0, logits.double())
    usual = torch.where(is_rare, 0.0, wide)
    of_failures = torch.where(is_rare, 1.0, torch.exp(-usual) * softplus(usual))  # exp(-x) may overflow
    found = torch.where(is_certain, 0.0, softplus(-wide) + of_failures)
    return sum_event(found, event_dims).to(logits.dtype)


log_prob_and_entropy = verb.log_prob_and_entropy(log_prob, entropy)


@verb
def support(logits: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the integers from 0 on.

    >>> support(torch.zeros(3)).check(torch.tensor([0.0, 0.5, -1.0]))
    tensor([ True, False, False])
    """
    return supports.of_events(constraints.nonnegative_integer, event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats: that of Bernoulli variables, divided by p's p.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([1.0, math.inf])))
    tensor([0.2402,    inf])
    """
    wide, other = p.logits.double(), q.logits.double()
    is_rare = wide < -300  # where the divergence of Bernoulli variables may underflow
    usual = torch.where(is_rare, 0.0, wide)
    of_usual = bernoulli.divergence(usual, torch.where(is_rare, 0.0, other)) * (1 + torch.exp(-usual))
    # With w = log softplus(q) - p it is exp(w) - 1 - w to the last digit: if q > -40 then exp(w) exceeds the rest.
    is_low = other < -40
    log_rate = torch.where(is_low, other, softplus(torch.where(is_low, 0.0, other)).log())
    of_rare = exp_excess(torch.where(is_rare, log_rate - wide, 0.0))
    return sum_event(torch.where(is_rare, of_rare, of_usual), event_dims).to(p.logits.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb(keeps_dtypes=True)
def cdf(logits: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise, for any real number.

    >>> cdf(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([0.0000, 0.5000, 0.7500])
    """
    return one_minus_exp(_energy(logits, value)).to(logits.dtype)


@verb(keeps_dtypes=True)
def log_cdf(logits: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise, for any real number.

    >>> log_cdf(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([   -inf, -0.6931, -0.2877])
    """
    return log_one_minus_exp(_energy(logits, value)).to(logits.dtype)


@verb(keeps_dtypes=True)
def survival(logits: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise, for any real number.

    >>> survival(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([1.0000, 0.5000, 0.2500])
    """
    return torch.exp(-_energy(logits, value)).to(logits.dtype)


@verb(keeps_dtypes=True)
def log_survival(logits: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise, for any real number; finite where the survival underflows.

    >>> log_survival(torch.zeros(3), torch.tensor([-1.0, 0.0, 2000.0]))
    tensor([-0.0000e+00, -6.9315e-01, -1.3870e+03])
    """
    return -_energy(logits, value).to(logits.dtype)


def _energy(logits: Tensor, value: Tensor) -> Tensor:
    """Return -log P(X > value), with no gradient where it is infinite."""
    failures = (value.double().detach().floor() + 1).clamp(min=0)  # the derivative by the value is 0
    fixed = (_rate(logits) * failures).detach()
    is_far = (logits == math.inf) | fixed.isinf()
    energy = _rate(torch.where(is_far, 0.0, logits)) * torch.where(is_far, 0.0, failures)
    energy = torch.where(is_far, torch.where(failures > 0, math.inf, 0.0).double(), energy)
    return nan_with(energy, logits, value)


@verb
def icdf(logits: Real, value: Real) -> Tensor:
    """Return the quantile of a probability: the lowest value whose cdf reaches it, int64.

    It is 2^62 where there is no such value below, and -1, which is no value, for a probability outside [0, 1] or NaN.

    >>> icdf(torch.zeros(3), torch.tensor([0.0, 0.8, 1.0]))
    tensor([                  0,                   2, 4611686018427387904])
    """
    p, rate = value.detach().double(), _rate(logits.detach())
    energy = -torch.log1p(-p)
    guess = (torch.ceil(energy / rate) - 1).clamp(min=0)
    # The quotient is rounded, so compare with the cdf itself.
    guess = torch.where((guess > 0) & (one_minus_exp(rate * guess) >= p), guess - 1, guess)
    guess = torch.where(one_minus_exp(rate * (guess + 1)) >= p, guess, guess + 1)
    return torch.where((p >= 0) & (p <= 1) & ~rate.isnan(), as_count(guess), NO_COUNT)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(logits: Real) -> Tensor:
    """Return the mean, elementwise: (1 - p) / p = exp(-logits).

    >>> mean(torch.zeros(2))
    tensor([1., 1.])
    """
    return torch.exp(-logits.double()).to(logits.dtype)


@verb
def variance(logits: Real) -> Tensor:
    """Return the variance, elementwise: (1 - p) / p^2.

    >>> variance(torch.zeros(2))
    tensor([2., 2.])
    """
    odds = torch.exp(-logits.double())
    return (odds * (1 + odds)).to(logits.dtype)


stddev = verb.stddev(variance)


@verb
def median(logits: Real) -> Tensor:
    """Return the lowest value whose cdf reaches 1/2, int64, elementwise.

    >>> median(torch.tensor([0.0, -3.0]))
    tensor([ 0, 14])
    """
    return icdf(logits, torch.full_like(logits, 0.5))


@verb
def mode(logits: Real) -> Tensor:
    """Return the most probable value, int64, elementwise, which is 0.

    >>> mode(torch.zeros(2))
    tensor([0, 0])
    """
    return torch.zeros_like(logits, dtype=torch.int64)


@verb
def deterministic(logits: Real) -> Tensor:
    """Return the action of a policy that does not explore: the median, since the mode is always 0.

    >>> deterministic(torch.tensor([0.0, -3.0]))
    tensor([ 0, 14])
    """
    return icdf(logits, torch.full_like(logits, 0.5))
