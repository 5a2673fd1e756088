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
    ValueError: param must be finite; this fails at position (1,)
    """
    require(param.isfinite(), "param", "must be finite")


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, param: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Return the point.

    >>> rsample(random.key(42), torch.full((2,), 0.5))
    tensor([0.5000, 0.5000])
    """
    return _draw(key, param, sample_shape)


sample = verb.sample(rsample)


@verb
def rsample_and_log_prob(
    key: Source, param: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point and its log-probability, 0.

    >>> rsample_and_log_prob(random.key(42), torch.full((2,), 0.5))
    (tensor([0.5000, 0.5000]), tensor(0.))
    """
    value = _draw(key, param, sample_shape)
    return value, sum_event(_zeros_or_nan(value), event_dims)


@verb
def sample_and_log_prob(
    key: Source, param: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point, detached from the graph, and its log-probability, 0.

    >>> sample_and_log_prob(random.key(42), torch.full((2,), 0.5))
    (tensor([0.5000, 0.5000]), tensor(0.))
    """
    value = _draw(key, param.detach(), sample_shape)
    return value, sum_event(_zeros_or_nan(value), event_dims)


def _draw(key: Source, param: Tensor, sample_shape: Shape) -> Tensor:
    consume_entries(key, param.shape)  # checked and consumed as in other families, but not used
    return param.expand((*random.size_of(sample_shape), *param.shape)).clone()


def _zeros_or_nan(tensor: Tensor) -> Tensor:
    """Return zeros without derivatives, NaN where the tensor is NaN."""
    return nan_of(torch.zeros_like(tensor), tensor.detach())


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(
    param: Real, value: Real, *, event_dims: int = 1, atol: float | Tensor = 1e-6, rtol: float | Tensor = 1e-6
) -> Tensor:
    """Return 0 if every element of the value is within `atol + rtol |point|` of the point, else -inf.

    >>> log_prob(torch.full((2,), 0.5), torch.tensor([[0.5, 0.5], [0.5, 0.6]]))
    tensor([0., -inf])
    """
    point, value = param.detach(), value.detach()
    atol, rtol = _of_elements("atol", atol, point), _of_elements("rtol", rtol, point)
    tolerance = atol + rtol * point.abs()
    is_close = (value - point).abs() <= tolerance
    log_prob = nan_of(torch.where(is_close, torch.zeros_like(value), -math.inf), point, value, tolerance)
    return sum_event(log_prob, event_dims)


def _of_elements(name: str, given: float | Tensor, point: Tensor) -> Tensor:
    """Return a tolerance as a tensor that broadcasts to the point."""
    dtype, device = point.dtype, point.device
    checked = per_element("delta.log_prob", name, given, point.shape, dtype=dtype, device=device, within=NOT_NEGATIVE)
    return checked.detach()


@verb
def entropy(param: Real, *, event_dims: int = 1) -> Tensor:
    """Return the entropy, 0.

    >>> entropy(torch.full((2,), 0.5))
    tensor(0.)
    """
    return sum_event(_zeros_or_nan(param), event_dims)


@verb
def support(
    param: Real, *, event_dims: int = 1, atol: float | Tensor = 1e-6, rtol: float | Tensor = 1e-6
) -> Constraint:
    """Return the support as a constraint: the values within the tolerance of the point.

    >>> support(torch.full((2,), 0.5), event_dims=0).check(torch.tensor([0.5, 0.6]))
    tensor([ True, False])
    """
    return supports.of_events(supports.point(param, atol, rtol), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence in nats: 0 where the points are equal, else +inf.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])), event_dims=0)
    tensor([0., inf])
    """
    p_point, q_point = torch.broadcast_tensors(p.param.detach(), q.param.detach())
    divergence = torch.where(p_point == q_point, torch.zeros_like(p_point), math.inf)
    return sum_event(nan_of(divergence, p_point, q_point), event_dims)


@verb
def cdf(param: Real, value: Real) -> Tensor:
    """Return P(X <= value), elementwise: 1 at and above the point, 0 below.

    >>> cdf(torch.full((2,), 0.5), torch.tensor([0.4, 0.5]))
    tensor([0., 1.])
    """
    return nan_of((value >= param).to(param.dtype), param.detach(), value.detach())


@verb
def survival(param: Real, value: Real) -> Tensor:
    """Return P(X > value), elementwise: 1 below the point, 0 at and above.

    >>> survival(torch.full((2,), 0.5), torch.tensor([0.4, 0.5]))
    tensor([1., 0.])
    """
    return 1 - cdf(param, value)


_LOG_CDF = """Return log P(X <= value), elementwise.

>>> log_cdf(torch.full((2,), 0.5), torch.tensor([0.4, 0.5]))
tensor([-inf, 0.])
"""
_LOG_SURVIVAL = """Return log P(X > value), elementwise.

>>> log_survival(torch.full((2,), 0.5), torch.tensor([0.4, 0.5]))
tensor([0., -inf])
"""
log_cdf = verb.mapped(cdf, torch.log, _LOG_CDF, "log_cdf")
log_survival = verb.mapped(survival, torch.log, _LOG_SURVIVAL, "log_survival")


@verb
def icdf(param: Real, value: Real) -> Tensor:
    """Return the quantile of a probability, elementwise: the point.

    >>> icdf(torch.full((2,), 0.5), 0.3)
    tensor([0.5000, 0.5000])
    """
    return nan_of(param, value.detach())


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(param: Real) -> Tensor:
    """Return the mean, which is also the median and the mode: the point.

    >>> mean(torch.full((2,), 0.5))
    tensor([0.5000, 0.5000])
    """
    return param.clone()


median = mode = deterministic = mean


@verb
def variance(param: Real) -> Tensor:
    """Return the variance, 0.

    >>> variance(torch.full((2,), 0.5))
    tensor([0., 0.])
    """
    return _zeros_or_nan(param)


stddev = verb.stddev(variance)
