"""The logarithm of the gamma function near 1 and 2, and its differences, without cancellation."""

import torch
from torch import Tensor

from functional_dists.special.deviance import excess_of
from functional_dists.special.elementary import horner

__all__ = ["EULER_GAMMA", "log_beta_ratio", "log_gamma_curvature", "log_gamma_excess", "stirling_rest"]
__dir__ = __all__.copy  # what tab completion shows

#: The Euler-Mascheroni constant.
EULER_GAMMA = 0.5772156649015329

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
    (tensor(7.8399e-07), tensor(0.0004))
    """
    x = (a - b) / b
    is_near = x.abs() < 0.5
    near = torch.where(is_near, x, 0.0)
    rest = near * near * horner(_ZETA[::-1], near)
    ratio = torch.where(is_near, 1.0, a / b)
    excess = torch.where(is_near, excess_of(near) + rest, torch.lgamma(ratio) + EULER_GAMMA * (ratio - 1))
    return excess, torch.where(is_near, (1 - EULER_GAMMA) * near + rest, torch.lgamma(1 + ratio))


# The series of Stirling in 1 / z^2, the highest power first.
_STIRLING = (-3617 / 122400, 1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)


def stirling_rest(z: Tensor) -> Tensor:
    """Return log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2) for z >= 10.

    >>> stirling_rest(torch.tensor(10.0))
    tensor(0.0083)
    """
    return horner(_STIRLING, 1 / (z * z)) / z


def log_beta_ratio(x: Tensor, y: Tensor) -> Tensor:
    """Return log(Gamma(1 + x) Gamma(1 + y) / Gamma(1 + x + y)) for positive x and y.

    It is the ratio for 10 more than the larger one, by Stirling's series, times 10 factors.

    >>> log_beta_ratio(torch.tensor(1.0), torch.tensor(1e8)).exp()
    tensor(1.0000e-08)
    """
    small, large = torch.minimum(x, y), torch.maximum(x, y)
    found = torch.lgamma(1 + small)
    for k in range(1, 11):
        found = found + torch.log1p(small / (large + k))
    z = large + 11
    found = found - (z - 0.5) * torch.log1p(small / z) + small - small * torch.log(z + small)
    return found + (stirling_rest(z) - stirling_rest(z + small))


# Nodes in (-1, 1) and weights of Gauss and Legendre, the half that is positive.
_GAUSS = (
    (0.1834346424956498, 0.362683783378362),
    (0.525532409916329, 0.3137066458778873),
    (0.7966664774136267, 0.2223810344533745),
    (0.9602898564975363, 0.1012285362903763),
)


def log_gamma_curvature(x: Tensor, y: Tensor) -> Tensor:
    """Return f(2 x) - 2 f(x) for the f(x) of `log_beta_ratio` and 0 < x < 1/4, without cancellation.

    It is the integral over s in (0, 2) of x^2 min(s, 2 - s) (psi'(1 + x s) - psi'(1 + y + x s)), by 16 nodes.

    >>> log_gamma_curvature(torch.tensor(1e-4), torch.tensor(1.0))
    tensor(9.9980e-09)
    """
    total = torch.zeros_like(x)
    for node, weight in _GAUSS:
        for u in (0.5 - 0.5 * node, 0.5 + 0.5 * node):
            for s in (u, 2 - u):
                total = total + 0.5 * weight * u * (_trigamma(1 + x * s) - _trigamma(1 + y + x * s))
    return x * x * total


def _trigamma(z: Tensor) -> Tensor:
    """Return the second derivative of log Gamma for z >= 1; that of PyTorch has an error of 1e-9.

    >>> _trigamma(torch.tensor(1.0))
    tensor(1.6449)
    """
    found = torch.zeros_like(z)
    for k in range(8):
        found = found + 1 / (z + k).square()
    z = z + 8
    square = 1 / (z * z)
    # 1/z + 1/(2 z^2) + the Bernoulli numbers B_2k / z^(2k+1)
    return found + (1 + 0.5 / z + square * horner(_BERNOULLI, square)) / z


_BERNOULLI = (43867 / 798, -3617 / 510, 7 / 6, -691 / 2730, 5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6)
