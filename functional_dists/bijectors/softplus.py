"""The bijector y = log(1 + exp(x)) of every element, from the real line onto the positive numbers.

`forward` underflows to 0 where exp does; `inverse` then gives -inf.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

from functional_dists.bijectors.derived import increasing_onto
from functional_dists.family import Real, define
from functional_dists.special.positive import log1m_exp, log1p_exp, log_expm1, log_in_double


class Params(NamedTuple):
    """The softplus has no parameters."""


verb = define(Params)


@verb
def forward(value: Real) -> Tensor:
    """Return log(1 + exp(x)).

    >>> forward(torch.tensor([0.0, -10.0, 1000.0]))
    tensor([6.9315e-01, 4.5399e-05, 1.0000e+03])
    """
    return log1p_exp(value.double()).to(value.dtype)


@verb
def inverse(value: Real) -> Tensor:
    """Return log(exp(y) - 1); -inf at 0, NaN below.

    >>> inverse(torch.tensor([1.0, 0.0, -1.0]))
    tensor([0.5413,   -inf,    nan])
    """
    is_tiny = value < torch.finfo(value.dtype).tiny  # log(exp(y) - 1) is log y here
    wide = torch.where(is_tiny, 1.0, value).double()
    return torch.where(is_tiny, log_in_double(value), log_expm1(wide)).to(value.dtype)


@verb
def forward_log_det(value: Real) -> Tensor:
    """Return log |dy / dx| = -log(1 + exp(-x)), elementwise.

    >>> forward_log_det(torch.tensor([0.0, -100.0]))
    tensor([  -0.6931, -100.0000])
    """
    return -log1p_exp(-value.double()).to(value.dtype)


@verb
def inverse_log_det(value: Real) -> Tensor:
    """Return log |dx / dy| = -log(1 - exp(-y)), elementwise.

    >>> inverse_log_det(torch.tensor([1.0, 0.0, -1.0]))
    tensor([0.4587,    inf,    nan])
    """
    is_tiny = value < torch.finfo(value.dtype).tiny
    wide = torch.where(is_tiny, 1.0, value).double()
    return -torch.where(is_tiny, log_in_double(value), log1m_exp(wide)).to(value.dtype)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)
is_increasing, domain, image = increasing_onto(verb, constraints.positive, "the positive numbers")
