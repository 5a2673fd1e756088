"""The bijector y = low + (high - low) (tanh(x) + 1) / 2 of every element, from the real line onto (low, high).

`forward` is computed from the nearer bound, and rounds to numbers strictly inside. It is the map of `tanh_normal`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.special as special
from functional_dists.family import Real, define
from functional_dists.special import support as supports


class Params(NamedTuple):
    """Parameters of an interval, which broadcast against each other.

    low: The lower bound of the values, of shape (*batch, *event).
    high: The upper bound of the values, of shape (*batch, *event).
    """

    low: Real = -1.0
    high: Real = 1.0


verb = define(Params)


def pre_image_of(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the x with `squash(x, low, high) == value`; infinite at the bounds, NaN beyond.

    >>> pre_image_of(torch.tensor([0.0, 1.0, 2.0]), torch.tensor(-1.0), torch.tensor(1.0))
    tensor([0., inf, nan])
    """
    digits, growth = _pre_image(value, low, high)[0]
    x = digits.to(value.dtype) + growth
    x = torch.where(value == low, -math.inf, torch.where(value == high, math.inf, x))
    return torch.where((value < low) | (value > high), math.nan, x)


def log_slope_at(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return log |dy / dx| at y = `value`: -inf at the bounds, NaN beyond.

    >>> log_slope_at(torch.tensor([0.0, 1.0, 2.0]), torch.tensor(-1.0), torch.tensor(1.0))
    tensor([0., -inf, nan])
    """
    digits, growth = _pre_image(value, low, high)[1]
    log_slope = digits.to(value.dtype) + growth
    log_slope = torch.where((value == low) | (value == high), -math.inf, log_slope)
    return torch.where((value < low) | (value > high), math.nan, log_slope)


def _pre_image(value: Tensor, low: Tensor, high: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return digits in float64, and zeros with their derivatives, of the pre-image and of the log-slope there."""
    is_off = (value <= low) | (value >= high)  # False for NaN
    value = torch.where(is_off, (low + 0.5 * (high - low)).detach(), value)
    # The derivatives are those of the dtype of the value, in which they are finite next to a bound at 0.
    below, above = special.log_growth(value - low), special.log_growth(high - value)
    x, log_slope = special.pre_image(*(tensor.detach().double() for tensor in (value, low, high)))
    return (x, 0.5 * (below - above)), (log_slope, below + above - special.log_growth(high - low))


@verb(confine=special.strictly_inside)
def forward(low: Real, high: Real, value: Real) -> Tensor:
    """Return the value in (low, high), strictly inside.

    >>> forward(torch.zeros(2), 10.0, torch.tensor([0.0, 100.0])) < 10
    tensor([True, True])
    """
    return special.squash(value, low, high)


@verb
def inverse(low: Real, high: Real, value: Real) -> Tensor:
    """Return the x with this value; -inf at `low`, inf at `high`, NaN beyond.

    >>> inverse(torch.zeros(3), 10.0, torch.tensor([5.0, 10.0, 11.0]))
    tensor([0., inf, nan])
    """
    return pre_image_of(value, low, high)


@verb
def forward_log_det(low: Real, high: Real, value: Real) -> Tensor:
    """Return log |dy / dx| = log((high - low) / 2) - 2 log cosh(x), elementwise.

    >>> forward_log_det(torch.zeros(2), 10.0, torch.tensor([0.0, 100.0]))
    tensor([   1.6094, -197.0043])
    """
    return special.log_squash_slope(value.double(), low, high).to(value.dtype)


@verb
def inverse_log_det(low: Real, high: Real, value: Real) -> Tensor:
    """Return log |dx / dy|, elementwise: inf at the bounds, NaN beyond.

    >>> inverse_log_det(torch.zeros(3), 10.0, torch.tensor([5.0, 10.0, 11.0]))
    tensor([-1.6094,     inf,     nan])
    """
    return -log_slope_at(value, low, high)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)


@verb
def is_increasing(low: Real, high: Real) -> Tensor:
    """Return whether the map increases, elementwise: whether low < high.

    >>> is_increasing(torch.zeros(2), 10.0)
    tensor([True, True])
    """
    return low < high


@verb
def domain(low: Real, high: Real) -> Constraint:
    """Return the set that `forward` takes as a constraint: the real numbers.

    >>> domain(torch.zeros(2), 10.0).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return constraints.real


@verb
def image(low: Real, high: Real) -> Constraint:
    """Return the set of the values of `forward` as a constraint: the open interval (low, high).

    >>> image(torch.zeros(2), 10.0).check(torch.tensor([5.0, 10.0]))
    tensor([ True, False])
    """
    return supports.open_interval(low, high)
