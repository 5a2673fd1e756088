"""The logarithm of the gamma function near 1 and 2, without cancellation."""

import torch
from torch import Tensor

from functional_dists.special.deviance import excess_of
from functional_dists.special.elementary import horner

__all__ = ["EULER_GAMMA", "log_gamma_excess"]
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
