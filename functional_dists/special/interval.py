"""Between the real line and an open interval: the tanh map from its nearer end, and the floats next to the bounds."""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import is_constant
from functional_dists.special.elementary import LOG_2, softplus


def squash(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return low + (high - low) (tanh(x) + 1) / 2, computed from the nearer bound away from the centre.

    >>> squash(torch.tensor([0.0, -20.0]), torch.tensor(0.0), torch.tensor(1.0))
    tensor([5.0000e-01, 4.2484e-18])
    """
    width = high - low
    distance = x.abs()
    near = distance < 0.5
    half = 0.5 * width
    centre = low + half + half * torch.tanh(x if is_constant(x) else torch.where(near, x, 0.0))
    from_end = width * torch.sigmoid(-2 * distance)
    return torch.where(near, centre, torch.where(x < 0, low + from_end, high - from_end))


def unsquash(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the x with `squash(x, low, high) == value`; -inf at and below `low`, inf at and above `high`.

    From the distances to the bounds, x = +-1/2 log1p(|below - above| / min(below, above)): exact from the centre to one
    ulp from a bound, where the normalised value 2 (value - low) / (high - low) - 1 keeps nothing.

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
    x, log_slope = _pre_image(value.detach(), low.detach(), high.detach())
    if is_constant(value, low, high):
        return x, log_slope
    # The derivatives come from x = 1/2 (log(below) - log(above)): exact, and simpler than those of the accurate value.
    below, above = log_growth(value - low), log_growth(high - value)
    return x + 0.5 * (below - above), log_slope + below + above - log_growth(high - low)


def _pre_image(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    below, above, width = value - low, high - value, high - low
    total = low + high
    part = total - low
    lost = (low - (total - part)) + (high - part)  # what the sum's rounding took (Knuth's two-sum)
    excess = (2 * value - total) - lost  # below - above, exact near the centre, where their difference cancels
    upper = below > above
    nearer, farther = torch.where(upper, above, below), torch.where(upper, below, above)
    side = torch.where(upper, 0.5, -0.5).to(value.dtype)
    central = farther < 4 * nearer
    of_excess = torch.log1p(2 * side * excess / nearer)
    of_quotient = torch.log(farther / width) - torch.log(nearer / width)  # as good away from the centre, no overflow
    return side * torch.where(central, of_excess, of_quotient), torch.log(2 * nearer * (farther / width))


def log_growth(x: Tensor) -> Tensor:
    """Return log(x / x.detach()), for x > 0: zero, with the derivatives of log x.

    >>> torch.func.grad(log_growth)(torch.tensor(4.0))
    tensor(0.2500)
    """
    fixed = x.detach()
    # The slope of a subnormal x overflows: it gets none, rather than NaN.
    return torch.log(torch.where(fixed < torch.finfo(x.dtype).tiny, 1.0, x / fixed))


def log_squash_slope(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return log(d squash(x, low, high) / d x).

    >>> log_squash_slope(torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(1.0))
    tensor(0.)
    """
    # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x))
    return torch.log(0.5 * (high - low)) + 2 * LOG_2 - 2 * (x + softplus(-2 * x))


def strictly_inside(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return `value`, where rounding took it to a bound the next float inside; derivatives pass through.

    Where no float lies between the bounds the result is one of them: `check` of a family reports that.

    >>> strictly_inside(torch.tensor([0.5, 1.0]), torch.tensor(-1.0), torch.tensor(1.0)) < 1
    tensor([True, True])
    """
    fixed = value.detach()
    inside = torch.clamp(fixed, next_above(low.detach()), next_below(high.detach()))
    return inside if is_constant(value) else value + (inside - fixed)


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
