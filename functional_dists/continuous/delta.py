"""Point mass at `param`: the distribution of a deterministic policy.

Its log-prob is a logarithm of probability, not of density: 0 at the point, to within a tolerance, and -inf elsewhere,
without a gradient. What is drawn is `param` itself, with its gradient under `rsample`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists import random
from functional_dists.family import Real, define, require, sum_event
from functional_dists.options import NOT_NEGATIVE, per_element
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
    """Return the point, cut from the graph.

    >>> sample(random.key(42), torch.zeros(2), sample_shape=(3,)).shape
    torch.Size([3, 2])
    """
    return repeated(key, param, sample_shape).detach()


@verb
def rsample(key: Source, param: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Return the point.

    >>> rsample(random.key(42), torch.ones(2))
    tensor([1., 1.])
    """
    return repeated(key, param, sample_shape)


@verb
def sample_and_log_prob(
    key: Source, param: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point, cut from the graph, with its log-probability, 0.

    >>> sample_and_log_prob(random.key(42), torch.ones(2))
    (tensor([1., 1.]), tensor(0.))
    """
    value = repeated(key, param, sample_shape).detach()
    return value, sum_event(zeros_of(value), event_dims)


@verb
def rsample_and_log_prob(
    key: Source, param: Real, *, sample_shape: Shape = (), event_dims: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the point with its log-probability, 0.

    >>> rsample_and_log_prob(random.key(42), torch.ones(2))
    (tensor([1., 1.]), tensor(0.))
    """
    value = repeated(key, param, sample_shape)
    return value, sum_event(zeros_of(value), event_dims)


def zeros_of(*tensors: Tensor) -> Tensor:
    """Return 0, without derivatives, NaN where one of the tensors is."""
    return nan_of(torch.zeros_like(tensors[0]), *(t.detach() for t in tensors))


def repeated(key: Source, value: Tensor, sample_shape: Shape) -> Tensor:
    """Return a value for every draw; the key is asked for and consumed as everywhere, and not used."""
    consume_entries(key, value.shape)
    return value.expand((*random.size_of(sample_shape), *value.shape)).clone()


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(
    param: Real, value: Real, *, event_dims: int = 1, atol: float | Tensor = 1e-6, rtol: float | Tensor = 1e-6
) -> Tensor:
    """Return 0 where the value is the point, to within `atol + rtol |point|` in every element of the event, else -inf.

    >>> log_prob(torch.zeros(2), torch.tensor([[0.0, 0.0], [0.0, 0.1]]))
    tensor([0., -inf])
    """
    return sum_event(log_prob_at(param, value, *tolerances("delta.log_prob", param, atol, rtol)), event_dims)


def log_prob_at(point: Tensor, value: Tensor, atol: Tensor, rtol: Tensor) -> Tensor:
    """Return 0 where the value is the point, to within a tolerance, else -inf."""
    point, value = point.detach(), value.detach()
    tolerance = atol + rtol * point.abs()
    is_close = (value - point).abs() <= tolerance
    return nan_of(torch.where(is_close, torch.zeros_like(value), -math.inf), point, value, tolerance)


def tolerances(function: str, param: Tensor, atol: float | Tensor, rtol: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the options `atol` and `rtol` of a verb, one number for every element of the parameters."""
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
    return sum_event(zeros_of(param), event_dims)


@verb
def support(
    param: Real, *, event_dims: int = 1, atol: float | Tensor = 1e-6, rtol: float | Tensor = 1e-6
) -> Constraint:
    """Return where the log-probability is finite: the point, to within the tolerance, as a constraint.

    >>> support(torch.zeros(2), event_dims=0).check(torch.tensor([0.0, 0.1]))
    tensor([ True, False])
    """
    return supports.of_events(supports.point(param, atol, rtol), event_dims)


@verb
def kl(p: Params, q: Params, *, event_dims: int = 1) -> Tensor:
    """Return the Kullback-Leibler divergence in nats: 0 where the points are the same, else +inf.

    >>> kl(Params(torch.zeros(2)), Params(torch.tensor([0.0, 1.0])), event_dims=0)
    tensor([0., inf])
    """
    return sum_event(kl_between(p.param, q.param), event_dims)


def kl_between(p: Tensor, q: Tensor) -> Tensor:
    """Return 0 where the points are the same, else +inf."""
    p, q = torch.broadcast_tensors(p.detach(), q.detach())
    return nan_of(torch.where(p == q, torch.zeros_like(p), math.inf), p, q)


@verb
def cdf(param: Real, value: Real) -> Tensor:
    """Return the cumulative probability, elementwise: 1 from the point on.

    >>> cdf(torch.zeros(()), torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0., 1., 1.])
    """
    return share_below(param, value)


def share_below(point: Tensor, value: Tensor) -> Tensor:
    """Return 1 from the point on, below it 0."""
    return nan_of((value >= point).to(point.dtype), point.detach(), value.detach())


def share_above(point: Tensor, value: Tensor) -> Tensor:
    """Return 1 below the point, from it on 0."""
    return nan_of((value < point).to(point.dtype), point.detach(), value.detach())


@verb
def log_cdf(param: Real, value: Real) -> Tensor:
    """Return the logarithm of the cumulative probability, elementwise.

    >>> log_cdf(torch.zeros(()), torch.tensor([-1.0, 0.0]))
    tensor([-inf, 0.])
    """
    return share_below(param, value).log()


@verb
def survival(param: Real, value: Real) -> Tensor:
    """Return the probability of a greater value, elementwise: 1 below the point.

    >>> survival(torch.zeros(()), torch.tensor([-1.0, 0.0, 1.0]))
    tensor([1., 0., 0.])
    """
    return share_above(param, value)


@verb
def log_survival(param: Real, value: Real) -> Tensor:
    """Return the logarithm of the probability of a greater value, elementwise.

    >>> log_survival(torch.zeros(()), torch.tensor([-1.0, 0.0]))
    tensor([0., -inf])
    """
    return share_above(param, value).log()


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
    return zeros_of(param)


@verb
def stddev(param: Real) -> Tensor:
    """Return the standard deviation, 0.

    >>> stddev(torch.ones(2))
    tensor([0., 0.])
    """
    return zeros_of(param)
