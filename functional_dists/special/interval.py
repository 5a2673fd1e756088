"""Between the real line and an open interval: the tanh map from its nearer end, and the floats next to the bounds."""

import math

import torch
from torch import Tensor

from functional_dists.special.elementary import log_sech2


def squash(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return low + (high - low) (tanh(x) + 1) / 2, computed from the nearer bound away from the centre.

    >>> squash(torch.tensor([0.0, -20.0]), torch.tensor(0.0), torch.tensor(1.0))
    tensor([5.0000e-01, 4.2484e-18])
    """
    width = high - low
    near = x.abs() < 0.5
    centre = low + 0.5 * width + 0.5 * width * torch.tanh(torch.where(near, x, 0.0))
    from_end = width * torch.sigmoid(-2 * x.abs())
    return torch.where(near, centre, torch.where(x < 0, low + from_end, high - from_end))


def unsquash(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the x with `squash(x, low, high) == value`; -inf at and below `low`, inf at and above `high`.

    From the distances to the bounds and their rounding errors, x = +-1/2 log1p(|below - above| / min(below, above)):
    exact up to one ulp from a bound, where the normalised value 2 (value - low) / (high - low) - 1 keeps nothing.

    >>> unsquash(torch.tensor([0.5, 1.0 - 2.0**-24]), torch.tensor(-1.0), torch.tensor(1.0))
    tensor([0.5493, 8.6643])
    """
    inside = (value > low) & (value < high)
    x, _ = pre_image(torch.where(inside, value, low + 0.5 * (high - low)), low, high)
    return torch.where(inside, x, torch.where(value > low, math.inf, -math.inf))


def pre_image(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and log(d value / d x) = log(2 (value - low) (high - value) / (high - low)), for values inside.

    >>> pre_image(torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(1.0))
    (tensor(0.), tensor(0.))
    """
    below, below_error = _difference(value, low)
    above, above_error = _difference(high, value)
    excess = (below - above) + (below_error - above_error)
    upper = excess >= 0
    nearer, farther = torch.where(upper, above, below), torch.where(upper, below, above)
    width = high - low
    size = torch.where(upper, excess, -excess)  # not abs, which has no derivative at the centre
    # Away from the centre the quotient of the distances is as good, and its derivative cannot overflow.
    central = size < 3 * nearer
    of_excess = torch.log1p(size / torch.where(central, nearer, width))
    of_quotient = torch.log(farther / width) - torch.log(nearer / width)
    x = 0.5 * torch.where(central, of_excess, of_quotient)
    return torch.where(upper, x, -x), torch.log(2 * nearer * (farther / width))


def _difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a - b rounded, and its rounding error (Knuth, The Art of Computer Programming 2, theorem 4.2.2B)."""
    difference = a - b
    minus_b = difference - a
    return difference, (a - (difference - minus_b)) - (b + minus_b)


def log_squash_slope(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return log(d squash(x, low, high) / d x).

    >>> log_squash_slope(torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(1.0))
    tensor(0.)
    """
    return log_sech2(x) + torch.log(0.5 * (high - low))


def strictly_inside(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return `value`, where rounding took it to a bound the next float inside; derivatives pass through.

    Where no float lies between the bounds the result is one of them: `check` of a family reports that.

    >>> strictly_inside(torch.tensor([0.5, 1.0]), torch.tensor(-1.0), torch.tensor(1.0)) < 1
    tensor([True, True])
    """
    fixed = value.detach()
    return value + (torch.clamp(fixed, next_above(low.detach()), next_below(high.detach())) - fixed)


def next_above(x: Tensor) -> Tensor:
    """Return the next larger float.

    >>> next_above(torch.tensor(1.0, dtype=torch.bfloat16)).item()
    1.0078125
    """
    if x.dtype in (torch.float32, torch.float64):
        return torch.nextafter(x, torch.full_like(x, math.inf))
    # torch.nextafter compiles to the identity for half precision: step the integer that the bits make.
    bits = x.view(torch.int16)
    smallest = torch.ones_like(bits)
    stepped = torch.where(x > 0, bits + 1, torch.where(x < 0, bits - 1, smallest)).view(x.dtype)
    return torch.where(x < math.inf, stepped, x)


def next_below(x: Tensor) -> Tensor:
    """Return the next smaller float.

    >>> next_below(torch.tensor(1.0)).item()
    0.9999999403953552
    """
    return -next_above(-x)
