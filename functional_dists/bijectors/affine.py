"""The bijector y = shift + scale x of every element; the scale is not 0, and may be negative."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Real, define
from functional_dists.special import nan_of


class Params(NamedTuple):
    """Parameters of an affine map, which broadcast against each other.

    shift: What is added, of shape (*batch, *event).
    scale: The factor, not 0, of shape (*batch, *event).
    """

    shift: Real
    scale: Real


verb = define(Params)


@verb
def forward(shift: Real, scale: Real, value: Real) -> Tensor:
    """Return shift + scale x.

    >>> forward(torch.ones(2), -2.0, torch.tensor([0.0, 3.0]))
    tensor([ 1., -5.])
    """
    return shift + scale * value


@verb
def inverse(shift: Real, scale: Real, value: Real) -> Tensor:
    """Return (y - shift) / scale.

    >>> inverse(torch.ones(2), -2.0, torch.tensor([1.0, -5.0]))
    tensor([-0., 3.])
    """
    return (value - shift) / scale


@verb
def forward_log_det(shift: Real, scale: Real, value: Real) -> Tensor:
    """Return log |dy / dx| = log |scale|, elementwise.

    >>> forward_log_det(torch.ones(2), -2.0, torch.tensor([0.0, 3.0]))
    tensor([0.6931, 0.6931])
    """
    return nan_of(scale.abs().log(), shift, value)


@verb
def inverse_log_det(shift: Real, scale: Real, value: Real) -> Tensor:
    """Return log |dx / dy| = -log |scale|, elementwise.

    >>> inverse_log_det(torch.ones(2), -2.0, torch.tensor([1.0, -5.0]))
    tensor([-0.6931, -0.6931])
    """
    return nan_of(-scale.abs().log(), shift, value)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)


@verb
def is_increasing(shift: Real, scale: Real) -> Tensor:
    """Return whether the map increases, elementwise.

    >>> is_increasing(torch.ones(2), torch.tensor([1.0, -1.0]))
    tensor([ True, False])
    """
    return (scale > 0).expand(torch.broadcast_shapes(shift.shape, scale.shape))


@verb
def domain(shift: Real, scale: Real) -> Constraint:
    """Return the set that `forward` takes as a constraint: the real numbers.

    >>> domain(torch.ones(2), 2.0).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return constraints.real


@verb
def image(shift: Real, scale: Real) -> Constraint:
    """Return the set of the values of `forward` as a constraint: the real numbers.

    >>> image(torch.ones(2), 2.0).check(torch.tensor([0.0, torch.nan]))
    tensor([ True, False])
    """
    return constraints.real
