"""Where a value lies from the mode of the logit of a Beta variable on an interval, to the last digit."""

import torch
from torch import Tensor

from functional_dists.special.operations import elementwise_operation

__all__ = ["beta_offset", "difference_of_products", "log_ratio"]
__dir__ = __all__.copy  # what tab completion shows


def _exact_product(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the product of float64 numbers and its rounding error (Dekker, 1971)."""
    x_high, x_low = _halves(x)
    y_high, y_low = _halves(y)
    product = x * y
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    scaled = x * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def _exact_difference(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return x - y and its rounding error (Knuth)."""
    difference = x - y
    part = difference - x
    return difference, (x - (difference - part)) - (y + part)


def difference_of_products(x: Tensor, y: Tensor, z: Tensor, w: Tensor) -> Tensor:
    """Return x y - z w of float64 numbers, to the last digit where they are close.

    >>> x = torch.tensor(1 + 2**-30, dtype=torch.float64)
    >>> difference_of_products(x, x, x + 2**-30, torch.ones_like(x)) * 2**60
    tensor(1., dtype=torch.float64)
    """
    (first, first_rest), (second, second_rest) = _exact_product(x, y), _exact_product(z, w)
    return (first - second) + (first_rest - second_rest)


def log_ratio(x: Tensor, y: Tensor) -> Tensor:
    """Return log(x / y) of positive numbers, to the last digit where they are close.

    >>> log_ratio(torch.tensor(1.0), torch.tensor(1.0 - 2**-24))
    tensor(5.9605e-08)
    """
    excess = (x - y) / y
    is_near = excess.abs() < 0.5
    return torch.where(is_near, torch.log1p(torch.where(is_near, excess, 0.0)), torch.log(x) - torch.log(y))


def _offset(value: Tensor, low: Tensor, high: Tensor, a: Tensor, b: Tensor) -> Tensor:
    is_outside = (value <= low) | (value >= high)
    value = torch.where(is_outside, low + 0.5 * (high - low), value)
    below, below_rest = _exact_difference(value, low)
    above, above_rest = _exact_difference(high, value)
    excess = difference_of_products(below, b, above, a) + (below_rest * b - above_rest * a)
    ratio = excess / (above * a)
    is_near = ratio.abs() < 0.5
    far = log_ratio(below, above) - log_ratio(a, b)
    return torch.where(is_near, torch.log1p(torch.where(is_near, ratio, 0.0)), far)


_operation = elementwise_operation("beta_offset", ["value", "low", "high", "a", "b"], _offset)


def beta_offset(value: Tensor, low: Tensor, high: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return log((value - low) / (high - value)) - log(a / b) in float64, without derivatives.

    For a value that is not inside the bounds, it is the one of their middle.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> beta_offset(0.25 * one, 0 * one, one, one, 3 * one)
    tensor(0., dtype=torch.float64)
    """
    return _operation(*(tensor.detach() for tensor in (value, low, high, a, b)))
