"""The bijector y = tanh(x) of every element, from the real line onto (-1, 1).

`forward` rounds to numbers strictly inside.
"""

from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.special as special
from functional_dists.bijectors.derived import increasing_onto
from functional_dists.bijectors.interval import log_slope_at, pre_image_of
from functional_dists.family import Real, define
from functional_dists.special import support as supports
from functional_dists.special.constant import scalar
from functional_dists.special.positive import log_cosh


class Params(NamedTuple):
    """The hyperbolic tangent has no parameters."""


verb = define(Params)


def _inside(value: Tensor) -> Tensor:
    return special.strictly_inside(value, *_bounds(value))


def _bounds(like: Tensor) -> tuple[Tensor, Tensor]:
    return scalar(-1.0, like), scalar(1.0, like)


@verb(confine=_inside)
def forward(value: Real) -> Tensor:
    """Return tanh(x), strictly between -1 and 1.

    >>> forward(torch.tensor([0.5, 100.0])) < 1
    tensor([True, True])
    """
    return special.squash(value, *_bounds(value))


@verb
def inverse(value: Real) -> Tensor:
    """Return atanh(y); -inf at -1, inf at 1, NaN beyond.

    >>> inverse(torch.tensor([0.5, 1.0, 2.0]))
    tensor([0.5493,    inf,    nan])
    """
    return pre_image_of(value, *_bounds(value))


@verb
def forward_log_det(value: Real) -> Tensor:
    """Return log |dy / dx| = -2 log cosh(x), elementwise.

    >>> forward_log_det(torch.tensor([0.0, 100.0]))
    tensor([  -0.0000, -198.6137])
    """
    return (-2.0 * log_cosh(value.double())).to(value.dtype)


@verb
def inverse_log_det(value: Real) -> Tensor:
    """Return log |dx / dy| = -log(1 - y^2), elementwise.

    >>> inverse_log_det(torch.tensor([0.5, 1.0, 2.0]))
    tensor([0.2877,    inf,    nan])
    """
    is_near = value.abs() < 0.5
    near = -torch.log1p(-torch.where(is_near, value, 0.0).double().square())
    far = -log_slope_at(value, *_bounds(value))
    return torch.where(is_near, near.to(value.dtype), far)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)
is_increasing, domain, image = increasing_onto(verb, supports.open_interval(-1.0, 1.0), "the open interval (-1, 1)")
