"""Student's t distribution of every element, with density proportional to (1 + z^2 / df)^(-(df + 1) / 2).

Here z = (x - loc) / scale. With infinite degrees of freedom it is the normal distribution, and with 1 the Cauchy
distribution. See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1995), chapter 28.

A draw is the quantile of a uniform number, which keeps the digits of both tails, with its derivative by `df`: see
`special.student_t`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.continuous import location_scale
from functional_dists.family import Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import HALF_LOG_2PI, nan_of
from functional_dists.special import support as supports
from functional_dists.special.implicit import carried_by_tail, carried_point, carried_tails
from functional_dists.special.student_t import HalfLine, half_line, normaliser_rest, normaliser_slope
from functional_dists.special.student_t_divergence import student_t_divergence


class Params(NamedTuple):
    """Parameters of a Student's t distribution, which broadcast against each other.

    df: The degrees of freedom, positive, of shape (*batch, *event); `inf` for a normal distribution.
    loc: The median, of shape (*batch, *event).
    scale: The scale, positive, of shape (*batch, *event).
    """

    df: Real
    loc: Real = 0.0
    scale: Real = 1.0


verb = define(Params)


@verb
def check(df: Real, loc: Real, scale: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.tensor([1.0, 0.0]), torch.zeros(2), 1.0)
    Traceback (most recent call last):
    ...
    ValueError: df must be positive; this fails at position (1,)
    """
    require(df > 0, "df", "must be positive")
    location_scale.require_valid(loc, scale)


# -------------------------------------------------------------------------------------------------------------- draws
def _draw(key: Source, sample_shape: Shape, half: HalfLine, *params: Tensor, is_moving: bool) -> Tensor:
    """Draw from the standard distribution in float64, differentiable by `df` if asked for.

    The value that it is moved to, and its derivatives, are finite numbers of the dtype of the parameters.
    """
    _, loc, scale = params
    largest = 0.99 * torch.finfo(loc.dtype).max
    lower, upper = location_scale.tails(key, sample_shape, *params)
    is_lower = lower < upper
    tail = torch.where(is_lower, lower, upper)  # the first half of the numbers are those below 0
    distance = half.quantile(1 - 2 * tail, 2 * tail)
    if is_moving:
        local = half.local(distance)
        slopes, curves = ([term.clamp(-largest, largest) for term in terms] for terms in (local.slopes, local.curves))
        distance = carried_point(distance, local._replace(slopes=slopes, curves=curves), [half.df])
    limit = (largest - loc.detach().double().abs()) / scale.detach().double()
    distance = torch.where(distance > limit, limit, distance)
    return torch.where(is_lower, -distance, distance)


@verb
def sample(key: Source, df: Real, loc: Real, scale: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), detached from the graph.

    >>> sample(random.key(42), torch.full((2,), 3.0))
    tensor([ 0.3140, -0.0856])
    """
    noise = _draw(key, sample_shape, half_line(df), df, loc, scale, is_moving=False)
    return location_scale.moved(noise, loc, scale).detach()


@verb
def rsample(key: Source, df: Real, loc: Real, scale: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw what `sample` draws, differentiable with respect to every parameter.

    >>> rsample(random.key(42), torch.full((2,), 3.0))
    tensor([ 0.3140, -0.0856])
    """
    noise = _draw(key, sample_shape, half_line(df), df, loc, scale, is_moving=True)
    return location_scale.moved(noise, loc, scale)


@verb
def sample_and_log_prob(
    key: Source, df: Real, loc: Real, scale: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.full((2,), 3.0))
    >>> log_prob
    tensor([-1.0656, -1.0058])
    """
    half = half_line(df)
    noise = _draw(key, sample_shape, half, df, loc, scale, is_moving=False)
    return location_scale.scored_draw(half.log_density, noise, loc, scale, event_dims, is_constant=True)


@verb
def rsample_and_log_prob(
    key: Source, df: Real, loc: Real, scale: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.full((2,), 3.0))
    >>> log_prob
    tensor([-1.0656, -1.0058])
    """
    half = half_line(df)
    noise = _draw(key, sample_shape, half, df, loc, scale, is_moving=True)
    return location_scale.scored_draw(half.log_density, noise, loc, scale, event_dims, is_constant=False)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(df: Real, loc: Real, scale: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, where it overflows.

    >>> log_prob(torch.full((2,), 3.0), value=torch.tensor([0.0, 1.0]))
    tensor([-1.0009, -1.5763])
    """
    return location_scale.score(half_line(df).log_density, value, loc, scale, event_dims)


@verb
def entropy(df: Real, loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, (df + 1) / 2 E log(1 + z^2 / df) less the log of the normaliser.

    >>> entropy(torch.tensor([1.0, 1e6]))
    tensor([2.5310, 1.4189])
    """
    wide = half_line(df).df
    found = (wide + 1) * normaliser_slope(wide) + 0.5 / wide - normaliser_rest(wide) + (0.5 + HALF_LOG_2PI)
    return sum_event(nan_of(found + scale.double().log(), loc), event_dims).to(scale.dtype)


@verb
def support(df: Real, loc: Real, scale: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the real numbers.

    >>> support(torch.ones(2)).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return supports.of_events(constraints.real, event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 0) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, by quadrature; exact where p and q are close.

    >>> kl(Params(torch.tensor([1.0, 5.0])), Params(1.0, 1.0, 1.0))
    tensor([0.2231, 0.4557])
    """
    shift, scales = q.loc.double() - p.loc.double(), (p.scale.double(), q.scale.double())
    found = student_t_divergence(half_line(p.df), half_line(q.df), shift, *scales)
    is_infinite = (p.df <= 2) & (q.df == math.inf)  # a normal has no density of its own in the tails of p
    return sum_event(torch.where(is_infinite, math.inf, found), event_dims).to(p.df.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
class _LogTails(NamedTuple):
    lower: Tensor  # log P(X <= value)
    upper: Tensor


def _log_tails(df: Tensor, loc: Tensor, scale: Tensor, value: Tensor) -> _LogTails:
    half, z = half_line(df), location_scale.standardized(value, loc, scale)
    is_infinite, is_lower = z.isinf(), z < 0
    inner = torch.where(is_infinite, 0.0, z)
    distance = torch.where(is_lower, -inner, inner)
    within, beyond = carried_tails(distance, half.local(distance), [half.df])
    within, beyond = torch.where(is_infinite, 0.0, within), torch.where(is_infinite, -math.inf, beyond)
    return _LogTails(torch.where(is_lower, beyond, within), torch.where(is_lower, within, beyond))


@verb
def cdf(df: Real, loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise.

    >>> cdf(torch.full((2,), 3.0), value=torch.tensor([0.0, -1e10]))
    tensor([5.0000e-01, 1.1027e-30])
    """
    return _log_tails(df, loc, scale, value).lower.exp().to(df.dtype)


@verb
def log_cdf(df: Real, loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.full((2,), 30.0), value=torch.tensor([0.0, -1e20]))
    tensor([-6.9315e-01, -1.3332e+03])
    """
    return _log_tails(df, loc, scale, value).lower.to(df.dtype)


@verb
def survival(df: Real, loc: Real, scale: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise.

    >>> survival(torch.full((2,), 3.0), value=torch.tensor([0.0, 1e10]))
    tensor([5.0000e-01, 1.1027e-30])
    """
    return _log_tails(df, loc, scale, value).upper.exp().to(df.dtype)


@verb
def log_survival(df: Real, loc: Real, scale: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.full((2,), 30.0), value=torch.tensor([0.0, 1e20]))
    tensor([-6.9315e-01, -1.3332e+03])
    """
    return _log_tails(df, loc, scale, value).upper.to(df.dtype)


@verb
def icdf(df: Real, loc: Real, scale: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.full((2,), 3.0), value=torch.tensor([0.975, 0.0]))
    tensor([3.1824,   -inf])
    """
    p = value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    is_lower, is_end = p < 0.5, (p == 0) | (p == 1)
    tail = torch.where(is_end, 0.25, torch.where(is_lower, p, 1 - p))
    half = half_line(df)
    distance = half.quantile(1 - 2 * tail, 2 * tail)
    local = half.local(distance)
    distance = carried_by_tail(distance, local, [half.df], tail.log(), -local.above)
    distance = torch.where(is_end, math.inf, distance)
    return location_scale.moved(torch.where(is_lower, -distance, distance), loc, scale)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(df: Real, loc: Real, scale: Real) -> Tensor:
    """Return the mean, elementwise: `loc`, and NaN where df <= 1.

    >>> mean(torch.tensor([1.0, 3.0]))
    tensor([nan, 0.])
    """
    return torch.where(df <= 1, math.nan, nan_of(loc, df, scale))


@verb
def variance(df: Real, loc: Real, scale: Real) -> Tensor:
    """Return the variance, elementwise: scale^2 df / (df - 2); infinite where df <= 2, and NaN where df <= 1.

    >>> variance(torch.tensor([2.0, 3.0, 4.0]))
    tensor([inf, 3., 2.])
    """
    wide = half_line(df).df
    is_heavy = wide <= 2
    safe = torch.where(is_heavy, 3.0, wide)
    inner = scale.double().square() * (safe / (safe - 2))
    found = torch.where(is_heavy, torch.where(wide <= 1, math.nan, math.inf), inner)
    return nan_of(found, loc, scale).to(df.dtype)


stddev = verb.stddev(variance)


@verb
def median(df: Real, loc: Real, scale: Real) -> Tensor:
    """Return the median, elementwise.

    >>> median(torch.tensor([1.0, 3.0]))
    tensor([0., 0.])
    """
    return nan_of(loc, df, scale)


mode = deterministic = median
