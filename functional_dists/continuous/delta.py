"""Point mass at `param`: the distribution of a deterministic policy.

The log-prob is a log-probability, not a log-density: 0 within a tolerance of the point and -inf elsewhere, with no
gradient. A draw is `param` itself; `rsample` keeps its gradient.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Real, define, require, sum_event
from functional_dists.family.options import NOT_NEGATIVE, per_element
from functional_dists.random import Shape, Source
from functional_dists.random.entries import consume_entries
from functional_dists.special import nan_of
from functional_dists.special import support as supports


class Params(NamedTuple):
    """The parameter of a point mass.

    param: The point, of shape (*batch, *event).
    """

    param: Real


verb = define(Params)


@verb
def check(param: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([0.0, math.nan]))
    Traceback (most recent call last):
    ...
    ValueError: param must be finite; it is not at position (1,)
    """
    require(param.isfinite(), "param", "must be finite")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, param: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Return the point, detached from the graph.

    >>> sample(random.key(42), torch.zeros(2), sample_shape=(3,)).shape
    torch.Size([3, 2])
    """
    return repeat_for_draws(key, param, sample_shape).detach()


@verb
def rsample(key: Source, param: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Return the point.

    >>> rsample(random.key(42), torch.ones(2))
    tensor([1., 1.])
    """
    return repeat_for_draws(key, param, sample_shape)


@verb
def sample_and_log_prob(
    key: Source, param: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point, detached from the graph, and its log-probability, 0.

    >>> sample_and_log_prob(random.key(42), torch.ones(2))
    (tensor([1., 1.]), tensor(0.))
    """
    value = repeat_for_draws(key, param, sample_shape).detach()
    return value, sum_event(zeros_or_nan(value), event_dims)


@verb
def rsample_and_log_prob(
    key: Source, param: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point and its log-probability, 0.

    >>> rsample_and_log_prob(random.key(42), torch.ones(2))
    (tensor([1., 1.]), tensor(0.))
    """
    value = repeat_for_draws(key, param, sample_shape)
    return value, sum_event(zeros_or_nan(value), event_dims)


def zeros_or_nan(*tensors: Tensor) -> Tensor:
    """Return zeros without derivatives, NaN where one of the tensors is NaN."""
    return nan_of(torch.zeros_like(tensors[0]), *(t.detach() for t in tensors))


def repeat_for_draws(key: Source, value: Tensor, sample_shape: Shape) -> Tensor:
    """Return a copy of `value` for every draw; the key is checked and consumed as in other families, but not used."""
    consume_entries(key, value.shape)
    return value.expand((*random.size_of(sample_shape), *value.shape)).clone()


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(
    param: Real, value: Real, *, event_dims: int = 1, atol: float | Tensor = 1e-6, rtol: float | Tensor = 1e-6
) -> Tensor:
    """Return 0 if every element of the value is within `atol + rtol |point|` of the point, else -inf.

    >>> log_prob(torch.zeros(2), torch.tensor([[0.0, 0.0], [0.0, 0.1]]))
    tensor([0., -inf])
    """
    return sum_event(log_prob_at(param, value, *tolerances("delta.log_prob", param, atol, rtol)), event_dims)


def log_prob_at(point: Tensor, value: Tensor, atol: Tensor, rtol: Tensor) -> Tensor:
    """Return 0 where the value is within the tolerance of the point, else -inf."""
    point, value = point.detach(), value.detach()
    tolerance = atol + rtol * point.abs()
    is_close = (value - point).abs() <= tolerance
    return nan_of(torch.where(is_close, torch.zeros_like(value), -math.inf), point, value, tolerance)


def tolerances(function: str, param: Tensor, atol: float | Tensor, rtol: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return `atol` and `rtol` as tensors that broadcast to the parameters."""
    checked = (
        per_element(
            function, name, given, param.shape, dtype=param.dtype, device=param.device, within=NOT_NEGATIVE
        ).detach()
        for name, given in (("atol", atol), ("rtol", rtol))
    )
    return next(checked), next(checked)


@verb
def entropy(param: Real, *, event_dims: int = 1) -> Tensor:
    """Return the entropy, 0.

    >>> entropy(torch.zeros(2))
    tensor(0.)
    """
    return sum_event(zeros_or_nan(param), event_dims)


@verb
def support(
    param: Real, *, event_dims: int = 1, atol: float | Tensor = 1e-6, rtol: float | Tensor = 1e-6
) -> Constraint:
    """Return the support as a constraint: the values within the tolerance of the point.

    >>> support(torch.zeros(2), event_dims=0).check(torch.tensor([0.0, 0.1]))
    tensor([ True, False])
    """
    return supports.of_events(supports.point(param, atol, rtol), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence in nats: 0 where the points are equal, else +inf.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])), event_dims=0)
    tensor([0., inf])
    """
    return sum_event(kl_between(p.param, q.param), event_dims)


def kl_between(p: Tensor, q: Tensor) -> Tensor:
    """Return 0 where the points are equal, else +inf."""
    p, q = torch.broadcast_tensors(p.detach(), q.detach())
    return nan_of(torch.where(p == q, torch.zeros_like(p), math.inf), p, q)


@verb
def cdf(param: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise: 1 at and above the point, 0 below.

    >>> cdf(torch.zeros(()), torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0., 1., 1.])
    """
    return mass_up_to(param, value)


def mass_up_to(point: Tensor, value: Tensor) -> Tensor:
    """Return 1 at and above the point, 0 below."""
    return nan_of((value >= point).to(point.dtype), point.detach(), value.detach())


def mass_above(point: Tensor, value: Tensor) -> Tensor:
    """Return 1 below the point, 0 at and above."""
    return nan_of((value < point).to(point.dtype), point.detach(), value.detach())


@verb
def log_cdf(param: Real, value: Real) -> Tensor:
    """Return log P(X <= value), elementwise.

    >>> log_cdf(torch.zeros(()), torch.tensor([-1.0, 0.0]))
    tensor([-inf, 0.])
    """
    return mass_up_to(param, value).log()


@verb
def survival(param: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise: 1 below the point, 0 at and above.

    >>> survival(torch.zeros(()), torch.tensor([-1.0, 0.0, 1.0]))
    tensor([1., 0., 0.])
    """
    return mass_above(param, value)


@verb
def log_survival(param: Real, value: Real) -> Tensor:
    """Return log P(X > value), elementwise.

    >>> log_survival(torch.zeros(()), torch.tensor([-1.0, 0.0]))
    tensor([0., -inf])
    """
    return mass_above(param, value).log()


@verb
def icdf(param: Real, value: Real) -> Tensor:
    """Return the quantile of a probability, elementwise: the point.

    >>> icdf(torch.ones(2), 0.3)
    tensor([1., 1.])
    """
    return nan_of(param, value.detach())


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(param: Real) -> Tensor:
    """Return the mean, the point.

    >>> mean(torch.ones(2))
    tensor([1., 1.])
    """
    return param.clone()


@verb
def median(param: Real) -> Tensor:
    """Return the median, the point.

    >>> median(torch.ones(2))
    tensor([1., 1.])
    """
    return param.clone()


@verb
def mode(param: Real) -> Tensor:
    """Return the mode, the point.

    >>> mode(torch.ones(2))
    tensor([1., 1.])
    """
    return param.clone()


deterministic = verb.deterministic(mode)


@verb
def variance(param: Real) -> Tensor:
    """Return the variance, 0.

    >>> variance(torch.ones(2))
    tensor([0., 0.])
    """
    return zeros_or_nan(param)


@verb
def stddev(param: Real) -> Tensor:
    """Return the standard deviation, 0.

    >>> stddev(torch.ones(2))
    tensor([0., 0.])
    """
    return zeros_or_nan(param)
