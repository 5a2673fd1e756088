"""The bijector y = x^exponent of every element, of the positive numbers onto themselves.

The exponent is not 0; of a negative one the map decreases.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Real, define
from functional_dists.special.positive import log_in_double


class Params(NamedTuple):
    """The parameter of a power.

    exponent: The exponent, not 0, of shape (*batch, *event).
    """

    exponent: Real


verb = define(Params)


def _power(value: Tensor, exponent: Tensor) -> Tensor:
    """Return value^exponent for value >= 0 in float64, NaN for other values, with finite derivatives."""
    is_outside = value < 0
    is_off = is_outside | (value == 0) | (value == math.inf)
    at_end = torch.pow(value.detach(), exponent.detach())
    inside = torch.pow(torch.where(is_off, 1.0, value), exponent)
    return torch.where(is_outside, math.nan, torch.where(is_off, at_end, inside))


def _log_slope(value: Tensor, exponent: Tensor, less_one: Tensor) -> Tensor:
    """Return log |exponent| + (exponent - 1) log value in float64."""
    is_flat = (less_one == 0) & ((value == 0) | (value == math.inf))  # 0 log 0 is 0 here
    log_value = log_in_double(torch.where(is_flat, 1.0, value))
    return exponent.abs().log() + less_one * log_value + torch.where(value.isnan(), value, 0.0)


@verb
def forward(exponent: Real, value: Real) -> Tensor:
    """Return x^exponent; NaN below 0.

    >>> forward(torch.tensor([2.0, -1.0]), torch.tensor([3.0, 4.0]))
    tensor([9.0000, 0.2500])
    """
    return _power(value.double(), exponent.double()).to(value.dtype)


@verb
def inverse(exponent: Real, value: Real) -> Tensor:
    """Return y^(1 / exponent); NaN below 0.

    >>> inverse(torch.tensor([2.0, -1.0, 2.0]), torch.tensor([9.0, 0.25, -1.0]))
    tensor([3., 4., nan])
    """
    return _power(value.double(), 1.0 / exponent.double()).to(value.dtype)


@verb
def forward_log_det(exponent: Real, value: Real) -> Tensor:
    """Return log |dy / dx| = log |exponent| + (exponent - 1) log x, elementwise.

    >>> forward_log_det(torch.tensor([2.0, -1.0]), torch.tensor([3.0, 4.0]))
    tensor([ 1.7918, -2.7726])
    """
    wide = exponent.double()
    return _log_slope(value, wide, wide - 1.0).to(value.dtype)


@verb
def inverse_log_det(exponent: Real, value: Real) -> Tensor:
    """Return log |dx / dy| = (1 / exponent - 1) log y - log |exponent|, elementwise.

    >>> inverse_log_det(torch.tensor([2.0, -1.0]), torch.tensor([9.0, 0.25]))
    tensor([-1.7918,  2.7726])
    """
    wide = exponent.double()
    return _log_slope(value, 1.0 / wide, (1.0 - wide) / wide).to(value.dtype)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)


@verb
def is_increasing(exponent: Real) -> Tensor:
    """Return whether the map increases, elementwise.

    >>> is_increasing(torch.tensor([2.0, -1.0]))
    tensor([ True, False])
    """
    return exponent > 0


@verb
def domain(exponent: Real) -> Constraint:
    """Return the set that `forward` takes as a constraint: the positive numbers.

    >>> domain(torch.tensor(2.0)).check(torch.tensor([0.0, 1.0]))
    tensor([False,  True])
    """
    return constraints.positive


@verb
def image(exponent: Real) -> Constraint:
    """Return the set of the values of `forward` as a constraint: the positive numbers.

    >>> image(torch.tensor(2.0)).check(torch.tensor([0.0, 1.0]))
    tensor([False,  True])
    """
    return constraints.positive
