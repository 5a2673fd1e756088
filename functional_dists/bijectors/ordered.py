"""The bijector of vectors onto increasing sequences: y_1 = x_1, and y_k = y_(k - 1) + exp(x_k).

A step that is smaller than the spacing of floats at y_k is lost by rounding.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Vector, define
from functional_dists.special.positive import log_in_double
from functional_dists.special.support import increasing


class Params(NamedTuple):
    """The map has no parameters.

    value: Vectors, of shape (*sample, *batch, N).
    sample: Vectors of shape (*sample_shape, *batch, N), in the dtype of the value.
    """


verb = define(Params)


def _log_steps(value: Tensor) -> Tensor:
    wide = value.double()  # in which the steps are exact
    return log_in_double(wide[..., 1:] - wide[..., :-1])


@verb
def forward(value: Vector) -> Tensor:
    """Return the increasing sequence.

    >>> forward(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-1.0000,  0.0000,  2.7183])
    """
    wide = value.double()
    return torch.cat((wide[..., :1], wide[..., 1:].exp()), -1).cumsum(-1).to(value.dtype)


@verb
def inverse(value: Vector) -> Tensor:
    """Return the first entry and the logarithms of the steps; -inf for a step of 0, NaN for one down.

    >>> inverse(torch.tensor([-1.0, 0.0, 0.0, -1.0]))
    tensor([-1.,  0., -inf, nan])
    """
    return torch.cat((value[..., :1], _log_steps(value).to(value.dtype)), -1)


@verb
def forward_log_det(value: Vector) -> Tensor:
    """Return the log-determinant, one for a vector: the sum of all entries but the first.

    >>> forward_log_det(torch.tensor([-1.0, 0.0, 1.0]))
    tensor(1.)
    """
    return (value[..., 1:].double().sum(-1) + _zero_of_first(value)).to(value.dtype)


@verb
def inverse_log_det(value: Vector) -> Tensor:
    """Return the log-determinant of the inverse, one for a vector: minus the sum of the logarithms of the steps.

    >>> inverse_log_det(torch.tensor([-1.0, 0.0, 2.0]))
    tensor(-0.6931)
    """
    return (_zero_of_first(value) - _log_steps(value).sum(-1)).to(value.dtype)


def _zero_of_first(value: Tensor) -> Tensor:
    """Return 0, on which no result depends, or NaN where the first entry is NaN."""
    first = value[..., :1].double()
    return torch.where(first.isnan(), first, 0.0).sum(-1)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)


@verb
def domain() -> Constraint:
    """Return the set that `forward` takes as a constraint: the vectors of real numbers.

    >>> domain().check(torch.zeros(3))
    tensor(True)
    """
    return constraints.real_vector


@verb
def image() -> Constraint:
    """Return the set of the values of `forward` as a constraint: the increasing sequences.

    >>> image().check(torch.tensor([[-1.0, 0.0, 2.0], [0.0, 0.0, 1.0]]))
    tensor([ True, False])
    """
    return increasing
