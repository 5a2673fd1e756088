"""Bernoulli distribution of every element: 1 with probability sigmoid(logits), else 0.

A logit may be infinite: the outcome is then certain. All verbs compute in float64 and round once, and keep the digits
of both probabilities. Relaxed values, between 0 and 1, are those of Maddison, Mnih & Teh, "The Concrete distribution"
(2017), appendix B.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.discrete.counts import nan_with
from functional_dists.family import Atom, Real, define, require, sum_event
from functional_dists.family.options import POSITIVE, per_element
from functional_dists.random import Shape, Source
from functional_dists.special import one_hot, softplus
from functional_dists.special import support as supports
from functional_dists.special.deviance import excess_of, exp_excess
from functional_dists.special.elementary import expm1

Gradient = Literal["straight_through", "relaxed"]


class Params(NamedTuple):
    """The parameter of a Bernoulli distribution.

    logits: The log-odds log(p / (1 - p)) of 1, of shape (*batch, *event).
    value: Outcomes, 0 or 1, of shape (*sample, *batch, *event): they may add leading axes to the batch.
    sample: Outcomes, int64, of shape (*sample_shape, *batch, *event).
    """

    logits: Real


verb = define(Params)


@verb
def check(logits: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, math.nan]))
    Traceback (most recent call last):
    ...
    ValueError: logits must be numbers; this fails at position (1,)
    """
    require(~logits.isnan(), "logits", "must be numbers")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, logits: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw outcomes, from one 64-bit word each.

    >>> sample(random.key(42), torch.zeros(6))
    tensor([1, 0, 1, 1, 1, 1])
    """
    return _outcome(logits, _noise(key, sample_shape, logits))


@verb
def sample_and_log_prob(
    key: Source, logits: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which has the score-function gradient.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2))
    >>> log_prob
    tensor([-0.6931, -0.6931])
    """
    value = _outcome(logits, _noise(key, sample_shape, logits))
    return value, sum_event(_score(logits, value), event_dims).to(logits.dtype)


@verb
def rsample(
    key: Source,
    logits: Real,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """Draw values with a gradient, in the dtype of the logits: those of `sample`, or relaxed ones.

    Straight-through values have the gradient of the probability. A relaxed value is sigmoid((logits + noise) /
    temperature), and rounds to the value that `sample` draws.

    >>> rsample(random.key(42), torch.zeros(2), gradient="relaxed", temperature=0.5)
    tensor([0.7149, 0.0062])
    """
    noise = _noise(key, sample_shape, logits)
    if _is_relaxed(gradient):
        return _sigmoid(_relaxed("rsample", logits, noise, temperature)[0]).to(logits.dtype)
    return one_hot.straight_through(_outcome(logits, noise), _sigmoid(logits.double())).to(logits.dtype)


@verb
def rsample_and_log_prob(
    key: Source,
    logits: Real,
    *,
    sample_shape: Shape = (),
    event_dims: int = 0,
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-probability; for relaxed values, their log-density from the noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2))
    >>> log_prob
    tensor([-0.6931, -0.6931])
    """
    noise = _noise(key, sample_shape, logits)
    if _is_relaxed(gradient):
        at, temperature = _relaxed("rsample_and_log_prob", logits, noise, temperature)
        score = _relaxed_density(noise, at, temperature)
        return _sigmoid(at).to(logits.dtype), sum_event(score, event_dims).to(logits.dtype)
    outcome = _outcome(logits, noise)
    value = one_hot.straight_through(outcome, _sigmoid(logits.double())).to(logits.dtype)
    return value, sum_event(_score(logits, outcome), event_dims).to(logits.dtype)


def _noise(key: Source, sample_shape: Shape, logits: Tensor) -> Tensor:
    """Draw from the standard logistic distribution, in float64 for every dtype."""
    options: dict[str, Any] = {"dtype": torch.float64, "device": logits.device}
    lower, upper = random.draw_entries(random.uniform_and_rest, key, sample_shape, logits.shape, **options)
    return torch.log(lower) - torch.log(upper)


def _outcome(logits: Tensor, noise: Tensor) -> Tensor:
    return (logits.detach().double() + noise > 0).long()


def _is_relaxed(gradient: Gradient) -> bool:
    if gradient not in ("straight_through", "relaxed"):
        raise ValueError(f'gradient must be "straight_through" or "relaxed", got {gradient!r}')
    return gradient == "relaxed"


def _relaxed(verb: str, logits: Tensor, noise: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-odds of relaxed values, and the temperature."""
    wide = _temperature(verb, temperature, logits)
    return (logits.double() + noise) / wide, wide


def _temperature(verb: str, temperature: float | Tensor, logits: Tensor) -> Tensor:
    options: dict[str, Any] = {"dtype": torch.float64, "device": logits.device, "within": POSITIVE}
    return per_element(f"bernoulli.{verb}", "temperature", temperature, logits.shape, **options)


def _relaxed_density(noise: Tensor, at: Tensor, temperature: Tensor) -> Tensor:
    """Return the log-density of sigmoid(at), where at = (logits + noise) / temperature."""
    return temperature.log() - softplus(noise) - softplus(-noise) + softplus(at) + softplus(-at)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(logits: Real, value: Atom, *, event_dims: int = 0) -> Tensor:
    """Return the log-probability of an outcome; -inf, with no gradient, for a value that is not 0 or 1.

    >>> log_prob(torch.zeros(3), torch.tensor([0.0, 1.0, 0.5]))
    tensor([-0.6931, -0.6931,    -inf])
    """
    return sum_event(_score(logits, value), event_dims).to(logits.dtype)


def _score(logits: Tensor, value: Tensor) -> Tensor:
    of_one = value == 1
    signed = torch.where(of_one, logits.double(), -logits.double())
    is_outside = ~(of_one | (value == 0)) & ~value.isnan() | (signed == -math.inf)
    return nan_with(torch.where(is_outside, -math.inf, -softplus(-torch.where(is_outside, 0.0, signed))), value)


@verb
def log_prob_relaxed(logits: Real, value: Real, *, temperature: float | Tensor = 1.0, event_dims: int = 0) -> Tensor:
    """Return the log-density of a relaxed value; -inf, with no gradient, outside [0, 1].

    Relaxed draws at low temperatures round to 0 or 1. A distance of 0 to an end counts as the smallest normal number.

    >>> log_prob_relaxed(torch.zeros(3), torch.tensor([0.1, 0.5, 2.0]), temperature=0.5)
    tensor([ 0.0408, -0.6931,    -inf])
    """
    wide, smallest = _temperature("log_prob_relaxed", temperature, logits), torch.finfo(logits.dtype).tiny
    is_outside = (value < 0) | (value > 1)
    inside = torch.where(is_outside, 0.5, value.double())
    at = inside.clamp(min=smallest).log() - (1 - inside).clamp(min=smallest).log()
    score = _relaxed_density(wide * at - logits.double(), at, wide)
    return sum_event(torch.where(is_outside, -math.inf, score), event_dims).to(logits.dtype)


@verb
def probs(logits: Real) -> Tensor:
    """Return the probability of 1, elementwise. It is the mean.

    >>> probs(torch.tensor([0.0, -50.0]))
    tensor([5.0000e-01, 1.9287e-22])
    """
    return _sigmoid(logits.double()).to(logits.dtype)


def _sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)); unlike that of `torch.sigmoid` its derivative keeps its digits where it is near 1."""
    decay = torch.exp(torch.where(x < 0, x, -x))
    return torch.where(x < 0, decay, 1.0) / (1 + decay)


@verb
def entropy(logits: Real, *, event_dims: int = 0) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.tensor([0.0, 50.0]))
    tensor([6.9315e-01, 9.8366e-21])
    """
    # log(1 + e) + a e / (1 + e) with a = |logits| and e = exp(-a): no term is negative.
    wide = logits.double()
    size = torch.where(wide < 0, -wide, wide)
    is_certain = size > 800
    size = torch.where(is_certain, 0.0, size)
    decay = torch.exp(-size)
    found = torch.log1p(decay) + size * decay / (1 + decay)
    return sum_event(torch.where(is_certain, 0.0, found), event_dims).to(logits.dtype)


log_prob_and_entropy = verb.log_prob_and_entropy(log_prob, entropy)


@verb
def support(logits: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: 0 and 1.

    >>> support(torch.zeros(3)).check(torch.tensor([0.0, 1.0, 0.5]))
    tensor([ True,  True, False])
    """
    return supports.of_events(constraints.boolean, event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p has an outcome that q lacks.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([1.0, math.inf])))
    tensor([0.1201,    inf])
    """
    return sum_event(divergence(p.logits.double(), q.logits.double()), event_dims).to(p.logits.dtype)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return the divergence of two Bernoulli distributions with float64 log-odds p and q, exact where these are close.

    For s = softplus and d = q - p it is s(q) - s(p) - d s'(p). With y = s'(p) (exp(d) - 1) that is also
    s'(p) (exp(d) - 1 - d) - (y - log(1 + y)), where nothing cancels for p <= 0 and small d. For p > 0 the outcomes are
    exchanged.

    >>> divergence(torch.zeros(()), torch.tensor(2**-10))
    tensor(1.1921e-07)
    """
    is_swapped = p > 0
    p, q = torch.where(is_swapped, -p, p), torch.where(is_swapped, -q, q)
    is_excluded, is_certain = q.isinf() & (p != q), p == -math.inf
    is_special = is_excluded | is_certain
    p, safe = torch.where(is_special, 0.0, p), torch.where(is_special, 0.0, q)
    difference, prob = safe - p, _sigmoid(p)
    is_near = difference.abs() < 1
    near = torch.where(is_near, difference, 0.0)
    by_series = prob * exp_excess(near) - excess_of(prob * expm1(near))
    found = torch.where(is_near, by_series, softplus(safe) - softplus(p) - prob * difference)
    of_certain = softplus(torch.where(is_certain & ~is_excluded, q, 0.0))
    return torch.where(is_excluded, math.inf, torch.where(is_certain, of_certain, found))


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(logits: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise, for any real number.

    >>> cdf(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return _step(logits, value, 0.0, _sigmoid(-logits.double()), 1.0)


@verb
def log_cdf(logits: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise, for any real number.

    >>> log_cdf(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([   -inf, -0.6931,  0.0000])
    """
    return _step(logits, value, -math.inf, _score(logits, torch.zeros_like(logits)), 0.0)


@verb
def survival(logits: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise, for any real number.

    >>> survival(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([1.0000, 0.5000, 0.0000])
    """
    return _step(logits, value, 1.0, _sigmoid(logits.double()), 0.0)


@verb
def log_survival(logits: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise, for any real number.

    >>> log_survival(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.5]))
    tensor([ 0.0000, -0.6931,    -inf])
    """
    return _step(logits, value, 0.0, _score(logits, torch.ones_like(logits)), -math.inf)


def _step(logits: Tensor, value: Tensor, below: float, at_0: Tensor, from_1: float) -> Tensor:
    """Return a function of the value that is constant below 0, between 0 and 1, and from 1 on."""
    outer = torch.where(value < 0, below, from_1).double()
    return nan_with(torch.where((value < 0) | (value >= 1), outer, at_0), logits, value).to(logits.dtype)


@verb
def icdf(logits: Real, value: Real) -> Tensor:
    """Return the quantile of a probability: the lowest outcome whose cdf reaches it, int64.

    It is -1, which is no outcome, for a probability outside [0, 1] or NaN.

    >>> icdf(torch.zeros(3), torch.tensor([0.0, 0.5, 1.0]))
    tensor([0, 0, 1])
    """
    p, wide = value.detach().double(), logits.detach().double()
    is_one = torch.where(p < 0.5, p > _sigmoid(-wide), 1 - p < _sigmoid(wide))
    return torch.where((p >= 0) & (p <= 1) & ~wide.isnan(), is_one.long(), -1)


# ------------------------------------------------------------------------------------------------------------ moments
mean = probs


@verb
def variance(logits: Real) -> Tensor:
    """Return the variance, elementwise: p (1 - p).

    >>> variance(torch.tensor([0.0, 50.0]))
    tensor([2.5000e-01, 1.9287e-22])
    """
    return (_sigmoid(logits.double()) * _sigmoid(-logits.double())).to(logits.dtype)


stddev = verb.stddev(variance)


@verb
def mode(logits: Real) -> Tensor:
    """Return the more probable outcome, int64, elementwise; 0 if both are equal. It is also the median.

    >>> mode(torch.tensor([1.0, 0.0, -1.0]))
    tensor([1, 0, 0])
    """
    return (logits > 0).long()


median = mode
deterministic = verb.deterministic(mode)
