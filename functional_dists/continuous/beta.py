"""Beta distribution of every element on (low, high), whose density is x^(a-1) (1-x)^(b-1) / B(a, b) on (0, 1).

Here a is `concentration1` and b is `concentration0`, as in `torch.distributions`. See Johnson, Kotz & Balakrishnan,
"Continuous univariate distributions" (1995), chapter 25; for policies, Chou, Maturana & Scherer (2017).

A draw is the quantile of a uniform number, with exact derivatives, by the logit log(x / (1 - x)) in float64. A rollout
can store the logit of an action, and score it by `log_prob_logit`: next to a bound the action itself has few digits.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
import functional_dists.special as special
from functional_dists.continuous.bounds import if_bounds_differ
from functional_dists.family import Real, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, strictly_inside
from functional_dists.special import support as supports
from functional_dists.special.beta_divergence import beta_divergence, beta_entropy, divergence_of_intervals
from functional_dists.special.beta_offset import log_ratio
from functional_dists.special.beta_score import beta_score, carried_log_density
from functional_dists.special.beta_value import (
    Draw,
    between,
    draw_of,
    mode_shares,
    quantile_of,
    tails,
    value_at,
    value_of,
    with_ends,
)


class Params(NamedTuple):
    """Parameters of a Beta distribution, which broadcast against each other.

    concentration1: The power a of the distance to `low`, plus 1; positive, of shape (*batch, *event).
    concentration0: The power b of the distance to `high`, plus 1; positive, of shape (*batch, *event).
    low: The lower bound of the values, of shape (*batch, *event).
    high: The upper bound of the values, of shape (*batch, *event).
    """

    concentration1: Real
    concentration0: Real
    low: Real = 0.0
    high: Real = 1.0


verb = define(Params)


@verb
def check(concentration1: Real, concentration0: Real, low: Real, high: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.ones(2), torch.tensor([1.0, 0.0]), 0.0, 1.0)
    Traceback (most recent call last):
    ...
    ValueError: concentration0 must be positive and finite; this fails at position (1,)
    """
    require((concentration1 > 0) & concentration1.isfinite(), "concentration1", "must be positive and finite")
    require((concentration0 > 0) & concentration0.isfinite(), "concentration0", "must be positive and finite")
    for name, bound in (("low", low), ("high", high)):
        require(bound.isfinite(), name, "must be finite")
    require(special.next_above(low) < high, "low", "must leave a number between itself and high")


# -------------------------------------------------------------------------------------------------------------- draws
def _draw(key: Source, sample_shape: Shape, *params: Tensor) -> Draw:
    where: Any = {"dtype": torch.float64, "device": params[0].device}
    tails = random.draw_entries(random.uniform_and_rest, key, sample_shape, broadcast_shape(*params), **where)
    return draw_of(*tails, *params[:2])


@verb(confine=strictly_inside)
def rsample(
    key: Source, concentration1: Real, concentration0: Real, low: Real, high: Real, *, sample_shape: Shape = ()
) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event) inside (low, high), differentiable by every parameter.

    >>> rsample(random.key(42), torch.full((2,), 2.0), 3.0)
    tensor([0.4524, 0.1200])
    """
    draw = _draw(key, sample_shape, concentration1, concentration0, low, high)
    return value_of(draw.logit(), low, high)


sample = verb.sample(rsample)


@verb(confine=strictly_inside)
def sample_and_log_prob(
    key: Source,
    concentration1: Real,
    concentration0: Real,
    low: Real,
    high: Real,
    *,
    sample_shape: Shape = (),
    event_dims: int = 0,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)
    >>> log_prob
    tensor([0.4873, 0.1092])
    """
    draw = _draw(key, sample_shape, concentration1, concentration0, low, high)
    logit = draw.constant_logit()
    return value_of(logit, low, high).detach(), draw.log_density_of_constant(logit, low, high, event_dims)


@verb(confine=strictly_inside)
def rsample_and_log_prob(
    key: Source,
    concentration1: Real,
    concentration0: Real,
    low: Real,
    high: Real,
    *,
    sample_shape: Shape = (),
    event_dims: int = 0,
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise, as a SAC loss needs.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)
    >>> log_prob
    tensor([0.4873, 0.1092])
    """
    draw = _draw(key, sample_shape, concentration1, concentration0, low, high)
    logit = draw.logit()
    return value_of(logit, low, high), draw.log_density(logit, low, high, event_dims)


# ------------------------------------------------------------------------------------------------------------- logits
@verb
def rsample_logit(
    key: Source, concentration1: Real, concentration0: Real, low: Real, high: Real, *, sample_shape: Shape = ()
) -> Tensor:
    """Draw log((v - low) / (high - v)) of the value v that `rsample` draws, differentiable by both concentrations.

    >>> rsample_logit(random.key(42), torch.full((2,), 1e-3), 1e-3)
    tensor([  256.0814, -1920.9807])
    """
    return nan_of(_draw(key, sample_shape, concentration1, concentration0, low, high).logit(), low, high).to(low.dtype)


sample_logit = verb.mapped(
    rsample_logit,
    Tensor.detach,
    """Draw the logit of `rsample_logit`, detached from the graph; store it if you need the density later.

    >>> sample_logit(random.key(42), torch.full((2,), 1e-3), 1e-3)
    tensor([  256.0814, -1920.9807])""",
    "sample_logit",
)


@verb
def sample_logit_and_log_prob(
    key: Source,
    concentration1: Real,
    concentration0: Real,
    low: Real,
    high: Real,
    *,
    sample_shape: Shape = (),
    event_dims: int = 0,
) -> tuple[Tensor, Tensor]:
    """Draw what `sample_logit` draws, with the log-density of the value, which has the score-function gradient.

    >>> sample_logit_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)[1]
    tensor([0.4873, 0.1092])
    """
    draw = _draw(key, sample_shape, concentration1, concentration0, low, high)
    logit = draw.constant_logit()
    return nan_of(logit, low, high).to(low.dtype).detach(), draw.log_density(logit, low, high, event_dims)


@verb
def rsample_logit_and_log_prob(
    key: Source,
    concentration1: Real,
    concentration0: Real,
    low: Real,
    high: Real,
    *,
    sample_shape: Shape = (),
    event_dims: int = 0,
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample_logit` draws, with the log-density of the value, from the same noise.

    >>> rsample_logit_and_log_prob(random.key(42), torch.full((2,), 2.0), 3.0)[1]
    tensor([0.4873, 0.1092])
    """
    draw = _draw(key, sample_shape, concentration1, concentration0, low, high)
    logit = draw.logit()
    return nan_of(logit, low, high).to(low.dtype), draw.log_density(logit, low, high, event_dims)


@verb
def log_prob_logit(
    concentration1: Real, concentration0: Real, low: Real, high: Real, logit: Real, *, event_dims: int = 0
) -> Tensor:
    """Return the log-density of the value `from_logit(logit, low, high)`, exact even where that is next to a bound.

    It is the density of the value, not of the logit, as in `tanh_normal.log_prob_pretanh`.

    >>> log_prob_logit(torch.full((2,), 2.0), 3.0, 0.0, 1.0, torch.tensor([0.0, -100.0]))
    tensor([  0.4055, -97.5151])
    """
    a, b, point = concentration1.double(), concentration0.double(), logit.double()
    offset = point - log_ratio(a, b)
    found = carried_log_density(beta_score(offset, a, b), point, a, b) - torch.log(high.double() - low.double())
    return sum_event(found, event_dims).to(logit.dtype)


@verb(confine=strictly_inside)
def from_logit(logit: Real, low: Real, high: Real) -> Tensor:
    """Return low + (high - low) / (1 + exp(-logit)), strictly inside (low, high).

    >>> from_logit(torch.tensor([0.0, 100.0]), -2.0, 3.0)
    tensor([0.5000, 3.0000])
    """
    return value_of(logit.double(), low, high)


@verb
def to_logit(value: Real, low: Real, high: Real) -> Tensor:
    """Return log((value - low) / (high - value)); -inf at and below `low`, inf at and above `high`.

    >>> to_logit(torch.tensor([0.5, 3.0]), -2.0, 3.0)
    tensor([0., inf])
    """
    return (2 * special.unsquash(value.double(), low.double(), high.double())).to(value.dtype)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(
    concentration1: Real, concentration0: Real, low: Real, high: Real, value: Real, *, event_dims: int = 0
) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, at the bounds and beyond.

    >>> log_prob(torch.full((2,), 2.0), 3.0, value=torch.tensor([0.5, 1.0]))
    tensor([0.4055,   -inf])
    """
    at = value_at(concentration1, concentration0, low, high, value)
    found = carried_log_density(beta_score(at.offset, at.a, at.b), at.logit, at.a, at.b) - at.log_width
    outside = nan_of(torch.where(at.is_low | at.is_high, -math.inf, 0.0), at.a.detach(), at.b.detach())
    return sum_event(torch.where(at.is_low | at.is_high, outside, found), event_dims).to(value.dtype)


@verb
def entropy(concentration1: Real, concentration0: Real, low: Real, high: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, log B - (a-1) psi(a) - (b-1) psi(b) + (a+b-2) psi(a+b) + log(width).

    >>> entropy(torch.ones(2), torch.tensor([2.0, 1e6]))
    tensor([ -0.1931, -12.8155])
    """
    found = beta_entropy(concentration1.double(), concentration0.double()) + torch.log(high.double() - low.double())
    return sum_event(found, event_dims).to(low.dtype)


@verb
def support(concentration1: Real, concentration0: Real, low: Real, high: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the open interval (low, high).

    >>> support(torch.ones(2), 3.0, 0.0, 1.0).check(torch.tensor([0.5, 1.0]))
    tensor([ True, False])
    """
    return supports.of_events(supports.open_interval(low, high), event_dims)


@verb
def _kl_of_equal_bounds(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    found = beta_divergence(*(t.double() for t in (*p[:2], *q[:2]))).expand(broadcast_shape(*p, *q))
    return sum_event(found, event_dims).to(p.low.dtype)


@if_bounds_differ(_kl_of_equal_bounds, Params)
@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; inf if q's interval does not cover p's.

    With equal bounds it is exact where p and q are close. For others it computes 77 quantiles of p, which is slow. It
    skips them if the bounds are equal Python numbers, and in eager code on the CPU if they are equal constants.

    >>> kl(Params(torch.ones(1), 1.0), Params(2.0, 1.0))
    tensor([0.3069])
    >>> kl(Params(torch.ones(1), 1.0), Params(torch.ones(1), 1.0, -1.0, 2.0))  # log 3
    tensor([1.0986])
    """
    found = divergence_of_intervals(*([t.double() for t in params] for params in (p, q)))
    return sum_event(found, event_dims).to(p.low.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
@verb
def cdf(concentration1: Real, concentration0: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(V <= value), elementwise.

    >>> cdf(torch.full((2,), 2.0), 3.0, value=torch.tensor([0.5, 1e-10]))
    tensor([6.8750e-01, 6.0000e-20])
    """
    at, log_below, _ = tails(concentration1, concentration0, low, high, value)
    return with_ends(at, 0.0, 1.0, torch.exp(log_below), value)


@verb
def log_cdf(concentration1: Real, concentration0: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(V <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.full((2,), 2.0), 3.0, value=torch.tensor([0.5, 1e-30]))
    tensor([  -0.3747, -136.3633])
    """
    at, log_below, _ = tails(concentration1, concentration0, low, high, value)
    return with_ends(at, -math.inf, 0.0, log_below, value)


survival, log_survival = verb.survivals(cdf, log_cdf, lambda a, b, low, high, value: (b, a, -high, -low, -value))


@verb(confine=strictly_inside)
def icdf(concentration1: Real, concentration0: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise, strictly inside (low, high); NaN outside [0, 1].

    >>> icdf(torch.full((2,), 2.0), 3.0, value=torch.tensor([0.5, 1e-10]))
    tensor([3.8573e-01, 4.0825e-06])
    """
    return value_of(quantile_of(value, concentration1, concentration0), low, high)


# ------------------------------------------------------------------------------------------------- moments and points
@verb(confine=strictly_inside)
def mean(concentration1: Real, concentration0: Real, low: Real, high: Real) -> Tensor:
    """Return the mean, low + (high - low) a / (a + b), elementwise.

    >>> mean(torch.tensor([1.0, 4.0]), 2.0, -1.0, 1.0)
    tensor([-0.3333,  0.3333])
    """
    a, b = concentration1.double(), concentration0.double()
    return between(a / (a + b), b / (a + b), low, high)


@verb(confine=strictly_inside)
def deterministic(concentration1: Real, concentration0: Real, low: Real, high: Real) -> Tensor:
    """Return the action of a policy that does not explore: the mean.

    It moves smoothly with the parameters, where the mode would jump to a bound.

    >>> deterministic(torch.tensor([0.5, 4.0]), 0.5)
    tensor([0.5000, 0.8889])
    """
    return mean(concentration1, concentration0, low, high)


@verb
def variance(concentration1: Real, concentration0: Real, low: Real, high: Real) -> Tensor:
    """Return the variance, (high - low)^2 a b / ((a + b)^2 (a + b + 1)), elementwise.

    >>> variance(torch.tensor([1.0, 4.0]), 2.0)
    tensor([0.0556, 0.0317])
    """
    a, b, width = concentration1.double(), concentration0.double(), high.double() - low.double()
    n = a + b
    return (width * width * (a / n) * (b / n) / (n + 1)).to(low.dtype)


stddev = verb.stddev(variance)


@verb(confine=strictly_inside)
def median(concentration1: Real, concentration0: Real, low: Real, high: Real) -> Tensor:
    """Return the median, elementwise.

    >>> median(torch.tensor([1.0, 4.0]), 2.0)
    tensor([0.2929, 0.6862])
    """
    half = torch.full_like(concentration1.detach().double(), 0.5)
    return value_of(draw_of(half, half, concentration1, concentration0).logit(), low, high)


@verb(confine=strictly_inside)
def mode(concentration1: Real, concentration0: Real, low: Real, high: Real) -> Tensor:
    """Return the value of largest density, elementwise; where it is a bound, the number next to it.

    With a and b above 1 it is at (a - 1) / (a + b - 2). Else it is at `low` if a < b, and at `high` otherwise: of two
    infinite peaks it is the steeper one, of equals the upper one. That of the uniform distribution is the middle.

    >>> mode(torch.tensor([2.0, 0.5, 1.0]), torch.tensor([3.0, 0.7, 1.0]))
    tensor([3.3333e-01, 1.4013e-45, 5.0000e-01])
    """
    return between(*mode_shares(concentration1.double(), concentration0.double()), low, high)
