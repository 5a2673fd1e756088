"""Functions of ratios and of exponentials that vanish to second order, or at an end, without cancellation."""

import math

import torch
from torch import Tensor

from functional_dists.special.elementary import LOG_2, expm1, expm1_minus, horner

__all__ = [
    "EULER_GAMMA",
    "exp_excess",
    "log_gamma_excess",
    "log_one_minus_exp",
    "one_minus_exp",
    "ratio_excess",
]
__dir__ = __all__.copy  # what tab completion shows

#: The Euler-Mascheroni constant.
EULER_GAMMA = 0.5772156649015329

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


# (-1)^k (zeta(k) - 1) / k for k = 2, 3, ...: log Gamma(2 + x) = (1 - gamma) x + x^2 (c_2 + c_3 x + ...) for |x| < 2
# (Abramowitz & Stegun 6.1.33). The lowest power first.
_ZETA = (
    0.3224670334241132,
    -0.0673523010531981,
    0.020580808427784546,
    -0.007385551028673986,
    0.0028905103307415234,
    -0.001192753911703261,
    0.0005096695247430425,
    -0.00022315475845357939,
    9.945751278180853e-05,
    -4.492623673813314e-05,
    2.050721277567069e-05,
    -9.439488275268397e-06,
    4.374866789907488e-06,
    -2.039215753801366e-06,
    9.55141213040742e-07,
    -4.492469198764566e-07,
    2.1207184805554665e-07,
    -1.0043224823968099e-07,
    4.7698101693639804e-08,
    -2.2711094608943164e-08,
    1.0838659214896955e-08,
    -5.183475041970047e-09,
    2.4836745438024785e-09,
    -1.1921401405860912e-09,
    5.731367241678862e-10,
    -2.7595228851242334e-10,
    1.330476437424449e-10,
    -6.4229645638381e-11,
    3.1044247747322276e-11,
    -1.5021384080754142e-11,
    7.275974480239079e-12,
    -3.527742476575915e-12,
)


def log_gamma_excess(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Gamma(r) + gamma (r - 1) >= 0 and log Gamma(1 + r) for r = a / b, exact where a and b are close.

    >>> log_gamma_excess(torch.tensor(1.0 + 2**-10), torch.tensor(1.0))
    (tensor(7.8345e-07), tensor(0.0004))
    """
    x = (a - b) / b
    is_near = x.abs() < 0.5
    near = torch.where(is_near, x, 0.0)
    rest = near * near * horner(_ZETA[::-1], near)
    ratio = torch.where(is_near, 1.0, a / b)
    excess = torch.where(is_near, _near_excess(near) + rest, torch.lgamma(ratio) + EULER_GAMMA * (ratio - 1))
    return excess, torch.where(is_near, (1 - EULER_GAMMA) * near + rest, torch.lgamma(1 + ratio))
