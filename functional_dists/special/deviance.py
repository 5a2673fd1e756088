"""Functions of ratios and of exponentials that vanish to second order, or at an end, without cancellation."""

import math

import torch
from torch import Tensor

from functional_dists.special.elementary import LOG_2, expm1, expm1_minus, horner

__all__ = [
    "excess_of",
    "exp_excess",
    "log_one_minus_exp",
    "one_minus_exp",
    "ratio_excess",
]
__dir__ = __all__.copy  # what tab completion shows

_ATANH = [1 / (2 * k + 3) for k in range(17, -1, -1)]  # atanh(s) = s + s^3 (1/3 + s^2 / 5 + ...)


def ratio_excess(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b - 1 - log(a / b) >= 0 for positive a and b, exact where the two are close.

    With x = a / b - 1 and s = x / (2 + x) it is x s - 2 s^3 (1/3 + s^2 / 5 + ...), where x s = x - 2 s.

    >>> ratio_excess(torch.tensor(1.0 + 2**-10), torch.tensor(1.0))
    tensor(4.7653e-07)
    """
    x = (a - b) / b
    is_near = (x > -0.5) & (x < 1.0)
    return torch.where(is_near, _near_excess(torch.where(is_near, x, 0.0)), x - _log_of_far_ratio(a, b, is_near))


def excess_of(x: Tensor) -> Tensor:
    """Return x - log(1 + x) for -1 < x, exact near 0.

    >>> excess_of(torch.tensor(2**-10))
    tensor(4.7653e-07)
    """
    is_near = (x > -0.5) & (x < 1.0)
    return torch.where(
        is_near, _near_excess(torch.where(is_near, x, 0.0)), x - torch.log1p(torch.where(is_near, 1.0, x))
    )


def _near_excess(x: Tensor) -> Tensor:
    s = x / (2 + x)
    square = s * s
    return x * s - 2 * s * square * horner(_ATANH, square)


def _log_of_far_ratio(a: Tensor, b: Tensor, is_near: Tensor) -> Tensor:
    ratio = torch.where(is_near, 1.0, a / b)
    is_normal = (ratio >= torch.finfo(a.dtype).tiny) & (ratio < math.inf)
    a, b = torch.where(is_normal, 1.0, a), torch.where(is_normal, 1.0, b)
    return torch.where(is_normal, torch.where(is_normal, ratio, 1.0).log(), a.log() - b.log())


def exp_excess(x: Tensor) -> Tensor:
    """Return exp(x) - 1 - x >= 0, exact near 0.

    >>> exp_excess(torch.tensor([1e-4, -1000.0]))
    tensor([5.0002e-09, 9.9900e+02])
    """
    is_near = x.abs() < 1
    far = torch.where(is_near, 1.0, x)
    return torch.where(is_near, expm1_minus(torch.where(is_near, x, 0.0)), torch.exp(far) - 1 - far)


def one_minus_exp(t: Tensor) -> Tensor:
    """Return 1 - exp(-t) for t >= 0, exact near 0.

    >>> one_minus_exp(torch.tensor([1e-10, 2.0]))
    tensor([1.0000e-10, 8.6466e-01])
    """
    is_small = t < 1
    near = -expm1(-torch.where(is_small, t, 0.0))
    return torch.where(is_small, near, 1 - torch.exp(-torch.where(is_small, 1.0, t)))


_SINH_OVER_X = [1 / math.factorial(2 * k + 1) for k in range(6, 0, -1)]  # sinh(x) / x - 1, divided by x^2


def log_one_minus_exp(t: Tensor) -> Tensor:
    """Return log(1 - exp(-t)) for t >= 0, exact at both ends: log t + log(sinh(t/2) / (t/2)) - t/2 near 0.

    At 0 it is -inf, with no gradient.

    >>> log_one_minus_exp(torch.tensor([0.0, 1e-30, 50.0]))
    tensor([       -inf, -6.9078e+01, -1.9287e-22])
    """
    is_zero, is_small = t <= 0, t < LOG_2
    small = torch.where(is_small & ~is_zero, t, 0.5)
    square = (0.5 * small).square()
    near = small.log() + torch.log1p(square * horner(_SINH_OVER_X, square)) - 0.5 * small
    far = torch.log1p(-torch.exp(-torch.where(is_small, 1.0, t)))
    return torch.where(is_zero, -math.inf, torch.where(is_small, near, far))
