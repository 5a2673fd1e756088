"""Logarithms and exponentials with derivatives that are accurate, and finite inside the domain."""

import math

import torch
from torch import Tensor

from functional_dists.special.elementary import LOG_2, expm1
from functional_dists.special.interval import log_growth


def positive_normal(value: Tensor) -> Tensor:
    """Return positive normal numbers, the nearest ones: what a positive value rounds to without leaving the support.

    >>> positive_normal(torch.tensor([0.0, 2.0, torch.inf]))
    tensor([1.1755e-38, 2.0000e+00, 3.4028e+38])
    """
    info = torch.finfo(value.dtype)
    return value.clamp(info.tiny, info.max)


def log_in_double(x: Tensor) -> Tensor:
    """Return log x in float64; -inf at 0, NaN below. The slope is 1 / x for x > 0, but 0 where x is subnormal.

    >>> log_in_double(torch.tensor([1.0, 0.0, -1.0]))
    tensor([0., -inf, nan], dtype=torch.float64)
    """
    is_off = (x <= 0) | (x == math.inf)  # False for NaN
    # The slope is that of the dtype of `x`, whose subnormal numbers are normal in float64.
    growth = log_growth(torch.where(is_off, 1.0, x)).double()
    return torch.log(x.detach().double()) + growth


def log1p_exp(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), without overflow, and of the same digits wherever `x` stands in a tensor.

    >>> log1p_exp(torch.tensor([0.0, -10.0, 1000.0]))
    tensor([6.9315e-01, 4.5399e-05, 1.0000e+03])
    """
    is_negative = x < 0
    rest = torch.log1p(torch.exp(torch.where(is_negative, x, -x)))
    return torch.where(is_negative, rest, x + rest)


def log_expm1(x: Tensor) -> Tensor:
    """Return log(exp(x) - 1) for x > 0, without overflow: the inverse of `log1p_exp`.

    >>> log_expm1(torch.tensor([1.0, 1e-10, 1000.0]))
    tensor([ 5.4132e-01, -2.3026e+01,  1.0000e+03])
    """
    is_small = x < 1.0
    near = torch.log(expm1(torch.where(is_small, x, 1.0)))
    far = torch.where(is_small, 1.0, x)
    return torch.where(is_small, near, far + torch.log1p(-torch.exp(-far)))


def log1m_exp(x: Tensor) -> Tensor:
    """Return log(1 - exp(-x)) for x > 0.

    >>> log1m_exp(torch.tensor([1e-10, 50.0]))
    tensor([-2.3026e+01, -1.9287e-22])
    """
    is_small = x < LOG_2
    near = torch.log(-expm1(-torch.where(is_small, x, 1.0)))
    return torch.where(is_small, near, torch.log1p(-torch.exp(-torch.where(is_small, 1.0, x))))


def log_cosh(x: Tensor) -> Tensor:
    """Return log(cosh(x)), without overflow, and without cancellation near 0.

    >>> log_cosh(torch.tensor([1e-3, 1000.0]))
    tensor([5.0000e-07, 9.9931e+02])
    """
    size = torch.where(x < 0, -x, x)
    is_small = size < 1.0
    sinh = torch.sinh(torch.where(is_small, x, 1.0))
    far = torch.where(is_small, 1.0, size)
    return torch.where(is_small, 0.5 * torch.log1p(sinh * sinh), (far - LOG_2) + torch.log1p(torch.exp(-2.0 * far)))
