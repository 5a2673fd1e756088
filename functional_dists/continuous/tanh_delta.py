"""Point mass at tanh(param), mapped onto the open interval (low, high): the deterministic policy of a tanh-normal.

The point is low + (high - low) (tanh(param) + 1) / 2. The log-prob is that of `delta`: 0 within a tolerance of the
point and -inf elsewhere. Half precision rounds the point by more than the default tolerance.
"""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random  # noqa: F401 (for the examples)
import functional_dists.special as special
from functional_dists.continuous.delta import (
    kl_between,
    log_prob_at,
    mass_above,
    mass_up_to,
    repeat_for_draws,
    tolerances,
    zeros_or_nan,
)
from functional_dists.family import Real, define, require, sum_event
from functional_dists.random import Shape, Source
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of a squashed point mass, which broadcast against each other.

    param: The point before the squashing, of shape (*batch, *event).
    low: The lower bound of the values, of shape (*batch, *event).
    high: The upper bound of the values, of shape (*batch, *event).
    """

    param: Real
    low: Real = -1.0
    high: Real = 1.0


verb = define(Params)


def _point(param: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return special.squash(param, low, high)


@verb
def check(param: Real, low: Real, high: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, torch.nan]), -2.0, 3.0)
    Traceback (most recent call last):
    ...
    ValueError: param must be finite; it is not at position (1,)
    """
    require(param.isfinite(), "param", "must be finite")
    require(low.isfinite(), "low", "must be finite")
    require(high.isfinite(), "high", "must be finite")
    require(special.next_above(low) < high, "low", "must leave a number between itself and high")


# -------------------------------------------------------------------------------------------------------------- draws
@verb(confine=special.strictly_inside)
def sample(key: Source, param: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Return the point, detached from the graph.

    >>> sample(random.key(42), torch.zeros(2), -2.0, 3.0, sample_shape=(3,)).shape
    torch.Size([3, 2])
    """
    return repeat_for_draws(key, _point(param, low, high), sample_shape).detach()


@verb(confine=special.strictly_inside)
def rsample(key: Source, param: Real, low: Real, high: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Return the point.

    >>> rsample(random.key(42), torch.ones(2), -2.0, 3.0)
    tensor([2.4040, 2.4040])
    """
    return repeat_for_draws(key, _point(param, low, high), sample_shape)


@verb(confine=special.strictly_inside)
def sample_and_log_prob(
    key: Source, param: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point, detached from the graph, and its log-probability, 0.

    >>> sample_and_log_prob(random.key(42), torch.ones(2), -2.0, 3.0)
    (tensor([2.4040, 2.4040]), tensor(0.))
    """
    value = repeat_for_draws(key, _point(param, low, high), sample_shape).detach()
    return value, sum_event(zeros_or_nan(value), event_dims)


@verb(confine=special.strictly_inside)
def rsample_and_log_prob(
    key: Source, param: Real, low: Real, high: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point and its log-probability, 0.

    >>> rsample_and_log_prob(random.key(42), torch.ones(2), -2.0, 3.0)
    (tensor([2.4040, 2.4040]), tensor(0.))
    """
    value = repeat_for_draws(key, _point(param, low, high), sample_shape)
    return value, sum_event(zeros_or_nan(value), event_dims)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(
    param: Real,
    low: Real,
    high: Real,
    value: Real,
    *,
    event_dims: int = 1,
    atol: float | Tensor = 1e-6,
    rtol: float | Tensor = 1e-6,
) -> Tensor:
    """Return 0 if every element of the value is within `atol + rtol |point|` of the point, else -inf.

    >>> log_prob(torch.zeros(2), -2.0, 3.0, torch.tensor([[0.5, 0.5], [0.5, 0.6]]))
    tensor([0., -inf])
    """
    point = _point(param, low, high)
    return sum_event(log_prob_at(point, value, *tolerances("tanh_delta.log_prob", point, atol, rtol)), event_dims)


@verb
def entropy(param: Real, low: Real, high: Real, *, event_dims: int = 1) -> Tensor:
    """Return the entropy, 0.

    >>> entropy(torch.zeros(2), -2.0, 3.0)
    tensor(0.)
    """
    return sum_event(zeros_or_nan(_point(param, low, high)), event_dims)


@verb
def support(
    param: Real,
    low: Real,
    high: Real,
    *,
    event_dims: int = 1,
    atol: float | Tensor = 1e-6,
    rtol: float | Tensor = 1e-6,
) -> Constraint:
    """Return the support as a constraint: the values within the tolerance of the point.

    >>> support(torch.zeros(2), -2.0, 3.0, event_dims=0).check(torch.tensor([0.5, 0.6]))
    tensor([ True, False])
    """
    return supports.of_events(supports.point(_point(param, low, high), atol, rtol), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence in nats: 0 where the points are equal, else +inf.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])), event_dims=0)
    tensor([0., inf])
    """
    return sum_event(kl_between(_point(*p), _point(*q)), event_dims)


@verb
def cdf(param: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise: 1 at and above the point, 0 below.

    >>> cdf(torch.zeros(()), -2.0, 3.0, torch.tensor([-1.0, 0.5, 1.0]))
    tensor([0., 1., 1.])
    """
    return mass_up_to(_point(param, low, high), value)


@verb
def log_cdf(param: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise.

    >>> log_cdf(torch.zeros(()), -2.0, 3.0, torch.tensor([-1.0, 0.5]))
    tensor([-inf, 0.])
    """
    return mass_up_to(_point(param, low, high), value).log()


@verb
def survival(param: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise: 1 below the point, 0 at and above.

    >>> survival(torch.zeros(()), -2.0, 3.0, torch.tensor([-1.0, 0.5, 1.0]))
    tensor([1., 0., 0.])
    """
    return mass_above(_point(param, low, high), value)


@verb
def log_survival(param: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise.

    >>> log_survival(torch.zeros(()), -2.0, 3.0, torch.tensor([-1.0, 0.5]))
    tensor([0., -inf])
    """
    return mass_above(_point(param, low, high), value).log()


@verb(confine=special.strictly_inside)
def icdf(param: Real, low: Real, high: Real, value: Real) -> Tensor:
    """Return the quantile of a probability, elementwise: the point.

    >>> icdf(torch.ones(2), -2.0, 3.0, 0.3)
    tensor([2.4040, 2.4040])
    """
    return special.nan_of(_point(param, low, high), value.detach())


# ------------------------------------------------------------------------------------------------------------ moments
@verb(confine=special.strictly_inside)
def mean(param: Real, low: Real, high: Real) -> Tensor:
    """Return the mean, the point.

    >>> mean(torch.ones(2), -2.0, 3.0)
    tensor([2.4040, 2.4040])
    """
    return _point(param, low, high)


@verb(confine=special.strictly_inside)
def median(param: Real, low: Real, high: Real) -> Tensor:
    """Return the median, the point.

    >>> median(torch.ones(2), -2.0, 3.0)
    tensor([2.4040, 2.4040])
    """
    return _point(param, low, high)


@verb(confine=special.strictly_inside)
def mode(param: Real, low: Real, high: Real) -> Tensor:
    """Return the mode, the point.

    >>> mode(torch.ones(2), -2.0, 3.0)
    tensor([2.4040, 2.4040])
    """
    return _point(param, low, high)


deterministic = verb.deterministic(mode)


@verb
def variance(param: Real, low: Real, high: Real) -> Tensor:
    """Return the variance, 0.

    >>> variance(torch.ones(2), -2.0, 3.0)
    tensor([0., 0.])
    """
    return zeros_or_nan(_point(param, low, high))


@verb
def stddev(param: Real, low: Real, high: Real) -> Tensor:
    """Return the standard deviation, 0.

    >>> stddev(torch.ones(2), -2.0, 3.0)
    tensor([0., 0.])
    """
    return zeros_or_nan(_point(param, low, high))
