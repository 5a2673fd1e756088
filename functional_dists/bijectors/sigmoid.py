"""The bijector y = 1 / (1 + exp(-x)) of every element, from the real line onto (0, 1).

`forward` rounds to numbers strictly inside.
"""

from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.special as special
from functional_dists.bijectors.derived import increasing_onto
from functional_dists.bijectors.interval import pre_image_of
from functional_dists.family import Real, define
from functional_dists.special import support as supports
from functional_dists.special.constant import scalar
from functional_dists.special.positive import log1p_exp, log_in_double


class Params(NamedTuple):
    """The logistic function has no parameters."""


verb = define(Params)


def inside(value: Tensor) -> Tensor:
    """Return a value in [0, 1], moved to the next float inside where it was rounded to a bound.

    >>> inside(torch.tensor([0.5, 1.0])) < 1
    tensor([True, True])
    """
    return special.strictly_inside(value, *_bounds(value))


def _bounds(like: Tensor) -> tuple[Tensor, Tensor]:
    return scalar(0.0, like), scalar(1.0, like)


@verb(confine=inside)
def forward(value: Real) -> Tensor:
    """Return 1 / (1 + exp(-x)), strictly between 0 and 1.

    >>> forward(torch.tensor([0.0, 100.0])) < 1
    tensor([True, True])
    """
    return special.squash(0.5 * value, *_bounds(value))


@verb
def inverse(value: Real) -> Tensor:
    """Return the logit log(y / (1 - y)); -inf at 0, inf at 1, NaN beyond.

    >>> inverse(torch.tensor([0.5, 1.0, 2.0]))
    tensor([0., inf, nan])
    """
    return 2.0 * pre_image_of(value, *_bounds(value))


@verb
def forward_log_det(value: Real) -> Tensor:
    """Return log |dy / dx| = -log(1 + exp(x)) - log(1 + exp(-x)), elementwise.

    >>> forward_log_det(torch.tensor([0.0, 100.0]))
    tensor([  -1.3863, -100.0000])
    """
    wide = value.double()
    return -(log1p_exp(wide) + log1p_exp(-wide)).to(value.dtype)


@verb
def inverse_log_det(value: Real) -> Tensor:
    """Return log |dx / dy| = -log(y (1 - y)), elementwise.

    >>> inverse_log_det(torch.tensor([0.5, 1.0, 2.0]))
    tensor([1.3863,    inf,    nan])
    """
    is_high = value >= 0.5
    rest = torch.log1p(-torch.where(is_high, 0.25, value).double())
    high = log_in_double(torch.where(is_high, 1.0 - value, 1.0))  # 1 - y is exact
    return -(log_in_double(value) + torch.where(is_high, high, rest)).to(value.dtype)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)
is_increasing, domain, image = increasing_onto(verb, supports.open_interval(0.0, 1.0), "the open interval (0, 1)")
