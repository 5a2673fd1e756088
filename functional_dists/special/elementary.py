"""Combinations of exp, log and tanh without cancellation.

They replace PyTorch's operators that lose digits: `softplus` is linear above 20; the derivatives of `tanh` and
`sigmoid`, 1 - y^2 and y (1 - y), cancel in the tails; `expm1` and `atanh` are inexact under inductor.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special.constant import table_of
from functional_dists.special.quadrature import unit_interval_rule

LOG_2 = math.log(2.0)


def horner(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return the value at `x` of the polynomial with `coefficients`, the highest power first.

    >>> horner([2.0, 0.0, 1.0], torch.tensor(3.0))
    tensor(19.)
    """
    result = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        result = result * x + coefficient
    return result


def x_minus_log1p(x: Tensor) -> Tensor:
    """Return x - log(1 + x) for -0.3 < x < 0.5, without cancellation near 0.

    It is x^2 times the integral of u / (1 + x u) over (0, 1), whose terms are all positive. For float32 inputs of 1e-8
    or more, the plain difference in float64 is as accurate.

    >>> x_minus_log1p(torch.tensor(1e-4, dtype=torch.float64))
    tensor(4.9997e-09, dtype=torch.float64)
    """
    if x.dtype == torch.float32:
        wide = x.double()
        return (wide - torch.log1p(wide)).float()
    u, weight = table_of(unit_interval_rule, x)
    return x * x * (weight * u / (1 + x[..., None] * u)).sum(-1)


# In compiled code forward mode crashes in `alpha=` and `addcmul` if only one operand has a tangent (PyTorch 2.13).
def plus_scaled(x: Tensor, y: Tensor, factor: float) -> Tensor:
    """Return x + factor y.

    >>> plus_scaled(torch.tensor(1.0), torch.tensor(2.0), -3.0)
    tensor(-5.)
    """
    return x + factor * y if torch.compiler.is_compiling() else torch.add(x, y, alpha=factor)


def plus_product(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return x + y z.

    >>> plus_product(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(-3.0))
    tensor(-5.)
    """
    return x + y * z if torch.compiler.is_compiling() else torch.addcmul(x, y, z)


def plus_scaled_square(x: Tensor, y: Tensor, factor: float) -> Tensor:
    """Return x + factor y^2.

    >>> plus_scaled_square(torch.tensor(1.0), torch.tensor(2.0), -3.0)
    tensor(-11.)
    """
    return x + factor * y * y if torch.compiler.is_compiling() else torch.addcmul(x, y, y, value=factor)


def plus_quotient(x: Tensor, y: Tensor, z: Tensor, factor: float) -> Tensor:
    """Return x + factor y / z.

    >>> plus_quotient(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(4.0), -1.0)
    tensor(0.5000)
    """
    return x + factor * y / z if torch.compiler.is_compiling() else torch.addcdiv(x, y, z, value=factor)


def softplus(x: Tensor, factor: float = 1.0) -> Tensor:
    """Return log(1 + exp(factor x)) / factor, replaced by x only above 40, where both are equal to the last digit.

    >>> softplus(torch.tensor([0.0, -10.0]))
    tensor([6.9315e-01, 4.5399e-05])
    """
    return functional.softplus(x, factor, 40)


def log_sech2(x: Tensor) -> Tensor:
    """Return log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)).

    >>> log_sech2(torch.tensor([0.0, 100.0]))
    tensor([   0.0000, -198.6137])
    """
    return 2 * (LOG_2 - x - softplus(-2 * x))


def sech2(x: Tensor) -> Tensor:
    """Return 1 - tanh(x)^2 without cancellation in the tails.

    >>> sech2(torch.tensor(20.0))
    tensor(1.6993e-17)
    """
    return 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)


def one_minus_tanh(x: Tensor) -> Tensor:
    """Return 1 - tanh(x) without cancellation where tanh(x) is near 1.

    >>> one_minus_tanh(torch.tensor(20.0))
    tensor(8.4967e-18)
    """
    return 2 * torch.sigmoid(-2 * x)


def tanh(x: Tensor) -> Tensor:
    """Return tanh(x), with a derivative that is accurate in the tails.

    >>> tanh(torch.tensor([-0.1, 3.0]))
    tensor([-0.0997,  0.9951])
    """
    near = x.abs() < 0.5
    centre = torch.tanh(torch.where(near, x, 0.0))
    tail = torch.where(x < 0, one_minus_tanh(-x) - 1, 1 - one_minus_tanh(x))
    return torch.where(near, centre, tail)


def expm1(x: Tensor) -> Tensor:
    """Return exp(x) - 1 without cancellation near 0.

    >>> expm1(torch.tensor(1e-10))
    tensor(1.0000e-10)
    """
    return 2 * torch.sinh(0.5 * x) * torch.exp(0.5 * x)


_SERIES = [1 / math.factorial(k) for k in range(19, 2, -2)]


def expm1_minus(x: Tensor) -> Tensor:
    """Return exp(x) - 1 - x for -1 < x < 1 without cancellation near 0: cosh(x) - 1, plus the series of sinh(x) - x.

    >>> expm1_minus(torch.tensor(1e-10))
    tensor(5.0000e-21)
    """
    half, square = torch.sinh(0.5 * x), x * x
    return 2 * half * half + x * square * horner(_SERIES, square)


def root(x: Tensor) -> Tensor:
    """Return the square root of x >= 0, with gradient 0 at 0.

    >>> root(torch.tensor([4.0, 0.0]))
    tensor([2., 0.])
    """
    is_zero = x <= 0  # False for NaN, whose root is NaN
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, x).sqrt())


def nan_of(result: Tensor, *others: Tensor) -> Tensor:
    """Return a result broadcast with tensors it does not depend on, with NaN values and gradients where one is NaN.

    >>> nan_of(torch.tensor(3.0), torch.tensor([1.0, math.nan]))
    tensor([3., nan])
    """
    for other in others:
        is_nan = other.isnan()
        # The square has a gradient of NaN. An infinite result is not in the product: its tangent would be inf times 0.
        product = torch.where(is_nan, result, 1.0) * torch.where(is_nan, other, 1.0).square()
        result = torch.where(is_nan, product, result)
    return result


def row_is_nan(*tables: Tensor) -> Tensor:
    """Return NaN for each row ``(*B)`` in which one of the tables ``(*B, N)`` has a NaN, elsewhere 0.

    >>> row_is_nan(torch.tensor([[1.0, math.nan], [1.0, math.inf]]))
    tensor([nan, 0.])
    """
    found = [torch.where(table.isnan(), table, 0.0).sum(-1) for table in tables]
    return torch.stack(torch.broadcast_tensors(*found)).sum(0)
