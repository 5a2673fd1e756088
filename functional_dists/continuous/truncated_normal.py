"""Normal distribution cut to the interval [low, high], whose bounds may be infinite.

p(x) = phi(z) / (scale (Phi(b) - Phi(a))) with z, a and b the standardised value and bounds; see Johnson, Kotz &
Balakrishnan, "Continuous univariate distributions" (1994), chapter 13. `special.truncated` integrates over offsets from
the point of the interval nearest to loc, so no digits are lost even if the interval is far from loc. Scores in float32
are computed in float64 and rounded once.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
import functional_dists.special as special
from functional_dists.family import Real, broadcast_shape, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import support as supports
from functional_dists.special import truncated


class Params(NamedTuple):
    """Parameters of a truncated normal distribution, which broadcast against each other.

    loc: The mean before the cut, of shape (*batch, *event).
    scale: The standard deviation before the cut, positive, of shape (*batch, *event).
    low: The lower bound of the values, or -inf, of shape (*batch, *event).
    high: The upper bound of the values, or inf, of shape (*batch, *event).
    """

    loc: Real
    scale: Real
    low: Real = -1.0
    high: Real = 1.0


verb = define(Params)


@verb
def check(loc: Real, scale: Real, low: Real, high: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), 1.0, torch.tensor([-1.0, 1.0]), 1.0)
    Traceback (most recent call last):
    ...
    ValueError: low must leave a number between itself and high; this fails at position (1,)
    """
    require(loc.isfinite(), "loc", "must be finite")
    require((scale > 0) & scale.isfinite(), "scale", "must be positive and finite")
    require(low < math.inf, "low", "must be a number below inf")
    require(high > -math.inf, "high", "must be a number above -inf")
    require(special.next_above(low) < high, "low", "must leave a number between itself and high")


# -------------------------------------------------------------------------------------------------------------- draws
@verb(confine=special.strictly_inside)
def sample(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event) inside (low, high), detached from the graph.

    >>> sample(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([ 0.3079, -0.0500])
    """
    below, above = _uniform_and_rest(key, sample_shape, loc, scale, low, high)
    return truncated.detached_quantile(below, above, loc, scale, low, high).value(low, high)


@verb(confine=special.strictly_inside)
def rsample(key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the value that `sample` draws, twice differentiable with respect to every parameter.

    >>> rsample(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    tensor([ 0.3079, -0.0500])
    """
    below, above = _uniform_and_rest(key, sample_shape, loc, scale, low, high)
    drawn = truncated.detached_quantile(below, above, loc, scale, low, high)
    return drawn.value(low, high) + truncated.pathwise_term(drawn, below, above, loc, scale, low, high)


@verb(confine=special.strictly_inside)
def sample_and_log_prob(
    key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    >>> log_prob
    tensor(-1.8378)
    """
    below, above = _uniform_and_rest(key, sample_shape, loc, scale, low, high)
    drawn = truncated.detached_quantile(below, above, loc, scale, low, high)
    return drawn.value(low, high), _log_prob_at(drawn.offset(), loc, scale, low, high, event_dims)


@verb(confine=special.strictly_inside)
def rsample_and_log_prob(
    key: Source, loc: Real, scale: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 1.0, -2.0, 3.0)
    >>> log_prob
    tensor(-1.8378)
    """
    below, above = _uniform_and_rest(key, sample_shape, loc, scale, low, high)
    drawn = truncated.detached_quantile(below, above, loc, scale, low, high)
    path = truncated.pathwise_term(drawn, below, above, loc, scale, low, high)
    return drawn.value(low, high) + path, _log_prob_at(drawn.offset() + path, loc, scale, low, high, event_dims)


def _uniform_and_rest(key: Source, sample_shape: Shape, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return a uniform draw and its complement, the masses below and above the value."""
    loc = parameters[0]
    shape = broadcast_shape(*parameters)
    return random.draw_entries(random.uniform_and_rest, key, sample_shape, shape, dtype=loc.dtype, device=loc.device)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale: Real, low: Real, high: Real, value: Real, *, event_dims: int = 1) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, outside [low, high] and where it overflows.

    >>> log_prob(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0, torch.tensor([0.5, 1.1]), event_dims=0)
    tensor([-3.9890,    -inf])
    """
    dtype = value.dtype
    loc, scale, low, high, value = (t.double() for t in (loc, scale, low, high, value))
    window = truncated.window(loc, scale, low, high)
    offset = value - window.anchor
    is_outside = _is_outside(window, low, high, value, offset, dtype)
    density = window.log_density(torch.where(is_outside, 0.0, offset), dtype)
    density = torch.where(is_outside, density.detach() - math.inf, density)  # NaN stays NaN
    return sum_event(density, event_dims).to(dtype)


def _is_outside(
    window: truncated.Window, low: Tensor, high: Tensor, value: Tensor, offset: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return True where the density is 0 or the log-density overflows in `dtype`; False for NaN."""
    deviation = (offset / window.scale).detach()
    return (value < low) | (value > high) | (deviation.abs() > math.sqrt(torch.finfo(dtype).max))


def _log_prob_at(offset: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, event_dims: int) -> Tensor:
    """Return the log-density at an offset from the window's anchor, computed in float64 as `log_prob` is."""
    window = truncated.window(loc.double(), scale.double(), low.double(), high.double())
    return sum_event(window.log_density(offset.double(), offset.dtype), event_dims).to(offset.dtype)


@verb
def entropy(loc: Real, scale: Real, low: Real, high: Real, *, event_dims: int = 1) -> Tensor:
    """Return the differential entropy in nats.

    >>> entropy(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0, event_dims=0)
    tensor([-1.5355,  0.5661])
    """
    return sum_event(truncated.window(loc, scale, low, high).entropy(), event_dims)


@verb
def support(loc: Real, scale: Real, low: Real, high: Real, *, event_dims: int = 1) -> Constraint:
    """Return the support as a constraint: the finite numbers in [low, high].

    >>> support(torch.zeros(2), 1.0, -1.0, torch.inf, event_dims=0).check(torch.tensor([-1.0, -1.1]))
    tensor([ True, False])
    """
    return supports.of_events(supports.finite_interval(low, high), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; inf if q's interval does not cover p's.

    >>> kl(Params(torch.zeros(2), 1.0), Params(torch.ones(2), 1.0, -1.0, torch.tensor([1.0, 0.5])), event_dims=0)
    tensor([0.1420,    inf])
    """
    # NaN bounds fail the two order checks, so that they give NaN and not inf.
    is_missed = ((p.low < q.low) | (p.high > q.high)) & (p.low <= p.high) & (q.low <= q.high)
    q = q._replace(low=torch.where(is_missed, p.low, q.low), high=torch.where(is_missed, p.high, q.high))
    divergence = truncated.divergence(p, q)
    return sum_event(torch.where(is_missed & ~divergence.isnan(), math.inf, divergence), event_dims)


# ---------------------------------------------------------------------------------------------------------------- cdfs
@verb
def cdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0, torch.tensor([0.5, 1.1]))
    tensor([0.0013, 1.0000])
    """
    return _from_tail_mass(loc, scale, low, high, value, _mass, _other_mass, (0.0, 1.0))


@verb
def log_cdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0, torch.tensor([-0.9, -1.0]))
    tensor([-30.6402,     -inf])
    """
    return _from_tail_mass(loc, scale, low, high, value, truncated.TailMass.log, _log_other_mass, (-math.inf, 0.0))


@verb
def survival(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise.

    >>> survival(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0, torch.tensor([0.5, 1.1]))
    tensor([0.9987, 0.0000])
    """
    return _from_tail_mass(loc, scale, low, high, value, _other_mass, _mass, (1.0, 0.0))


@verb
def log_survival(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.tensor([-4.0, 0.0]), 0.5, -1.0, 1.0, torch.tensor([0.9, -1.0]))
    tensor([-30.6402,  -0.0000])
    """
    return _from_tail_mass(loc, scale, low, high, value, _log_other_mass, truncated.TailMass.log, (0.0, -math.inf))


def _from_tail_mass(
    loc: Tensor,
    scale: Tensor,
    low: Tensor,
    high: Tensor,
    value: Tensor,
    if_lower: Callable[[truncated.TailMass], Tensor],
    if_upper: Callable[[truncated.TailMass], Tensor],
    outside: tuple[float, float],
) -> Tensor:
    """Return `if_lower` of the mass below `value`, or `if_upper` of the mass above it, whichever is computed."""
    window = truncated.window(loc, scale, low, high)
    is_outside = _is_outside(window, low, high, value, value - window.anchor, value.dtype)
    value_inside = torch.where(is_outside, window.anchor, value)
    tail = truncated.tail_mass(
        window, window.mass(), value_inside - window.anchor, value_inside - low, high - value_inside
    )
    inside = torch.where(tail.is_lower, if_lower(tail), if_upper(tail))
    is_outside = is_outside & ~inside.isnan()
    return torch.where(is_outside, torch.where(value < window.anchor, *outside), inside)


def _mass(tail: truncated.TailMass) -> Tensor:
    return tail.value()


def _other_mass(tail: truncated.TailMass) -> Tensor:
    return 1 - tail.value()


def _log_other_mass(tail: truncated.TailMass) -> Tensor:
    value = tail.value()
    is_all = value >= 1  # by rounding
    return torch.where(is_all, -math.inf, torch.log1p(-torch.where(is_all, 0.0, value)))


@verb(confine=special.strictly_inside)
def icdf(loc: Real, scale: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0, torch.tensor([0.5, 0.975]))
    tensor([0.9442, 0.8393])
    """
    return _quantile(loc, scale, low, high, value)


def _quantile(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, p: Tensor) -> Tensor:
    is_end = (p <= 0) | (p >= 1)
    p_between = torch.where(is_end, 0.5, p)
    window = truncated.window(loc, scale, low, high)
    offset = truncated.quantile(window, window.mass(), p_between, 1 - p_between)
    at_ends = torch.where(p == 0, low, torch.where(p == 1, high, math.nan))
    between = window.anchor + offset
    return special.strictly_inside(torch.where(is_end & ~between.isnan(), at_ends, between), low, high)


# ------------------------------------------------------------------------------------------------ moments and points
@verb(confine=special.strictly_inside)
def median(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the median, elementwise.

    >>> median(torch.tensor([4.0, -4.0]), 0.5, -1.0, 1.0)
    tensor([ 0.9442, -0.9442])
    """
    return _quantile(loc, scale, low, high, torch.full_like(loc, 0.5))


@verb(confine=special.strictly_inside)
def mode(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the value of largest density: the number inside (low, high) nearest to loc.

    >>> mode(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0)
    tensor([1.0000, 0.0000])
    """
    nearest = torch.where(loc <= low, low, torch.where(loc >= high, high, loc))
    return special.strictly_inside(special.nan_of(nearest, scale), low, high)


deterministic = mode


@verb(confine=special.strictly_inside)
def mean(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the mean, elementwise.

    >>> mean(torch.tensor([4.0, -4.0]), 0.5, -1.0, 1.0)
    tensor([ 0.9208, -0.9208])
    """
    window = truncated.window(loc, scale, low, high)
    mass = window.mass()
    return special.strictly_inside(window.anchor + mass.mean(mass.offset), low, high)


@verb
def variance(loc: Real, scale: Real, low: Real, high: Real) -> Tensor:
    """Return the variance, elementwise.

    >>> variance(torch.tensor([4.0, 0.0]), 0.5, -1.0, 1.0)
    tensor([0.0060, 0.1934])
    """
    mass = truncated.window(loc, scale, low, high).mass()
    offset = mass.offset
    return mass.mean((offset - mass.mean(offset)).square())


stddev = verb.stddev(variance)
