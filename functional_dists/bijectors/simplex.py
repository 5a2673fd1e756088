"""The bijector of vectors of N - 1 numbers onto the simplex of N entries, by breaking a stick.

Entry k takes the fraction sigmoid(x_k - log(N - k)) of what the entries before it left, and the last one takes the
rest; so x = 0 gives equal entries. See the section "Unit simplex" of the Stan Reference Manual. The log-determinant is
that of the first N - 1 entries: the sum of the logarithms of all N.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Vector, define
from functional_dists.special.positive import log1p_exp, log_in_double


class Params(NamedTuple):
    """The simplex has no parameters.

    value: Vectors, of shape (*sample, *batch, N - 1) before the map and (*sample, *batch, N) after it.
    sample: Vectors of shape (*sample_shape, *batch, N), in the dtype of the value.
    """


verb = define(Params)

#: How many entries `forward` adds to a vector.
ADDED_ENTRIES = 1
_TOLERANCE = 0.01  # of the sum of the entries; that of half precision is up to 0.002 off


def _log_entries(value: Tensor) -> Tensor:
    """Return the logarithms of the entries in float64."""
    wide = value.double()
    logit = wide - _log_of_rest(wide)
    log_left = torch.cumsum(-log1p_exp(logit), -1)  # after each entry
    zero = torch.zeros_like(wide[..., :1]) if wide.shape[-1] else wide.new_zeros((*wide.shape[:-1], 1))
    return torch.cat((zero, log_left), -1) + torch.cat((-log1p_exp(-logit), zero), -1)


def _log_of_rest(like: Tensor) -> Tensor:
    """Return the logarithms of the numbers of entries that follow each one but the last."""
    return torch.arange(like.shape[-1], 0, -1, dtype=like.dtype, device=like.device).log()


def _nan_outside(value: Tensor) -> Tensor:
    """Return 0 for vectors on the simplex and on its border, and NaN for others, of shape (..., 1)."""
    fixed = value.detach().double()
    is_outside = (fixed < 0).any(-1, keepdim=True) | ((fixed.sum(-1, keepdim=True) - 1.0).abs() > _TOLERANCE)
    return torch.where(is_outside, math.nan, 0.0)


@verb
def forward(value: Vector) -> Tensor:
    """Return the point of the simplex.

    >>> forward(torch.zeros(3))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return _log_entries(value).exp().to(value.dtype)


@verb
def inverse(value: Vector) -> Tensor:
    """Return the N - 1 numbers of a point; infinite on the border of the simplex, NaN off the simplex.

    >>> inverse(torch.tensor([0.5, 0.3, 0.2, 0.0]))
    tensor([1.0986, 1.0986,    inf])
    """
    rest = value.double().flip(-1).cumsum(-1).flip(-1)[..., 1:]  # what each entry left
    logit = log_in_double(value)[..., :-1] - log_in_double(rest) + _log_of_rest(rest)
    return (logit + _nan_outside(value)).to(value.dtype)


@verb
def forward_log_det(value: Vector) -> Tensor:
    """Return the log-determinant, one for a vector.

    >>> forward_log_det(torch.zeros(3))
    tensor(-5.5452)
    """
    return _log_entries(value).sum(-1).to(value.dtype)


@verb
def inverse_log_det(value: Vector) -> Tensor:
    """Return the log-determinant of the inverse, one for a vector.

    >>> inverse_log_det(torch.full((4,), 0.25))
    tensor(5.5452)
    """
    return -(log_in_double(value) + _nan_outside(value)).sum(-1).to(value.dtype)


@verb
def forward_and_log_det(value: Vector) -> tuple[Tensor, Tensor]:
    """Return the point of the simplex, and the log-determinant.

    >>> forward_and_log_det(torch.zeros(3))[1]
    tensor(-5.5452)
    """
    log_entries = _log_entries(value)
    return log_entries.exp().to(value.dtype), log_entries.sum(-1).to(value.dtype)


@verb
def domain() -> Constraint:
    """Return the set that `forward` takes as a constraint: the vectors of real numbers.

    >>> domain().check(torch.zeros(3))
    tensor(True)
    """
    return constraints.real_vector


@verb
def image() -> Constraint:
    """Return the set of the values of `forward` as a constraint: the simplex.

    >>> image().check(torch.full((4,), 0.25))
    tensor(True)
    """
    return constraints.simplex
