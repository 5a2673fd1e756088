"""The bijector y = sign(x) log(1 + |x|) of every element, of the real line onto itself.

See Hafner et al., "Mastering Diverse Domains through World Models" (2023). `symexp` is its inverse.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

from functional_dists.bijectors.derived import increasing_onto
from functional_dists.family import Real, define
from functional_dists.special import expm1


class Params(NamedTuple):
    """The symmetric logarithm has no parameters."""


verb = define(Params)


def _odd(value: Tensor, of_size: Tensor) -> Tensor:
    return torch.where(value < 0, -of_size, of_size)


def _size(value: Tensor) -> Tensor:
    """Return |x| in float64; unlike that of `abs`, its slope at 0 is not 0."""
    return torch.where(value < 0, -value, value).double()


@verb
def forward(value: Real) -> Tensor:
    """Return sign(x) log(1 + |x|).

    >>> forward(torch.tensor([0.0, -1000.0]))
    tensor([ 0.0000, -6.9088])
    """
    return _odd(value, torch.log1p(_size(value))).to(value.dtype)


@verb
def inverse(value: Real) -> Tensor:
    """Return sign(y) (exp(|y|) - 1).

    >>> inverse(torch.tensor([0.0, -1.0]))
    tensor([ 0.0000, -1.7183])
    """
    return _odd(value, expm1(_size(value))).to(value.dtype)


@verb
def forward_log_det(value: Real) -> Tensor:
    """Return log |dy / dx| = -log(1 + |x|), elementwise.

    >>> forward_log_det(torch.tensor([0.0, -1000.0]))
    tensor([-0.0000, -6.9088])
    """
    return -torch.log1p(_size(value)).to(value.dtype)


@verb
def inverse_log_det(value: Real) -> Tensor:
    """Return log |dx / dy| = |y|, elementwise.

    >>> inverse_log_det(torch.tensor([0.0, -1.0]))
    tensor([0., 1.])
    """
    return _size(value).to(value.dtype)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)
is_increasing, domain, image = increasing_onto(verb, constraints.real, "the real numbers")
