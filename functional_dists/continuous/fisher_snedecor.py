"""Fisher-Snedecor distribution of every element, that of F = (x / df1) / (y / df2) for chi-squared variables x and y.

x / (x + y) is a Beta variable with the concentrations a = df1 / 2 and b = df2 / 2, so that log F is its logit less
log(a / b). See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1995), chapter 27. All verbs
compute in float64, and round once.
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
from functional_dists.special.beta_divergence import beta_entropy
from functional_dists.special.beta_local import beta_local
from functional_dists.special.beta_offset import log_ratio
from functional_dists.special.beta_quantile import beta_quantile
from functional_dists.special.beta_score import beta_score
from functional_dists.special.implicit import carried_quantile, carried_tails, second_order
from functional_dists.special.polygamma import carried_rests
from functional_dists.special.positive import log1p_exp, positive_normal


class Params(NamedTuple):
    """Parameters of a Fisher-Snedecor distribution, which broadcast against each other.

    df1: The degrees of freedom of the numerator, positive, of shape (*batch, *event).
    df2: The degrees of freedom of the denominator, positive, of shape (*batch, *event).
    """

    df1: Real
    df2: Real


verb = define(Params)


@verb
def check(df1: Real, df2: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.ones(2), torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: df2 must be positive and finite; this fails at position (1,)
    """
    for name, param in (("df1", df1), ("df2", df2)):
        require((param > 0) & param.isfinite(), name, "must be positive and finite")


# -------------------------------------------------------------------------------------------------------------- draws
def _draw(key: Source, sample_shape: Shape, df1: Tensor, df2: Tensor) -> Tensor:
    """Return log F of a draw in float64, with its pathwise derivatives."""
    a, b, is_precise = 0.5 * df1.double(), 0.5 * df2.double(), df1.dtype == torch.float64
    options: dict[str, Any] = {"dtype": torch.float64, "device": df1.device}
    tails = random.draw_entries(random.uniform_and_rest, key, sample_shape, broadcast_shape(df1, df2), **options)
    offset = beta_quantile(*tails, a, b, is_precise)
    local, log_share = beta_local(offset, a, b, is_precise), log_ratio(a, b)
    return offset + second_order(local.slopes, local.curves, [a, b]) - (log_share - log_share.detach())


def _value(log_value: Tensor, like: Tensor) -> Tensor:
    return positive_normal(torch.exp(log_value).to(like.dtype))


@verb(confine=positive_normal)
def rsample(key: Source, df1: Real, df2: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a value of shape (*sample_shape, *batch, *event), differentiable by both parameters.

    >>> rsample(random.key(42), torch.full((2,), 4.0), 6.0)
    tensor([1.2393, 0.2046])
    """
    return _value(_draw(key, sample_shape, df1, df2), df1)


sample = verb.sample(rsample)


@verb(confine=positive_normal)
def sample_and_log_prob(
    key: Source, df1: Real, df2: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> sample_and_log_prob(random.key(42), torch.full((2,), 4.0), 6.0)[1]
    tensor([-1.1227, -0.5520])
    """
    log_value = _draw(key, sample_shape, df1, df2).detach()
    score = _log_density_of_log(df1, df2, log_value) - log_value
    return _value(log_value, df1), sum_event(score, event_dims).to(df1.dtype)


@verb(confine=positive_normal)
def rsample_and_log_prob(
    key: Source, df1: Real, df2: Real, *, sample_shape: Shape = (), event_dims: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> rsample_and_log_prob(random.key(42), torch.full((2,), 4.0), 6.0)[1]
    tensor([-1.1227, -0.5520])
    """
    log_value = _draw(key, sample_shape, df1, df2)
    score = _log_density_of_log(df1, df2, log_value) - log_value
    return _value(log_value, df1), sum_event(score, event_dims).to(df1.dtype)


# ------------------------------------------------------------------------------------------------------------ density
def _log_density_of_log(df1: Tensor, df2: Tensor, log_value: Tensor) -> Tensor:
    """Return the log-density of log F, which is that of the logit, with first and second derivatives."""
    a, b = 0.5 * df1.double(), 0.5 * df2.double()
    score = beta_score(log_value, a, b)
    slopes = [score.tilt_a, score.tilt_b, score.growth]
    fall = -(a + b).detach() * score.x * score.y
    curves = [score.curve_aa, score.curve_ab, score.y, score.curve_bb, -score.x, fall]
    logit = log_value + log_ratio(a, b)
    log_slope = -(log1p_exp(logit) + log1p_exp(-logit)).detach()  # of x by its logit
    return score.log_density + log_slope + second_order(slopes, curves, [a, b, logit])


@verb
def log_prob(df1: Real, df2: Real, value: Real, *, event_dims: int = 0) -> Tensor:
    """Return the log-density at `value`; -inf, with no gradient, below 0, and its limit at 0.

    >>> log_prob(torch.full((3,), 4.0), 6.0, torch.tensor([0.5, 0.0, -1.0]))
    tensor([-0.4576,    -inf,    -inf])
    """
    wide, inner = value.double(), _inner(value)
    log_value = inner.log()
    score = _log_density_of_log(df1, df2, log_value) - log_value
    at_zero = torch.where(df1 == 2, 0.0, torch.where(df1 < 2, math.inf, -math.inf)).double()
    ends = nan_of(torch.where(wide == 0, at_zero, -math.inf), df1.detach(), df2.detach())
    return sum_event(torch.where((wide <= 0) | (wide == math.inf), ends, score), event_dims).to(value.dtype)


def _inner(value: Tensor) -> Tensor:
    """Return the values in float64, with 1 in place of those outside (0, inf)."""
    wide = value.double()
    return torch.where((wide <= 0) | (wide == math.inf), 1.0, wide)


@verb
def entropy(df1: Real, df2: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats.

    It is that of the Beta variable, plus log(b / a) - 2 (psi(b) - psi(a + b)).

    >>> entropy(torch.tensor([2.0, 4.0]), 6.0)
    tensor([1.3333, 1.3372])
    """
    a, b = 0.5 * df1.double(), 0.5 * df2.double()
    growth = carried_rests(a + b)[1] - carried_rests(b)[1] + torch.log1p(a / b)
    found = beta_entropy(a, b) - log_ratio(a, b) + 2 * growth
    return sum_event(found, event_dims).to(df1.dtype)


@verb
def support(df1: Real, df2: Real, *, event_dims: int = 0) -> Constraint:
    """Return the support as a constraint: the positive numbers.

    >>> support(torch.ones(2), 3.0).check(torch.tensor([0.5, 0.0]))
    tensor([ True, False])
    """
    return supports.of_events(supports.open_interval(0.0, math.inf), event_dims)


# ------------------------------------------------------------------------------------------------------- distribution
def _tails(df1: Tensor, df2: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return log P(F <= value) and log P(F > value)."""
    a, b, log_value = 0.5 * df1.double(), 0.5 * df2.double(), _inner(value).log()
    local = beta_local(log_value, a, b, value.dtype == torch.float64)
    return carried_tails(log_value + log_ratio(a, b), local, [a, b])


def _with_ends(value: Tensor, low: float, high: float, inside: Tensor) -> Tensor:
    found = torch.where(value <= 0, low, torch.where(value == math.inf, high, inside))
    return nan_of(found, inside.detach()).to(value.dtype)


@verb
def cdf(df1: Real, df2: Real, value: Real) -> Tensor:
    """Return P(F <= value), elementwise.

    >>> cdf(torch.full((2,), 4.0), 6.0, torch.tensor([0.5, 1e-10]))
    tensor([2.6172e-01, 2.6667e-20])
    """
    return _with_ends(value, 0.0, 1.0, torch.exp(_tails(df1, df2, value)[0]))


@verb
def log_cdf(df1: Real, df2: Real, value: Real) -> Tensor:
    """Return log P(F <= value), elementwise; finite where that underflows.

    >>> log_cdf(torch.full((2,), 4.0), 6.0, torch.tensor([0.5, 1e-30]))
    tensor([  -1.3405, -137.1743])
    """
    return _with_ends(value, -math.inf, 0.0, _tails(df1, df2, value)[0])


@verb
def survival(df1: Real, df2: Real, value: Real) -> Tensor:
    """Return P(F > value), elementwise.

    >>> survival(torch.full((2,), 4.0), 6.0, torch.tensor([0.5, 1e6]))
    tensor([7.3828e-01, 1.3500e-17])
    """
    return _with_ends(value, 1.0, 0.0, torch.exp(_tails(df1, df2, value)[1]))


@verb
def log_survival(df1: Real, df2: Real, value: Real) -> Tensor:
    """Return log P(F > value), elementwise; finite where that underflows.

    >>> log_survival(torch.full((2,), 4.0), 6.0, torch.tensor([0.5, 1e30]))
    tensor([  -0.3034, -204.6300])
    """
    return _with_ends(value, 0.0, -math.inf, _tails(df1, df2, value)[1])


@verb
def icdf(df1: Real, df2: Real, value: Real) -> Tensor:
    """Return the quantile of the probability `value`, elementwise; 0 for 0, inf for 1, and NaN outside [0, 1].

    >>> icdf(torch.full((2,), 4.0), 6.0, torch.tensor([0.5, 1e-10]))
    tensor([9.4191e-01, 6.1238e-06])
    """
    a, b, p = 0.5 * df1.double(), 0.5 * df2.double(), value.double()
    p = torch.where((p >= 0) & (p <= 1), p, math.nan)
    is_end, is_precise = (p == 0) | (p == 1), value.dtype == torch.float64
    below = torch.where(is_end, 0.5, p)
    offset = beta_quantile(below, 1 - below, a, b, is_precise)
    local, log_share = beta_local(offset, a, b, is_precise), log_ratio(a, b)
    point = carried_quantile(offset, local, [a, b], below, 1 - below) - (log_share - log_share.detach())
    found = _value(point, value)
    return torch.where(is_end, nan_of(torch.where(p == 1, math.inf, 0.0).to(value.dtype), found.detach()), found)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(df1: Real, df2: Real) -> Tensor:
    """Return the mean, df2 / (df2 - 2), elementwise; inf where df2 does not exceed 2.

    >>> mean(torch.full((2,), 4.0), torch.tensor([2.0, 6.0]))
    tensor([   inf, 1.5000])
    """
    is_infinite = df2 <= 2
    inner = torch.where(is_infinite, 3.0, df2)
    return nan_of(torch.where(is_infinite, math.inf, inner / (inner - 2)), df1)


@verb
def variance(df1: Real, df2: Real) -> Tensor:
    """Return 2 df2^2 (df1 + df2 - 2) / (df1 (df2 - 2)^2 (df2 - 4)), elementwise; inf where df2 does not exceed 4.

    >>> variance(torch.full((2,), 4.0), torch.tensor([4.0, 6.0]))
    tensor([   inf, 4.5000])
    """
    is_infinite = df2 <= 4
    a, b = df1.double(), torch.where(is_infinite, 5.0, df2.double())
    found = 2 * (b / (b - 2)).square() * ((a + (b - 2)) / (a * (b - 4)))
    return nan_of(torch.where(is_infinite, math.inf, found), a.detach()).to(df1.dtype)


stddev = verb.stddev(variance)


@verb(confine=positive_normal)
def median(df1: Real, df2: Real) -> Tensor:
    """Return the median, elementwise.

    >>> median(torch.tensor([1.0, 4.0]), 6.0)
    tensor([0.5149, 0.9419])
    """
    return icdf(df1, df2, torch.full(broadcast_shape(df1, df2), 0.5, dtype=df1.dtype, device=df1.device))


@verb(confine=positive_normal)
def deterministic(df1: Real, df2: Real) -> Tensor:
    """Return the action of a policy that does not explore: the median, since the mode may be the end 0.

    >>> deterministic(torch.tensor([1.0, 4.0]), 6.0)
    tensor([0.5149, 0.9419])
    """
    return median(df1, df2)


@verb(confine=positive_normal)
def mode(df1: Real, df2: Real) -> Tensor:
    """Return the mode, (df1 - 2) df2 / (df1 (df2 + 2)), elementwise; the smallest normal number where df1 <= 2.

    >>> mode(torch.tensor([1.0, 4.0]), 6.0)
    tensor([1.1755e-38, 3.7500e-01])
    """
    return positive_normal((df1 - 2).clamp(min=0) / df1 * (df2 / (df2 + 2)))
