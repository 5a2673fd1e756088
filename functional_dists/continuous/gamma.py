"""Gamma distribution of every element, with density rate^a x^(a-1) exp(-rate x) / Gamma(a) for x > 0.

Here a is the concentration. See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1994), chapter 17.
A draw is the quantile of a uniform number, so that it has exact derivatives; see `special.gamma_local`. All verbs
compute in float64, and round once.

At a small concentration most draws are too small for a floating-point number: `sample` then returns the smallest
normal one. `sample_log` returns log x, which has all its digits, and `log_prob_log` scores it.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Real, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of
from functional_dists.special import support as supports
from functional_dists.special.gamma_density import gamma_divergence, gamma_entropy, gamma_log_density, log_ratio
from functional_dists.special.gamma_local import gamma_local
from functional_dists.special.gamma_quantile import gamma_quantile
from functional_dists.special.implicit import carried_quantile, carried_tails, second_order
from functional_dists.special.positive import positive_normal


class Params(NamedTuple):
    """Parameters of a gamma distribution, which broadcast against each other.

    concentration: The shape parameter a, positive, of shape (*batch, *event).
    rate: The inverse of the scale, positive, of shape (*batch, *event).
    """

    concentration: Real
    rate: Real


verb = define(Params)


@verb
def check(concentration: Real, rate: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.ones(2), torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: rate must be positive and finite; this fails at position (1,)
    """
    for name, param in (("concentration", concentration), ("rate", rate)):
        require((param > 0) & param.isfinite(), name, "must be positive and finite")


# -------------------------------------------------------------------------------------------------------------- draws
class _Draw(NamedTuple):
    """A draw of the standard gamma distribution, in float64."""

    offset: Tensor  # log x - log a, without derivatives
    change: Tensor  # 0, with the derivatives of log x by a
    a: Tensor
    rate: Tensor

    def point(self) -> Tensor:
        """Return log x."""
        return self.a.detach().log() + self.offset + self.change

    def value(self, like: Tensor) -> Tensor:
        """Return x / rate, of the dtype of `like`."""
        return positive_normal((self.a.detach() * torch.exp(self.offset + self.change) / self.rate).to(like.dtype))


def _draw(key: Source, sample_shape: Shape, concentration: Tensor, rate: Tensor) -> _Draw:
    shape = broadcast_shape(concentration, rate)
    options: dict[str, Any] = {"dtype": torch.float64, "device": concentration.device}
    tails = random.draw_entries(random.uniform_and_rest, key, sample_shape, shape, **options)
    return _draw_of(*tails, concentration, rate)


def _draw_of(below: Tensor, above: Tensor, concentration: Tensor, rate: Tensor) -> _Draw:
    a, precise = concentration.double(), concentration.dtype == torch.float64
    offset = gamma_quantile(below, above, a, precise=precise)
    local = gamma_local(offset, a, precise=precise)
    return _Draw(offset, second_order(local.slopes, local.curves, [a]), a, rate.double())


def _score_of_constant(draw: _Draw, *, of_log: bool) -> Tensor:
    """Return the log-density of a draw as a constant: only the parameters have derivatives."""
    log_rate = draw.rate.log()
    log_value = draw.a.detach().log() + draw.offset - log_rate.detach()
    return gamma_log_density(draw.a, log_rate, log_value, draw.offset, of_log=of_log)


@verb(confine=positive_normal)
def rsample(key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable by both parameters.

    >>> rsample(random.key(42), torch.full((2,), 2.0), 3.0)
    tensor([0.6904, 0.1474])
    """
    return _draw(key, sample_shape, concentration, rate).value(concentration)


sample = verb.sample(rsample)


@verb(confine=positive_normal)
def sample_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)
    >>> log_prob
    tensor([-0.2445, -0.1595])
    """
    draw = _draw(key, sample_shape, concentration, rate)
    score = sum_event(_score_of_constant(draw, of_log=False), event_dims)
    return draw.value(concentration).detach(), score.to(concentration.dtype)


@verb(confine=positive_normal)
def rsample_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)
    >>> log_prob
    tensor([-0.2445, -0.1595])
    """
    draw, log_rate = _draw(key, sample_shape, concentration, rate), rate.double().log()
    score = gamma_log_density(draw.a, log_rate, draw.point() - log_rate, draw.offset, of_log=False)
    return draw.value(concentration), sum_event(score, event_dims).to(concentration.dtype)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(concentration: Real, rate: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, below 0 and where it overflows, and its limit at 0.

        >>> log_prob(torch.full((3,), 2.0), 3.0, torch.tensor([0.5, 0.0, -1.0]))
    tensor([0.0041,   -inf,   -inf])
    """
    a, wide_rate, x = concentration.double(), rate.double(), value.double()
    is_zero, is_outside = x == 0, (x < 0) | (x == math.inf)
    inner = torch.where(is_zero | is_outside, 1.0, x)
    score = gamma_log_density(a, wide_rate.log(), inner.log(), log_ratio(inner, wide_rate, a), of_log=False)
    at_zero = torch.where(a == 1, wide_rate.log(), torch.where(a < 1, math.inf, -math.inf).double())
    ends = nan_of(torch.where(is_zero, at_zero, -math.inf), a.detach(), wide_rate.detach())
    score = torch.where(is_zero | is_outside, ends, score)
    return sum_event(score, event_dims).to(value.dtype)


@verb
def entropy(concentration: Real, rate: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, a + log Gamma(a) + (1 - a) psi(a) - log(rate).

        >>> entropy(torch.tensor([1.0, 2.0]), 1.0)
    tensor([1.0000, 1.5772])
    """
    found = gamma_entropy(concentration.double()) - rate.double().log()
    return sum_event(found, event_dims).to(concentration.dtype)


@verb
def support(concentration: Real, rate: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the positive numbers.

        >>> support(torch.ones(2), 3.0).check(torch.tensor([0.5, 0.0]))
    tensor([ True, False])
    """
    return supports.of_events(supports.open_interval(0.0, math.inf), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, exact where p and q are close.

        >>> kl(Params(torch.ones(2), 1.0), Params(2.0, 1.0))
    tensor([0.5772, 0.5772])
    """
    found = gamma_divergence(*(t.double() for t in (*p, *q)))
    return sum_event(found, event_dims).to(p.concentration.dtype)


# ------------------------------------------------------------------------------------------------- logarithms of draws
@verb
def rsample_log(key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the logarithm of the value that `rsample` draws, differentiable; it has its digits where that underflows.

        >>> rsample_log(random.key(42), torch.full((2,), 1e-3), 3.0)
    tensor([ -491.1308, -2615.8013])
    """
    draw = _draw(key, sample_shape, concentration, rate)
    return (draw.point() - draw.rate.log()).to(concentration.dtype)


sample_log = verb.mapped(
    rsample_log,
    Tensor.detach,
    """Draw the logarithm of the value that `sample` draws, detached from the graph.

    >>> sample_log(random.key(42), torch.full((2,), 1e-3), 3.0)
tensor([ -491.1308, -2615.8013])
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
    draw, log_rate = _draw(key, sample_shape, concentration, rate), rate.double().log()
    log_value = draw.point() - log_rate
    score = gamma_log_density(draw.a, log_rate, log_value, draw.offset, of_log=True)
    return log_value.to(concentration.dtype), sum_event(score, event_dims).to(concentration.dtype)


@verb
def sample_log_and_log_prob(
    key: Source, concentration: Real, rate: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample_log` draws, with the log-density of the logarithm, which has the score-function gradient.

        >>> sample_log_and_log_prob(random.key(42), torch.full((2,), 1e-3), 3.0)[1]
    tensor([-7.3972, -9.5219])
    """
    draw = _draw(key, sample_shape, concentration, rate)
    score = sum_event(_score_of_constant(draw, of_log=True), event_dims)
    return (draw.point() - draw.rate.log()).to(concentration.dtype).detach(), score.to(concentration.dtype)


@verb
def log_prob_log(concentration: Real, rate: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density of log x at `value`, log_prob(exp(value)) + value, also where exp(value) underflows.

        >>> log_prob_log(torch.full((2,), 1e-3), 3.0, torch.tensor([-500.0, -1.0]))
    tensor([-7.4061, -8.0107])
    """
    a, log_rate, log_value = concentration.double(), rate.double().log(), value.double()
    is_infinite = log_value.isinf()
    inner = torch.where(is_infinite, 0.0, log_value)
    offset = (inner + log_rate - a.log()).detach()
    score = gamma_log_density(a, log_rate, inner, offset, of_log=True)
    score = torch.where(is_infinite, nan_of(torch.full_like(score, -math.inf), a.detach(), log_rate.detach()), score)
    return sum_event(score, event_dims).to(value.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
class _Tails(NamedTuple):
    is_low: Tensor  # where the value is at 0 or below
    is_high: Tensor  # where it is infinite
    log_below: Tensor
    log_above: Tensor


def _tails(concentration: Tensor, rate: Tensor, value: Tensor) -> _Tails:
    a, wide_rate, x = concentration.double(), rate.double(), value.double()
    is_low, is_high = x <= 0, x == math.inf
    inner = torch.where(is_low | is_high, 1.0, x)
    local = gamma_local(log_ratio(inner, wide_rate, a), a, precise=value.dtype == torch.float64)
    return _Tails(is_low, is_high, *carried_tails(inner.log() + wide_rate.log(), local, [a]))


def _with_ends(tails: _Tails, low: float, high: float, inside: Tensor, like: Tensor) -> Tensor:
    found = torch.where(tails.is_low, low, torch.where(tails.is_high, high, inside))
    return nan_of(found, inside.detach()).to(like.dtype)


@verb
def cdf(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

        >>> cdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-10]))
    tensor([4.4217e-01, 4.5000e-20])
    """
    tails = _tails(concentration, rate, value)
    return _with_ends(tails, 0.0, 1.0, torch.exp(tails.log_below), value)


@verb
def log_cdf(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where that underflows.

        >>> log_cdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-30]))
    tensor([  -0.8161, -136.6510])
    """
    tails = _tails(concentration, rate, value)
    return _with_ends(tails, -math.inf, 0.0, tails.log_below, value)


@verb
def survival(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise.

        >>> survival(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 20.0]))
    tensor([5.5783e-01, 5.3415e-25])
    """
    tails = _tails(concentration, rate, value)
    return _with_ends(tails, 1.0, 0.0, torch.exp(tails.log_above), value)


@verb
def log_survival(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise; finite where the survival underflows.

        >>> log_survival(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1000.0]))
    tensor([-5.8371e-01, -2.9920e+03])
    """
    tails = _tails(concentration, rate, value)
    return _with_ends(tails, 0.0, -math.inf, tails.log_above, value)


@verb
def icdf(concentration: Real, rate: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; 0 for 0, inf for 1, and NaN outside [0, 1].

        >>> icdf(torch.full((2,), 2.0), 3.0, torch.tensor([0.5, 1e-10]))
    tensor([5.5945e-01, 4.7141e-06])
    """
    a, p = concentration.double(), value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    is_end = (p == 0) | (p == 1)
    below = torch.where(is_end, 0.5, p)
    above = 1 - below
    precise = value.dtype == torch.float64
    offset = gamma_quantile(below, above, a, precise=precise)
    point = carried_quantile(offset, gamma_local(offset, a, precise=precise), [a], below, above)
    found = a.detach() * torch.exp(point) / rate.double()
    inner = positive_normal(found.to(value.dtype))
    return torch.where(is_end, nan_of(torch.where(p == 1, math.inf, 0.0).to(value.dtype), inner.detach()), inner)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(concentration: Real, rate: Real) -> Tensor:
    """Return the mean, concentration / rate, elementwise.

        >>> mean(torch.tensor([1.0, 4.0]), 2.0)
    tensor([0.5000, 2.0000])
    """
    return concentration / rate


@verb
def variance(concentration: Real, rate: Real) -> Tensor:
    """Return the variance, concentration / rate^2, elementwise.

        >>> variance(torch.tensor([1.0, 4.0]), 2.0)
    tensor([0.2500, 1.0000])
    """
    return concentration / rate / rate


stddev = verb.stddev(variance)


@verb(confine=positive_normal)
def median(concentration: Real, rate: Real) -> Tensor:
    """Return the median, elementwise.

        >>> median(torch.tensor([1.0, 4.0]), 2.0)
    tensor([0.3466, 1.8360])
    """
    half = torch.full_like(concentration.detach().double(), 0.5)
    return _draw_of(half, half, concentration, rate).value(concentration)


@verb(confine=positive_normal)
def deterministic(concentration: Real, rate: Real) -> Tensor:
    """Return the action of a policy that does not explore: the median, since the mode may be the end 0.

        >>> deterministic(torch.tensor([1.0, 4.0]), 2.0)
    tensor([0.3466, 1.8360])
    """
    return median(concentration, rate)


@verb(confine=positive_normal)
def mode(concentration: Real, rate: Real) -> Tensor:
    """Return the mode, elementwise, (concentration - 1) / rate; the smallest normal number where that is not positive.

        >>> mode(torch.tensor([4.0, 0.5]), 2.0)
    tensor([1.5000e+00, 1.1755e-38])
    """
    return positive_normal((concentration - 1).clamp(min=0) / rate)
